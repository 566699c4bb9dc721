package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kvorum/kvorum/kv"
)

var _ kv.Leases = (*Node)(nil)

// KeepAlive implements kv.Leases. Any node asks the leader, and all calls that wait at the same time
// share a message.
func (n *Node) KeepAlive(ctx context.Context, id kv.LeaseID) (time.Duration, error) {
	r, err := n.joined()
	if err != nil {
		return 0, err
	}
	return r.KeepAlive(ctx, id)
}

// TimeToLive implements kv.Leases. The leader says how long the lease lives, and the keys are read
// on this node once it has what the leader had.
func (n *Node) TimeToLive(ctx context.Context, id kv.LeaseID, withKeys bool) (kv.LeaseStatus, error) {
	r, err := n.joined()
	if err != nil {
		return kv.LeaseStatus{}, err
	}
	notFound := fmt.Errorf("%w: %v", kv.ErrLeaseNotFound, id)
	state, err := r.LeaseState(ctx, id)
	switch {
	case err != nil:
		return kv.LeaseStatus{}, err
	case !state.Known:
		return kv.LeaseStatus{}, notFound
	}
	status := kv.LeaseStatus{Lease: kv.Lease{ID: id, TTL: state.TTL}, Remaining: state.Remaining}
	if !withKeys {
		return status, nil
	}
	read, err := r.BeginRead(ctx, kv.ReadOptions{Level: kv.Stale}) // it has what the leader had
	if err != nil {
		return kv.LeaseStatus{}, err
	}
	keys, found := n.state.LeaseKeys(id)
	if err := read.End(); err != nil {
		return kv.LeaseStatus{}, err
	}
	if !found { // it has ended since
		return kv.LeaseStatus{}, notFound
	}
	size := 0
	status.Keys = slices.Grow([]string{}, len(keys))
	for _, key := range keys {
		if size += len(key); size > kv.MaxAnswerBytes {
			return kv.LeaseStatus{}, fmt.Errorf("%w: the keys of the lease have more than %d bytes", kv.ErrAnswerLimit, kv.MaxAnswerBytes)
		}
		status.Keys = append(status.Keys, strings.Clone(key))
	}
	return status, nil
}

// Leases implements kv.Leases.
func (n *Node) Leases(ctx context.Context, after kv.LeaseID, limit int) (kv.LeaseList, error) {
	if limit < 0 {
		return kv.LeaseList{}, &kv.ValidationError{Field: "limit", Reason: fmt.Sprintf("is %d", limit)}
	}
	if limit == 0 || limit > kv.MaxLeaseList {
		limit = kv.MaxLeaseList
	}
	read, err := n.beginRead(ctx, kv.ReadOptions{})
	if err != nil {
		return kv.LeaseList{}, err
	}
	list := n.state.Leases(after, limit)
	if err := read.End(); err != nil {
		return kv.LeaseList{}, err
	}
	return list, nil
}
