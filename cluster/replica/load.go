package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

// ended returns an error of ctx once it has ended.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("loading was stopped: %w", err)
	}
	return nil
}

// loadReader reads a snapshot until ctx ends, and reports how many bytes it has read.
type loadReader struct {
	io.Reader
	ctx   context.Context
	tell  func(done int64)
	bytes int64
}

// Read implements io.Reader.
func (r *loadReader) Read(p []byte) (int, error) {
	if err := ended(r.ctx); err != nil {
		return 0, err
	}
	n, err := r.Reader.Read(p)
	r.bytes += int64(n)
	r.tell(r.bytes)
	return n, err
}

// openStores opens log, snapshots, and term and vote. The newest snapshot becomes the
// state while the log is checked.
func (r *Replica) openStores(load context.Context) error {
	fs, dir := r.cfg.FS, r.cfg.DataDir
	var err error
	if r.total, err = wal.TotalSpace(fs, dir); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("size of the disk: %w", err)
	}
	r.segmentBytes = room.SegmentSize(r.total)
	opts := raftstore.Options{
		Dir: dir, FS: fs, Logger: r.log, Log: r.logOptions(load), SnapshotBytes: r.cfg.SnapshotBytes,
		RetainSnapshots: snapshotsRetained, OpenStable: r.cfg.Seams.OpenStable,
		Restore: r.restoreNewest, Wrote: r.wrote, OnFatal: r.fatal.Fail,
	}
	if r.stores, err = raftstore.Open(load, opts); err != nil {
		return err
	}
	r.logs, r.snaps = r.stores.Log, r.stores.Snapshots
	r.cfg.Loading.end(phaseCheck)
	return nil
}

// logOptions returns the options with which the log is opened. All of the log is checked.
func (r *Replica) logOptions(load context.Context) wal.Options {
	opts := wal.Options{
		MaxOpenSegments: r.cfg.OpenSegments, CacheBytes: r.cfg.Memory.LogCache,
		MaxSegmentSize: r.segmentBytes, Owner: wal.Owner{Node: string(r.id), Cluster: r.cfg.Identity.Cluster},
		Checked: func(done, total int64) error {
			r.cfg.Loading.set(phaseCheck, done, total)
			return ended(load)
		},
	}
	if change := r.cfg.Seams.OpenLog; change != nil {
		change(&opts)
	}
	return opts
}

// restoreNewest makes the newest snapshot the state. This is a part of the snapshot's check:
// the hash of the whole state must be right, or the node does not start.
func (r *Replica) restoreNewest(load context.Context, meta *raft.SnapshotMeta, state io.Reader) error {
	tell := func(done int64) { r.cfg.Loading.set(phaseRestore, done, meta.Size) }
	tell(0)
	var header bytes.Buffer
	data, err := r.sizeOf(meta, io.TeeReader(state, &header))
	if err == nil { // otherwise loading it reports the error
		if err := r.cfg.Memory.CheckLoad(data, r.cfg.Limits); err != nil {
			return err
		}
	}
	whole := &loadReader{Reader: io.MultiReader(&header, state), ctx: load, tell: tell}
	if err := r.machine.Restore(io.NopCloser(whole)); err != nil {
		return err
	}
	r.cfg.Loading.end(phaseRestore)
	return nil
}

// startRaft starts raft, which first reads the log behind the snapshot for
// configurations. Raft panics with the error of a log that it can't read.
func (r *Replica) startRaft(load context.Context) (err error) {
	begin := r.logs.SnapshotIndex()
	last, err := r.logs.LastIndex()
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	last = max(begin, last)
	r.logs.Watch(func(index uint64) error {
		r.cfg.Loading.set(phaseRead, int64(index-min(begin, index)), int64(last-begin))
		return ended(load)
	})
	defer func() {
		r.logs.Watch(nil)
		r.cfg.Loading.end(phaseRead)
		if p := recover(); p != nil {
			cause, ok := p.(error)
			if !ok {
				panic(p)
			}
			err = fmt.Errorf("start raft: %w", cause)
		}
	}()
	r.raft, err = raft.NewRaft(r.raftConfig(), restorer{r.machine, r}, r.logs, r.stores.Stable, r.snaps, r.peers.Raft())
	r.logs.Watch(nil) // nothing would recover a panic of raft's own goroutines
	if stopped := ended(load); err != nil && stopped != nil {
		return stopped // raft does not wrap what the log returned
	}
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	r.logs.Overlap(func() bool { return r.raft.State() == raft.Leader })
	r.logs.Hold(r.holdFrom)
	r.loaded = begin
	r.replayTo.Store(last)
	r.electAlone()
	return nil
}

// replayed reports whether the node has applied the log as it was when it was
// opened. Until then a snapshot would only delay that.
func (r *Replica) replayed() bool {
	return r.caughtUp.Load() || r.machine.AppliedIndex() >= r.replayTo.Load()
}

// replaying returns how much of the log as it was when it was opened the node has applied. It
// returns false if it has applied all, as far as it knows.
func (r *Replica) replaying() (kv.LoadStatus, bool) {
	last, applied := r.replayTo.Load(), r.machine.AppliedIndex()
	if r.caughtUp.Load() || last <= r.loaded {
		return kv.LoadStatus{}, false
	}
	r.cfg.Loading.set(phaseApply, int64(min(max(applied, r.loaded), last)-r.loaded), int64(last-r.loaded))
	s := r.cfg.Loading.Status()
	return s, s.Phase != ""
}
