package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

const (
	ballastFile = "ballast"
	// spaceTick is how often a node looks how much room its disk has, at least.
	spaceTick = time.Second
	// handoverRetry is how often a leader whose disk is nearly full looks for another node to lead.
	handoverRetry = 10 * time.Second
	// ballastRetry is how long a node waits after it could not make the ballast.
	ballastRetry = time.Minute
)

// measureSpace is what the model of the disk looks at.
func (r *replica) measureSpace() (diskFacts, error) {
	// In this order: what is applied meanwhile counts twice rather than not at all.
	unapplied := r.logs.BytesFrom(r.fsm.AppliedIndex() + 1)
	log := r.logs.Stats()
	f := diskFacts{
		unapplied: unapplied, next: snapshotSize(r.memory.data()) + unapplied,
		log: log.DiskBytes, ahead: log.AheadLeft, drops: r.logs.FrontBytes(r.fsm.AppliedIndex() + 1),
	}
	f.newest, f.snapshots = r.snaps.Sizes()
	if info, err := r.cfg.FS.Stat(filepath.Join(r.cfg.DataDir, ballastFile)); err == nil {
		f.ballast = info.Size()
	}
	free, err := wal.FreeSpace(r.cfg.FS, r.cfg.DataDir)
	if errors.Is(err, errors.ErrUnsupported) {
		return f, nil
	}
	if err != nil {
		return diskFacts{}, err
	}
	f.known, f.free, f.total = true, free, r.total
	return f, nil
}

// checkDisk returns a *ValidationError for a disk on which not even an empty node
// has room. It is for new nodes: one that has data starts on any disk, to be deleted
// from.
func checkDisk(cfg Config) error {
	total, err := wal.TotalSpace(cfg.FS, cfg.DataDir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("size of the disk of %s: %w", cfg.DataDir, err)
	}
	if least := leastDisk(total, 0, snapshotSize(0, 0)); total < least {
		return &kv.ValidationError{Field: "data-dir", Reason: fmt.Sprintf(
			"the disk of %s has %s, and a node needs %s, even without data", cfg.DataDir, inBytes(total), inBytes(least+1<<20))}
	}
	return nil
}

// watchSpace keeps the model of the disk true, makes room where it can, and hands
// leadership over where that is needed.
func (r *replica) watchSpace(ctx context.Context) {
	tick := time.NewTicker(spaceTick)
	defer tick.Stop()
	var asked time.Time // when another node was looked for
	low := false        // what was logged last
	if f, err := r.space.look(); err == nil && f.total > 0 && f.total < leastDisk(f.total, f.newest, f.next) {
		r.log.Warn("disk is too small for this node's data: puts are refused, deletes are taken", "bytes", f.total,
			"needs", leastDisk(f.total, f.newest, f.next), "what to do", "docs/disk.md")
	}
	for {
		f, err := r.space.look()
		switch {
		case err != nil:
			r.lines.Log(slog.LevelWarn, "room", "room on the disk not known", "err", err)
		case !f.known && r.memory.plan.Limit == 0:
			return
		case !f.known: // the others' memory is asked for all the same
		default:
			r.lines.Over("room", "room on the disk known again")
			low = r.noteSpace(f, low)
		}
		if low && r.Leading() && time.Since(asked) >= handoverRetry {
			asked = time.Now()
			if err := r.leaveLead(ctx); err != nil {
				r.lines.Log(slog.LevelWarn, "lead", "disk is nearly full, and nobody else can lead", "err", err)
			}
		}
		if r.Leading() {
			r.askRoom(ctx, nil)
		}
		select {
		case <-tick.C:
		case <-r.tight:
			r.snaps.Keep(1) // an older one makes room for what the leader sends
		case <-ctx.Done():
			return
		}
	}
}

