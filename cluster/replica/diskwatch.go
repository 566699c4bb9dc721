package replica

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
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

const (
	ballastFile = "ballast"
	// diskTick is the maximum time between two looks at the room on the disk.
	diskTick = time.Second
	// handoverRetry is the time after which a leader whose disk is nearly full looks again for another node to lead.
	handoverRetry = 10 * time.Second
	// ballastRetry is the time after which a node tries again to make the ballast.
	ballastRetry = time.Minute
)

// measureDisk returns the figures that the model of the disk needs.
func (r *Replica) measureDisk() (room.Facts, error) {
	// The order matters: an entry that is applied meanwhile counts twice, and not zero times.
	unapplied := r.logs.BytesFrom(r.machine.AppliedIndex() + 1)
	log := r.logs.Stats()
	f := room.Facts{
		Unapplied: unapplied, Next: r.memory.Data().Snapshot() + unapplied,
		Log: log.DiskBytes, Ahead: log.AheadLeft, Drops: r.logs.FrontBytes(r.machine.AppliedIndex() + 1),
		Covered: r.logs.FrontBytes(r.logs.SnapshotIndex() + 1),
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

// watchDisk keeps the model of the disk up to date, makes room if it can, and hands
// leadership over if there is none.
func (r *Replica) watchDisk(ctx context.Context) {
	tick := time.NewTicker(diskTick)
	defer tick.Stop()
	var asked time.Time // when another node was looked for
	low := false        // as it was logged last
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
		case !f.Known: // the others are still asked for their memory
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
			r.snaps.Keep(1) // the older one makes room for the snapshot that the leader sends
		case <-ctx.Done():
			return
		}
	}
}

// noteDisk acts on the result of a look, and returns whether room is low. wasLow is
// its previous result.
func (r *Replica) noteDisk(f *room.Facts, wasLow bool) bool {
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
	if low || f.Short(r.snapshotInterval()) {
		r.logs.Wake()
	}
	if !low && f.Ample(r.cfg.BallastBytes) {
		r.keepBallast(f)
	}
	return low
}

// keepBallast makes the ballast, a file that an operator removes if the disk is full. Then
// the node can start, and clients can delete. f says whether the file exists. After a failure
// the node waits before it tries again.
func (r *Replica) keepBallast(f *room.Facts) {
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
func (r *Replica) leaveLead(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	var errs []error
	for _, s := range r.Servers() {
		if s.Suffrage != raft.Voter || s.ID == r.id {
			continue
		}
		info, err := r.AskInfo(ctx, s.ID)
		if err == nil && info.LowDisk {
			err = fmt.Errorf("%s: %w", nodeid.NameOf(s.ID), kv.ErrDiskFull)
		}
		if err == nil {
			err = r.Transfer(ctx, nodeid.NameOf(s.ID))
		}
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

var _ propose.PartialRefusal = (*room.Refusal)(nil)

// admitBatch sets room aside, here and on a majority, for an entry of size bytes with these
// requests. The caller releases cost once the entry is written. The error is a
// propose.PartialRefusal or matches ErrDiskFull; the batch was not done.
func (r *Replica) admitBatch(ctx context.Context, requests wire.Requests, size int64) (cost int64, err error) {
	requests.PutBytes += r.machine.Rewritten(requests)
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

// Room is called before raft gets entries or a snapshot of the leader's. It returns an
// error if this disk has no room for them. Then nothing was written, raft does not know of the
// command, and the leader tries again later. done must be called once raft has handled the
// command.
func (r *Replica) Room(command any) (done func(), err error) {
	switch c := command.(type) {
	case *raft.AppendEntriesRequest:
		n := int64(0)
		for _, e := range c.Entries {
			n += room.EntryBytes(int64(len(e.Data)) + int64(len(e.Extensions)))
		}
		if n == 0 {
			return func() {}, nil
		}
		if err = r.disk.AdmitIntake(n); err == nil {
			return func() { r.disk.Release(n) }, nil
		}
		r.logs.Wake() // it may wait for a snapshot
	case *raft.InstallSnapshotRequest:
		if done, err = r.disk.PlanSnapshot(room.Data{Bytes: c.Size}.Snapshot(), room.Point{Index: c.LastLogIndex, Term: c.LastLogTerm}); err == nil {
			return done, nil
		}
		select { // the removal of a snapshot may take long, and heartbeats wait for this answer
		case r.tight <- struct{}{}:
		default:
		}
	default:
		return func() {}, nil
	}
	r.lines.Log(slog.LevelWarn, "no room", "no room for what the leader sends: it tries again until there is", "err", err)
	return nil, err
}
