package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

const (
	ballastFile = "ballast"
	// diskTick is how often a node looks how much room its disk has, at least.
	diskTick = time.Second
	// handoverRetry is how often a leader whose disk is nearly full looks for another node to lead.
	handoverRetry = 10 * time.Second
	// ballastRetry is how long a node waits after it could not make the ballast.
	ballastRetry = time.Minute
)

// measureDisk is what the model of the disk looks at.
func (r *replica) measureDisk() (room.Facts, error) {
	// In this order: what is applied meanwhile counts twice rather than not at all.
	unapplied := r.logs.BytesFrom(r.fsm.AppliedIndex() + 1)
	log := r.logs.Stats()
	f := room.Facts{
		Unapplied: unapplied, Next: r.memory.Data().Snapshot() + unapplied,
		Log: log.DiskBytes, Ahead: log.AheadLeft, Drops: r.logs.FrontBytes(r.fsm.AppliedIndex() + 1),
	}
	f.Newest, f.Snapshots = r.snaps.Sizes()
	if info, err := r.cfg.FS.Stat(filepath.Join(r.cfg.DataDir, ballastFile)); err == nil {
		f.Ballast = info.Size()
	}
	free, err := wal.FreeSpace(r.cfg.FS, r.cfg.DataDir)
	if errors.Is(err, errors.ErrUnsupported) {
		return f, nil
	}
	if err != nil {
		return room.Facts{}, err
	}
	f.Known, f.Free, f.Total = true, free, r.total
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
	if least := room.LeastDisk(total, 0, room.Data{}.Snapshot()); total < least {
		return &kv.ValidationError{Field: "data-dir", Reason: fmt.Sprintf(
			"the disk of %s has %s, and a node needs %s, even without data", cfg.DataDir, room.InBytes(total), room.InBytes(least+1<<20))}
	}
	return nil
}

// watchDisk keeps the model of the disk true, makes room where it can, and hands
// leadership over where that is needed.
func (r *replica) watchDisk(ctx context.Context) {
	tick := time.NewTicker(diskTick)
	defer tick.Stop()
	var asked time.Time // when another node was looked for
	low := false        // what was logged last
	if f, err := r.disk.Look(); err == nil && f.Total > 0 && f.Total < room.LeastDisk(f.Total, f.Newest, f.Next) {
		r.log.Warn("disk is too small for this node's data: puts are refused, deletes are taken", "bytes", f.Total,
			"needs", room.LeastDisk(f.Total, f.Newest, f.Next), "what to do", "docs/disk.md")
	}
	for {
		f, err := r.disk.Look()
		switch {
		case err != nil:
			r.lines.Log(slog.LevelWarn, "room", "room on the disk not known", "err", err)
		case !f.Known && r.cfg.Memory.Limit == 0:
			return
		case !f.Known: // the others' memory is asked for all the same
		default:
			r.lines.Over("room", "room on the disk known again")
			low = r.noteDisk(f, low)
		}
		if low && r.Leading() && time.Since(asked) >= handoverRetry {
			asked = time.Now()
			if err := r.leaveLead(ctx); err != nil {
				r.lines.Log(slog.LevelWarn, "lead", "disk is nearly full, and nobody else can lead", "err", err)
			}
		}
		if r.Leading() {
			r.quorum.Ask(ctx)
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

// noteDisk acts on what a look found, and returns whether room is low. wasLow is
// what it returned last.
func (r *replica) noteDisk(f *room.Facts, wasLow bool) bool {
	low := r.disk.Low()
	if low != wasLow {
		figures := []any{"free", f.Free, "needs", f.Needed(), "resumes", f.Resumes(), "log", f.Log, "snapshots", f.Snapshots}
		if low {
			r.log.Warn("disk is nearly full: puts are refused while this node leads", append(figures,
				"ballast", filepath.Join(r.cfg.DataDir, ballastFile), "what to do", "docs/disk.md")...)
		} else {
			r.log.Info("disk has room again", figures...)
		}
	}
	if f.Tight() {
		r.snaps.Keep(1)
	} else {
		r.snaps.Keep(snapshotsRetained)
	}
	if low || f.Short(r.cfg.SnapshotBytes) {
		r.logs.Wake()
	}
	if !low && f.Ample(r.cfg.BallastBytes) {
		r.keepBallast(f)
	}
	return low
}

// keepBallast makes the file that an operator removes when the disk has become
// full, so that the node can start, and what is not needed be deleted. f says whether
// it is there. A node that could not make it waits before it tries again.
func (r *replica) keepBallast(f *room.Facts) {
	if r.cfg.BallastBytes == 0 || r.cfg.BallastBytes == f.Ballast || time.Since(r.ballastFailed) < ballastRetry {
		return
	}
	path := filepath.Join(r.cfg.DataDir, ballastFile)
	err := r.disk.Admit(r.cfg.BallastBytes, true)
	if err == nil {
		err = wal.Reserve(r.cfg.FS, path, r.cfg.BallastBytes)
		r.disk.Release(r.cfg.BallastBytes)
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
		if err == nil && info.LowDisk {
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

var _ propose.PartialRefusal = (*room.Refusal)(nil)

// admitBatch sets room aside for requests, which an entry of size bytes has, here and on a
// majority. The caller releases cost once the entry is written. The error is a
// *room.Refusal or matches ErrDiskFull, and the batch was not done.
func (r *replica) admitBatch(ctx context.Context, requests wire.Requests, size int64) (cost int64, err error) {
	if err := r.memory.Admit(requests); err != nil {
		return 0, err
	}
	put := requests.NeedRoom()
	cost = room.BatchBytes(requests, size)
	if err := r.disk.Admit(cost, put); err != nil {
		return 0, err
	}
	if err := r.quorum.Admit(ctx, put); err != nil {
		r.disk.Release(cost)
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
			n += room.EntryBytes(int64(len(e.Data)) + int64(len(e.Extensions)))
		}
		if n == 0 {
			return func() {}, nil
		}
		if err = r.disk.Admit(n, false); err == nil {
			return func() { r.disk.Release(n) }, nil
		}
	case *raft.InstallSnapshotRequest:
		if done, err = r.disk.PlanSnapshot(room.Data{Bytes: c.Size}.Snapshot(), room.Point{Index: c.LastLogIndex, Term: c.LastLogTerm}); err == nil {
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
