package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

const (
	// compactTick is how often the log's growth is looked at, at least.
	compactTick = 2 * time.Second
)

// compactLoop keeps the log short: it takes a snapshot, and gives up the log that
// the snapshot covers, when the log behind the last one has the threshold in bytes,
// or as soon as the disk is short of room and a snapshot gives some back.
func (r *replica) compactLoop(ctx context.Context) {
	tick := time.NewTicker(compactTick)
	defer tick.Stop()
	threshold := spread(r.cfg.SnapshotBytes, r.id)
	for {
		select {
		case <-r.logs.Grown():
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := r.compactIfDue(threshold); err != nil {
			r.lines.Log(slog.LevelWarn, "snapshot", "snapshot not taken", "err", err)
		}
	}
}

// compactIfDue takes a snapshot if it is time for one.
func (r *replica) compactIfDue(threshold int64) error {
	boundary, applied := r.logs.SnapshotIndex(), r.fsm.AppliedIndex()
	since := r.logs.BytesFrom(boundary + 1)
	if f := r.disk.Facts(); since >= threshold*3/4 && (f == nil || f.HasMargin()) {
		// The next segment begins with what stays behind the snapshot.
		if err := r.logs.Seal(); err != nil {
			return err
		}
	}
	low := r.disk.Low()
	worth := applied > boundary && (since >= threshold && r.replayed() || r.gainsRoom(low))
	if !worth && !low {
		return nil
	}
	select {
	case r.snapshotting <- struct{}{}:
		defer func() { <-r.snapshotting }()
	default:
		return nil // one is taken by hand
	}
	if !worth {
		return r.logs.Trim(0)
	}
	return r.snapshot(r.trailing(low))
}

// gainsRoom says whether the disk is short of room and a snapshot gives enough back.
func (r *replica) gainsRoom(low bool) bool {
	f := r.disk.Facts()
	return f != nil && f.WorthSnapshot(low, r.cfg.SnapshotBytes)
}

// trailing returns how many bytes of the newest entries stay in the log behind a
// snapshot, for followers that are that far behind at most: about as much as the
// snapshot that they would need instead, and nothing on a disk that is nearly full.
func (r *replica) trailing(low bool) int64 {
	if low {
		return 0
	}
	newest, _ := r.snaps.Sizes()
	return trailingBytes(newest, r.cfg.SnapshotBytes)
}

// trailingBytes is trailing behind a snapshot of newest bytes, where a snapshot is taken
// every threshold bytes of the log.
func trailingBytes(newest, threshold int64) int64 {
	return min(max(newest, threshold/4), threshold)
}

// logMayHave returns the most bytes that the log's files have while writers do not
// outrun a snapshot by more than its own size.
func (r *replica) logMayHave(next int64) int64 {
	return r.trailing(false) + r.cfg.SnapshotBytes + next + r.segmentBytes + room.MarginBytes
}

// snapshot takes a snapshot and drops the log that it covers but for trailing bytes.
// Its caller holds the snapshotting slot.
func (r *replica) snapshot(trailing int64) error {
	if f := r.disk.Facts(); f != nil && f.Tight() {
		r.snaps.Keep(1) // an older one makes room for it
	}
	unapplied := r.logs.BytesFrom(r.fsm.AppliedIndex() + 1)
	done, err := r.disk.PlanSnapshot(r.memory.Data().Snapshot()+unapplied, room.Point{})
	if err != nil {
		return errors.Join(err, r.logs.Trim(trailing)) // what the last one covers can go all the same
	}
	r.logs.SetTrailing(trailing)
	err = r.raft.Snapshot().Error()
	done()
	if err == nil {
		err = r.logs.Trim(trailing)
	}
	if _, looked := r.disk.Look(); err == nil && looked != nil {
		r.lines.Log(slog.LevelWarn, "room", "room on the disk not known", "err", looked)
	}
	return err
}

// Snapshot has the member of that name, this node where it is empty, take a snapshot
// now, and drop the log that it covers. A follower that lacks some of that log gets
// the snapshot instead. It returns ErrNothingToSnapshot, ErrSnapshotRunning,
// ErrDiskFull where the snapshot does not fit, ErrUnknownNode, or an error of not
// reaching the member. A snapshot that takes longer than ctx is still finished.
func (n *Node) Snapshot(ctx context.Context, name string) (kv.SnapshotResult, error) {
	r, err := n.joined()
	if err != nil {
		return kv.SnapshotResult{}, err
	}
	if name == "" || name == n.cfg.Name {
		return r.snapshotByHand(ctx)
	}
	for _, s := range r.servers() {
		if nameOf(s.ID) == name {
			return r.askSnapshot(ctx, s.ID)
		}
	}
	return kv.SnapshotResult{}, fmt.Errorf("%w: %q", kv.ErrUnknownNode, name)
}

// snapshotByHand takes a snapshot of this node.
func (r *replica) snapshotByHand(ctx context.Context) (kv.SnapshotResult, error) {
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

// snapshotNow takes a snapshot, or only drops log where the newest one is of the
// present state. Its caller holds the snapshotting slot.
func (r *replica) snapshotNow() (kv.SnapshotResult, error) {
	before := r.logs.Stats().DiskBytes
	var err error
	fresh := r.fsm.AppliedIndex() > r.logs.SnapshotIndex()
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
		ID: nameOf(r.id), Index: r.logs.SnapshotIndex(), Bytes: newest, LogBytesBefore: before, LogBytesAfter: after,
	}, nil
}

// spread takes up to a third off n, depending on id.
func spread(n int64, id raft.ServerID) int64 {
	var sum int64
	for _, b := range []byte(id) {
		sum = (sum*31 + int64(b)) % 401
	}
	return n - n*sum/1200
}

// handleSnapshot takes a snapshot for a peer.
func (r *replica) handleSnapshot(ctx context.Context) ([]byte, error) {
	result, err := r.snapshotByHand(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

// askSnapshot has another member take a snapshot.
func (r *replica) askSnapshot(ctx context.Context, id raft.ServerID) (kv.SnapshotResult, error) {
	var result kv.SnapshotResult
	answer, err := r.peers.Call(ctx, id, kindSnapshot, nil)
	switch {
	case errors.Is(err, transport.ErrNotSent):
		return result, fmt.Errorf("%w: %w", kv.ErrUnreachable, err)
	case errors.Is(err, transport.ErrNoAnswer):
		return result, fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
	case err != nil:
		return result, fromWire(err)
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		return result, fmt.Errorf("%w: answer of %s: %w", kv.ErrUnknownOutcome, nameOf(id), err)
	}
	return result, nil
}
