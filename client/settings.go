package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// Settings returns the settings of the cluster, as a linearizable read. What is not set is 0.
// The retention that applies is History.WithDefaults.
func (c *Client) Settings(ctx context.Context) (kv.Settings, error) {
	a, err := c.call(ctx, c.adminTimeout, request{method: http.MethodGet, path: "/admin/settings"}, maxAnswerBytes)
	if err != nil {
		return kv.Settings{}, err
	}
	return settingsOf(&a, NotDone)
}

// SetSettings replaces all settings of the cluster, and returns those that are set then. A value
// of 0 is the default.
func (c *Client) SetSettings(ctx context.Context, s kv.Settings) (kv.Settings, error) {
	body, err := json.Marshal(api.NewSettings(s))
	if err != nil {
		return kv.Settings{}, fmt.Errorf("encode request: %w", err)
	}
	a, err := c.call(ctx, c.adminTimeout, request{method: http.MethodPut, path: "/admin/settings", body: body, json: true, write: true}, maxAnswerBytes)
	if err != nil {
		return kv.Settings{}, err
	}
	return settingsOf(&a, Done)
}

// settingsOf returns the settings in an answer; o is the outcome if they can't be read.
func settingsOf(a *answer, o Outcome) (kv.Settings, error) {
	var j api.Settings
	if err := a.decode("the settings", o, &j); err != nil {
		return kv.Settings{}, err
	}
	s, err := j.Settings()
	if err != nil {
		return s, badAnswer(a.base, a.status, o, "read the settings: %w", err)
	}
	return s, nil
}