// noteSpace acts on what a look found, and returns whether room is low. wasLow is
// what it returned last.
func (r *replica) noteSpace(f *diskFacts, wasLow bool) bool {
	low := r.space.low.Load()
	if low != wasLow {
		figures := []any{"free", f.free, "needs", f.needed(), "resumes", f.resumes(), "log", f.log, "snapshots", f.snapshots}
		if low {
			r.log.Warn("disk is nearly full: puts are refused while this node leads", append(figures,
				"ballast", filepath.Join(r.cfg.DataDir, ballastFile), "what to do", "docs/disk.md")...)
		} else {
			r.log.Info("disk has room again", figures...)
		}
	}
	if f.tight() {
		r.snaps.Keep(1)
	} else {
		r.snaps.Keep(snapshotsRetained)
	}
	if low || f.put < f.next+r.cfg.SnapshotBytes/2 {
		r.logs.Wake()
	}
	if !low && f.put >= 2*f.enough()+2*r.cfg.BallastBytes {
		r.keepBallast(f)
	}
	return low
}

// keepBallast makes the file that an operator removes when the disk has become
// full, so that the node can start, and what is not needed be deleted. f says whether
// it is there. A node that could not make it waits before it tries again.
func (r *replica) keepBallast(f *diskFacts) {
	if r.cfg.BallastBytes == 0 || r.cfg.BallastBytes == f.ballast || time.Since(r.ballastFailed) < ballastRetry {
		return
	}
	path := filepath.Join(r.cfg.DataDir, ballastFile)
	err := r.space.admit(r.cfg.BallastBytes, true)
	if err == nil {
		err = wal.Reserve(r.cfg.FS, path, r.cfg.BallastBytes)
		r.space.release(r.cfg.BallastBytes)
	}
	if err != nil {
		r.ballastFailed = time.Now()
		r.lines.Log(slog.LevelWarn, "ballast", "ballast not made", "file", path, "err", err)
		return
	}
	r.lines.Over("ballast", "ballast made", "file", path)
}

// leaveLead hands leadership to a voter whose disk has room.
func (r *replica) leaveLead(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handlerTimeout)
	defer cancel()
	var errs []error
	for _, s := range r.servers() {
		if s.Suffrage != raft.Voter || s.ID == r.id {
			continue
		}
		info, err := r.askInfo(ctx, s.ID)
		if err == nil && info.LowSpace {
			err = fmt.Errorf("%s: %w", nameOf(s.ID), kv.ErrDiskFull)
		}
		if err == nil {
			err = r.transfer(ctx, nameOf(s.ID))
		}
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// admitBatch reserves room for requests, which an entry of size bytes has, here and on a
// majority. The caller releases cost once the entry is written. The error is a
// *memoryRefusal or matches ErrDiskFull, and the batch was not done.
func (r *replica) admitBatch(ctx context.Context, requests wire.Requests, size int64) (cost int64, err error) {
	if err := r.memory.admit(requests); err != nil {
		return 0, err
	}
	put := requests.NeedRoom()
	cost = size + entryOverhead + requests.PutBytes + int64(requests.Puts)*itemOverhead
	if err := r.space.admit(cost, put); err != nil {
		return 0, err
	}
	if err := r.quorum.admit(ctx, r, put); err != nil {
		r.space.release(cost)
		return 0, err
	}
	return cost, nil
}

// admitCommand is asked by the transport before raft gets entries or a snapshot of
// the leader's. Its error, where this disk has no room, makes the leader try again
// later: nothing was written, and raft knows of nothing. done is called once raft has
// handled the command.
func (r *replica) admitCommand(command any) (done func(), err error) {
	switch c := command.(type) {
	case *raft.AppendEntriesRequest:
		n := int64(0)
		for _, e := range c.Entries {
			n += int64(len(e.Data)) + int64(len(e.Extensions)) + entryOverhead
		}
		if n == 0 {
			return func() {}, nil
		}
		if err = r.space.admit(n, false); err == nil {
			return func() { r.space.release(n) }, nil
		}
	case *raft.InstallSnapshotRequest:
		n := c.Size + c.Size/1024 + snapshotOverhead
		if done, err = r.space.plan(n, snapshotPoint{c.LastLogIndex, c.LastLogTerm}); err == nil {
			return done, nil
		}
		select { // to remove a snapshot may take long, and heartbeats wait for this answer
		case r.tight <- struct{}{}:
		default:
		}
	default:
		return func() {}, nil
	}
	r.lines.Log(slog.LevelWarn, "no room", "no room for what the leader sends: it tries again until there is", "err", err)
	return nil, err
}
