package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// rule is a request of the leader's own that a client has asked for: one of the two.
type rule struct {
	Compact  uint64       `json:"compact,omitempty"`
	Settings *kv.Settings `json:"settings,omitempty"`
}

// requests returns what goes into the log.
func (r rule) requests() (wire.Requests, error) {
	if r.Settings == nil {
		if r.Compact == 0 {
			return wire.Requests{}, &kv.ValidationError{Field: "revision", Reason: "must be above 0"}
		}
		return fsm.CompactRequest(r.Compact), nil
	}
	if err := r.Settings.Validate(); err != nil {
		return wire.Requests{}, err
	}
	return fsm.SettingsRequest(*r.Settings), nil
}

// Compact implements kv.Engine.
func (n *Node) Compact(ctx context.Context, revision uint64) (kv.CompactResult, error) {
	response, err := n.rule(ctx, rule{Compact: revision})
	return kv.CompactResult{Revision: response.Revision, CompactRevision: revision}, err
}

// Settings implements kv.Admin.
func (n *Node) Settings(ctx context.Context) (kv.Settings, error) {
	read, err := n.beginRead(ctx, kv.ReadOptions{})
	if err != nil {
		return kv.Settings{}, err
	}
	settings := n.state.Settings()
	return settings, read.End()
}

// SetSettings implements kv.Admin.
func (n *Node) SetSettings(ctx context.Context, s kv.Settings) error {
	if err := s.Validate(); err != nil {
		return err
	}
	_, err := n.rule(ctx, rule{Settings: &s})
	return err
}

// rule makes the leader write a request of its own, and returns the response to it.
func (n *Node) rule(ctx context.Context, request rule) (kv.Response, error) {
	answer, err := n.onLeader(ctx, kindRule, request)
	if err != nil {
		return kv.Response{}, err
	}
	response, err := fsm.DecodeResponse(answer)
	if refused := (*fsm.RefusedError)(nil); err != nil && !errors.As(err, &refused) {
		err = fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
	}
	return response, err
}

// handleRule writes a request on the leader, and returns the response as it is encoded. A rule
// with parts that only a newer build has is of class kv.ErrUnsupported; a malformed one, or one
// with a value of a wrong type, is a *ValidationError.
func (n *Node) handleRule(ctx context.Context, r *replica.Replica, payload []byte) ([]byte, error) {
	var request rule
	if err := json.Unmarshal(payload, &request); err != nil {
		return nil, &kv.ValidationError{Field: "rule", Reason: fmt.Sprintf("is malformed: %v", err)}
	}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.DisallowUnknownFields() // a part that was left out would look done
	if err := decoder.Decode(new(rule)); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", kv.ErrUnsupported, n.cfg.Name, err)
	}
	requests, err := request.requests()
	if err == nil && request.Settings != nil {
		err = n.checkSettings(ctx, r, *request.Settings)
	}
	if err != nil {
		return nil, err
	}
	return r.ProposeOwn(ctx, requests)
}

// checkSettings refuses settings that members, or the data, do not allow. Replicas decide on the data
// again.
func (n *Node) checkSettings(ctx context.Context, r *replica.Replica, s kv.Settings) error {
	if err := s.Quota.Admits(int64(n.state.Len()), n.state.Size()); err != nil {
		return err
	}
	return n.checkValueSize(ctx, r, s)
}
