package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/wal"
)

const (
	ballastFile = "ballast"
	// spaceTick is how often a node looks how much room its disk has.
	spaceTick = time.Second
	// handoverRetry is how often a leader whose disk is nearly full looks for another node to lead.
	handoverRetry = 10 * time.Second
)

// ErrDiskFull is returned for a put while the disk of the leader is nearly full:
// until another node leads, or, where no disk has room, until one has. Deletes and
// reads go on. The put was not done.
var ErrDiskFull = errors.New("the leader's disk is nearly full")

// watchSpace keeps lowSpace true to how much room the disk has. A disk that is
// full stops the node for good, whatever is done then: the log can't be written.
// So puts end before, while there is room for deletes and a snapshot.
func (r *replica) watchSpace(ctx context.Context) {
	tick := time.NewTicker(spaceTick)
	defer tick.Stop()
	var asked time.Time // when another node was looked for
	for {
		free, err := wal.FreeSpace(r.cfg.FS, r.cfg.DataDir)
		if errors.Is(err, errors.ErrUnsupported) {
			return
		}
		if err != nil {
			r.log.Warn("room on the disk not known", "err", err)
		} else {
			r.noteSpace(free)
		}
		if r.lowSpace.Load() && r.leading() && time.Since(asked) >= handoverRetry {
			asked = time.Now()
			if err := r.leaveLead(ctx); err != nil {
				r.log.Warn("disk is nearly full, and nobody else can lead", "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// spaceNeeded is how much room there must be: two segments and a snapshot.
func (r *replica) spaceNeeded() int64 { return 2*wal.DefaultMaxSegmentSize + r.snaps.newestSize() }

// noteSpace takes in how much room there is. What was too little is enough again
// only with a quarter more, so that a node does not go to and fro.
func (r *replica) noteSpace(free int64) {
	need := r.spaceNeeded()
	low := r.lowSpace.Load()
	switch {
	case !low && free < need:
		r.lowSpace.Store(true)
		r.log.Warn("disk is nearly full: puts are refused while this node leads", "free", free, "needs", need,
			"ballast", filepath.Join(r.cfg.DataDir, ballastFile))
	case low && free >= need+need/4:
		r.lowSpace.Store(false)
		r.log.Info("disk has room again", "free", free)
	}
	if !r.lowSpace.Load() && free >= need+need/4+2*r.cfg.BallastBytes {
		r.keepBallast()
	}
}

// keepBallast makes the file that an operator removes when the disk has become
// full, so that the node can start, and what is not needed be deleted.
func (r *replica) keepBallast() {
	path := filepath.Join(r.cfg.DataDir, ballastFile)
	if info, err := r.cfg.FS.Stat(path); r.cfg.BallastBytes == 0 || err == nil && info.Size() == r.cfg.BallastBytes {
		return
	}
	if err := wal.Reserve(r.cfg.FS, path, r.cfg.BallastBytes); err != nil {
		r.log.Warn("ballast not made", "file", path, "err", err)
	}
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
			err = fmt.Errorf("%s: %w", nameOf(s.ID), ErrDiskFull)
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

// admitSpace returns ErrDiskFull for commands that would fill a disk that is
// nearly full.
func (r *replica) admitSpace(cmds []fsm.Command) error {
	if r.lowSpace.Load() && slices.ContainsFunc(cmds, fillsDisk) {
		return ErrDiskFull
	}
	return nil
}

func fillsDisk(c fsm.Command) bool { return c.Op == fsm.OpPut }
