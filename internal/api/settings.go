package api

import (
	"cmp"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// CompactRequest is the body of POST /admin/compact.
type CompactRequest struct {
	Revision uint64 `json:"revision"`
}

// CompactResponse is the body of its answer, a kv.CompactResult.
type CompactResponse struct {
	Revision        uint64 `json:"revision"`
	CompactRevision uint64 `json:"compact_revision"`
}

// Settings are kv.Settings as GET and PUT /admin/settings have them. What is not set is left
// out.
type Settings struct {
	History       Retention `json:"history"`
	MaxKeyBytes   int       `json:"max_key_bytes,omitempty"`
	MaxValueBytes int       `json:"max_value_bytes,omitempty"`
	MaxRequestOps int       `json:"max_request_ops,omitempty"`
	// Idempotency is left out if none of its settings is set.
	Idempotency Idempotency `json:"idempotency,omitzero"`
	// Quota is left out if there is none.
	Quota kv.Quota `json:"quota,omitzero"`
}

// Idempotency is a kv.Idempotency with its window as text.
type Idempotency struct {
	Window   string `json:"window,omitempty"`
	MaxKeys  int64  `json:"max_keys,omitempty"`
	MaxBytes int64  `json:"max_bytes,omitempty"`
}

// Retention is a kv.Retention with its age as text: "10m0s".
type Retention struct {
	MaxAge       string `json:"max_age,omitempty"`
	MaxRevisions uint64 `json:"max_revisions,omitempty"`
	MaxBytes     int64  `json:"max_bytes,omitempty"`
}

// NewSettings returns s as JSON has it. So what GET answers can be put again, and sets nothing
// else.
func NewSettings(s kv.Settings) Settings {
	return Settings{
		History:       Retention{MaxAge: durationText(s.History.MaxAge), MaxRevisions: s.History.MaxRevisions, MaxBytes: s.History.MaxBytes},
		MaxKeyBytes:   s.MaxKeyBytes,
		MaxValueBytes: s.MaxValueBytes,
		MaxRequestOps: s.MaxRequestOps,
		Quota:         s.Quota,
		Idempotency: Idempotency{
			Window: durationText(s.Idempotency.Window), MaxKeys: s.Idempotency.MaxKeys, MaxBytes: s.Idempotency.MaxBytes,
		},
	}
}

// durationText returns a duration as text, "" if it is not set.
func durationText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.Round(time.Millisecond).String()
}

// parseDuration returns the duration that durationText has written.
func parseDuration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	return time.ParseDuration(text)
}

// Settings returns the settings in s.
func (s Settings) Settings() (kv.Settings, error) {
	given := kv.Settings{
		History:     kv.Retention{MaxRevisions: s.History.MaxRevisions, MaxBytes: s.History.MaxBytes},
		MaxKeyBytes: s.MaxKeyBytes, MaxValueBytes: s.MaxValueBytes, MaxRequestOps: s.MaxRequestOps,
		Quota:       s.Quota,
		Idempotency: kv.Idempotency{MaxKeys: s.Idempotency.MaxKeys, MaxBytes: s.Idempotency.MaxBytes},
	}
	var err, windowErr error
	given.History.MaxAge, err = parseDuration(s.History.MaxAge)
	given.Idempotency.Window, windowErr = parseDuration(s.Idempotency.Window)
	return given, cmp.Or(err, windowErr)
}
