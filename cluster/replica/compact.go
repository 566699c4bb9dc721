package replica

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/room"
)

// compactTick is the maximum time between two looks at the log's growth.
const compactTick = 2 * time.Second

// compactLoop keeps the log short. It takes a snapshot and drops the log that
// the snapshot covers, in two cases: if the log behind the newest snapshot has as many bytes as
// snapshotInterval says, and if the disk is short of room and a snapshot gives some back. It
// drops log without a snapshot if puts are refused for room, and if members need less of it
// than before.
func (r *Replica) compactLoop(ctx context.Context) {
	tick := time.NewTicker(compactTick)
	defer tick.Stop()
	for {
		select {
		case <-r.logs.Grown():
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := r.compactIfDue(spread(r.snapshotInterval(), r.id)); err != nil {
			r.lines.Log(slog.LevelWarn, "snapshot", "snapshot not taken", "err", err)
		}
	}
}

// diskShare is the part of the disk that the log may grow by between two snapshots, if that is
// more than Config.SnapshotBytes: 1/diskShare. On a small disk a longer log would take the room
// that the next snapshot needs.
const diskShare = 16

// snapshotInterval returns the number of bytes of log after which a snapshot is due: as many
// as the newest snapshot has, so that snapshots write no more than the log, however much
// state and history there is. A restart reads no more log than that. On a disk that will be
// full soon, a snapshot is due earlier (gainsRoom).
func (r *Replica) snapshotInterval() int64 {
	interval, _ := r.snaps.Sizes()
	if r.total != 0 { // it is known
		interval = min(interval, r.total/diskShare)
	}
	return max(r.cfg.SnapshotBytes, interval)
}

// compactIfDue takes a snapshot if it is time for one: because the log behind the newest has
// threshold bytes, or for room.
func (r *Replica) compactIfDue(threshold int64) error {
	boundary, applied := r.logs.SnapshotIndex(), r.machine.AppliedIndex()
	since := r.logs.BytesFrom(boundary + 1)
	if f := r.disk.Facts(); since >= threshold*3/4 && (f == nil || f.HasMargin()) {
		// The next segment begins with the log that a snapshot does not cover yet.
		if err := r.logs.Seal(); err != nil {
			return err
		}
	}
	low := r.disk.Low()
	worth := applied > boundary && (since >= threshold && r.replayed() || r.gainsRoom(low))
	waits := r.disk.Waits()
	if !worth && !low && !waits && !r.overlong() {
		return nil
	}
	select {
	case r.snapshotting <- struct{}{}:
		defer func() { <-r.snapshotting }()
	default:
		return nil // one is taken by hand; the next tick looks again
	}
	if waits {
		return r.roomForIntake(worth)
	}
	if !worth {
		return r.logs.Trim(r.trailing(low))
	}
	return r.snapshot(r.trailing(low))
}

// roomForIntake makes room for entries of the leader's that wait for it. It removes what the newest
// snapshot covers, and takes a snapshot if one is worth it for another reason too, or still for
// these entries. Its caller holds the snapshotting slot.
func (r *Replica) roomForIntake(worth bool) error {
	r.snaps.Keep(1)
	err := r.logs.Trim(0)
	f, looked := r.disk.Look()
	if looked == nil && r.machine.AppliedIndex() > r.logs.SnapshotIndex() && (worth || f.WorthForIntake()) {
		return errors.Join(err, r.snapshot(0))
	}
	r.disk.Acted(false)
	return errors.Join(err, looked)
}

// gainsRoom reports whether the disk is short of room and a snapshot gives enough back.
func (r *Replica) gainsRoom(low bool) bool {
	f := r.disk.Facts()
	return f != nil && f.WorthSnapshot(low, r.snapshotInterval())
}

// trailing returns the number of bytes that stay in the log of the entries that a snapshot
// covers, for followers that lack no more than these. It is about the size of the snapshot
// that such a follower would need instead, and 0 on a disk that is nearly full.
func (r *Replica) trailing(low bool) int64 {
	if low {
		return 0
	}
	newest, _ := r.snaps.Sizes()
	return trailingBytes(newest, r.cfg.SnapshotBytes)
}

// trailingBytes is trailing after a snapshot of newest bytes, if a snapshot is taken
// every threshold bytes of the log at least.
func trailingBytes(newest, threshold int64) int64 {
	return min(max(newest, threshold/4), threshold)
}

// logMayHave returns the maximum number of bytes of the log's files, if writers add no more
// than a snapshot's size while it is taken.
func (r *Replica) logMayHave(next int64) int64 {
	kept := r.trailing(false)
	if held := r.logs.Held(); held != 0 {
		kept = max(kept, r.logs.BytesFrom(held))
	}
	return kept + r.snapshotInterval() + next + r.segmentBytes + room.MarginBytes
}

// snapshot takes a snapshot, and drops the log that it covers except for trailing bytes.
// Its caller holds the snapshotting slot.
func (r *Replica) snapshot(trailing int64) error {
	if f := r.disk.Facts(); f != nil && f.Tight() {
		r.snaps.Keep(1) // an older one makes room for it
	}
	unapplied := r.logs.BytesFrom(r.machine.AppliedIndex() + 1)
	done, err := r.disk.PlanSnapshot(r.memory.Data().Snapshot()+unapplied, room.Point{})
	if err != nil {
		r.disk.Acted(false)
		return errors.Join(err, r.logs.Trim(trailing)) // the log that the previous snapshot covers is dropped all the same
	}
	r.logs.SetTrailing(trailing)
	r.overtaken.Store(nil)
	err = r.raft.Snapshot().Error()
	if why := r.overtaken.Load(); err != nil && why != nil {
		err = *why // which raft's error only quotes
	}
	done()
	r.disk.Acted(err == nil)
	if err == nil {
		err = r.logs.Trim(trailing)
	}
	if _, looked := r.disk.Look(); err == nil && looked != nil {
		r.lines.Log(slog.LevelWarn, "room", "room on the disk not known", "err", looked)
	}
	return err
}

// wrote tells the disk of n bytes that were written of a snapshot.
func (r *Replica) wrote(index, term uint64, n int) error {
	err := r.disk.Wrote(index, term, n)
	if err != nil {
		r.overtaken.Store(&err)
	}
	return err
}

// spread returns n minus up to a third of it, depending on id: so nodes take snapshots at
// different times.
func spread(n int64, id raft.ServerID) int64 {
	var sum int64
	for _, b := range []byte(id) {
		sum = (sum*31 + int64(b)) % 401
	}
	return n - n*sum/1200
}
