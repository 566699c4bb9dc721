package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// Snapshot makes the member of that name, this node if it is empty, take a snapshot
// now, and drop the log that it covers, also what is held for members that catch up. A
// follower that lacks some of that log gets the snapshot instead. It returns ErrNothingToSnapshot, ErrSnapshotRunning,
// ErrDiskFull if the snapshot does not fit, ErrUnknownNode, or an error of not
// reaching the member. A snapshot that takes longer than ctx is still finished.
func (r *Replica) Snapshot(ctx context.Context, name string) (kv.SnapshotResult, error) {
	if name == "" || name == nodeid.NameOf(r.id) {
		return r.snapshotByHand(ctx)
	}
	for _, s := range r.Servers() {
		if nodeid.NameOf(s.ID) == name {
			return r.askSnapshot(ctx, s.ID)
		}
	}
	return kv.SnapshotResult{}, fmt.Errorf("%w: %q", kv.ErrUnknownNode, name)
}

// snapshotByHand takes a snapshot of this node.
func (r *Replica) snapshotByHand(ctx context.Context) (kv.SnapshotResult, error) {
	select {
	case r.snapshotting <- struct{}{}:
	default:
		return kv.SnapshotResult{}, kv.ErrSnapshotRunning
	}
	type outcome struct {
		result kv.SnapshotResult
		err    error
	}
	ended := make(chan outcome, 1)
	go func() {
		var o outcome
		if closed := r.asks.ask(func() error { // close waits for it
			o.result, o.err = r.snapshotNow()
			return nil
		}); closed != nil {
			o.err = kv.ErrClosed
		}
		<-r.snapshotting
		ended <- o
	}()
	select {
	case o := <-ended:
		return o.result, o.err
	case <-ctx.Done():
		return kv.SnapshotResult{}, fmt.Errorf("the snapshot is still being written: %w", ctx.Err())
	}
}

// snapshotNow takes a snapshot, or only drops log if the newest one is of the
// present state. Its caller holds the snapshotting slot.
func (r *Replica) snapshotNow() (kv.SnapshotResult, error) {
	before := r.logs.Stats().DiskBytes
	r.logs.Hold(nil) // a member that needs some of it gets the snapshot
	defer r.logs.Hold(r.holdFrom)
	var err error
	fresh := r.machine.AppliedIndex() > r.logs.SnapshotIndex()
	if fresh {
		err = r.snapshot(0)
	} else {
		err = r.logs.Trim(0)
	}
	after := r.logs.Stats().DiskBytes
	switch {
	case errors.Is(err, raft.ErrNothingNewToSnapshot), err == nil && !fresh && after == before:
		return kv.SnapshotResult{}, kv.ErrNothingToSnapshot
	case err != nil:
		return kv.SnapshotResult{}, err
	}
	newest, _ := r.snaps.Sizes()
	r.log.Info("snapshot taken by hand", "index", r.logs.SnapshotIndex(), "bytes", newest, "log before", before, "log after", after)
	return kv.SnapshotResult{
		ID: nodeid.NameOf(r.id), Index: r.logs.SnapshotIndex(), Bytes: newest, LogBytesBefore: before, LogBytesAfter: after,
	}, nil
}

// handleSnapshot takes a snapshot for a peer.
func (r *Replica) handleSnapshot(ctx context.Context) ([]byte, error) {
	result, err := r.snapshotByHand(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

// askSnapshot makes another member take a snapshot.
func (r *Replica) askSnapshot(ctx context.Context, id raft.ServerID) (kv.SnapshotResult, error) {
	var result kv.SnapshotResult
	answer, err := r.peers.Call(ctx, id, kindSnapshot, nil)
	switch {
	case errors.Is(err, transport.ErrNotSent):
		return result, fmt.Errorf("%w: %w", kv.ErrUnreachable, err)
	case errors.Is(err, transport.ErrNoAnswer):
		return result, fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
	case err != nil:
		return result, FromWire(err, id)
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		return result, fmt.Errorf("%w: answer of %s: %w", kv.ErrUnknownOutcome, nodeid.NameOf(id), err)
	}
	return result, nil
}
