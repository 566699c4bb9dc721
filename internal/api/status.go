package api

import "github.com/kvorum/kvorum/kv"

// Status is the body of the answer to GET /status: a kv.Status, with its settings as in the
// answer to GET /admin/settings.
type Status struct {
	kv.Status
	Settings *Settings `json:"settings,omitempty"`
}

// NewStatus returns s as JSON has it.
func NewStatus(s kv.Status) Status {
	j := Status{Status: s}
	if s.Settings != nil {
		settings := NewSettings(*s.Settings)
		j.Settings = &settings
	}
	return j
}
