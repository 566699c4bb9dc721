package replica

import (
	"context"
	"io"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/kv"
)

// The tests of this package see here what its edge does not show.

// Age returns how old the state is at most.
func (r *Replica) Age() time.Duration { return r.age() }

// Fail has the replica find that its node must stop.
func (r *Replica) Fail(err error) { r.fatal.Fail(err) }

// Stop does the first step of Close.
func (r *Replica) Stop() { r.cancel() }

// Compare compares the state at a checkpoint with that of the voters, as it is done on a tick.
func (r *Replica) Compare(ctx context.Context, own kv.Checkpoint) { r.compare(ctx, own) }

// Sound takes in that a majority has the state at index.
func (r *Replica) Sound(index uint64) { r.sound(index) }

// CompactIfDue drops log, or takes a snapshot, as it is done on a tick.
func (r *Replica) CompactIfDue(threshold int64) error { return r.compactIfDue(threshold) }

// SnapshotKeeping takes a snapshot, and keeps so many bytes of the log that it covers.
func (r *Replica) SnapshotKeeping(trailing int64) error { return r.snapshot(trailing) }

// HoldSnapshots acts as if a snapshot was being taken, until release is called.
func (r *Replica) HoldSnapshots() (release func()) {
	r.snapshotting <- struct{}{}
	return func() { <-r.snapshotting }
}

// LookAtDisk looks at the disk now, and returns whether puts are refused.
func (r *Replica) LookAtDisk() (low bool, err error) {
	_, err = r.disk.Look()
	return r.disk.Low(), err
}

// ForgetRoom makes the next write ask the voters for their room.
func (r *Replica) ForgetRoom() { r.quorum.Forget() }

// ElectAlone has raft elect this node if it is the only voter.
func (r *Replica) ElectAlone() { r.electAlone() }

// Probe asks the voters for their terms, and returns how many have answered.
func (r *Replica) Probe(ctx context.Context, term uint64, settle time.Duration) (answers int, err error) {
	all, err := r.probe(ctx, term, nil, settle)
	return len(all), err
}

// ReadIndex returns the leader's index for a read in a term.
func (r *Replica) ReadIndex(ctx context.Context, term *leadership.Term) (uint64, error) {
	return r.leaderReadIndex(ctx, term)
}

// IndexFor returns the leader's index for a read of another node, if its question is enough.
func (r *Replica) IndexFor(asker raft.ServerID, askersTerm uint64) (index uint64, ok bool) {
	return r.leaderIndexFor(asker, askersTerm)
}

// Restore does what raft does with a snapshot of the leader's.
func (r *Replica) Restore(source io.ReadCloser) error { return restorer{r.machine, r}.Restore(source) }

// StoredSize returns how much a snapshot on disk has.
func (r *Replica) StoredSize(meta *raft.SnapshotMeta) (room.Data, error) { return r.storedSize(meta) }

// Dropped returns a number that changes when the state is dropped for a snapshot.
func (r *Replica) Dropped() uint64 { return r.gone.Load() }
