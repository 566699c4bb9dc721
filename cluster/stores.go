package cluster

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/kvorum/kvorum/wal"
)

// openStores opens log, snapshots, and term and vote, and checks that they are
// what the floor says that there must be.
func (r *replica) openStores(ident identity) error {
	fs, dir := r.cfg.FS, r.cfg.DataDir
	least, found, err := loadFloor(fs, dir)
	if err == nil && found {
		err = least.checkFiles(fs, dir)
	}
	if err != nil {
		return err
	}
	if r.wal, err = wal.Open(filepath.Join(dir, walDir), wal.Options{
		FS: fs, Logger: r.log,
		Owner: wal.Owner{Node: string(ident.serverID()), Cluster: ident.Cluster},
	}); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	r.logs = newLogStore(r.wal, r.fatal.fail)
	if r.snaps, err = openSnapshotStore(fs, filepath.Join(dir, snapshotsDir), snapshotsRetained,
		r.log, r.snapshotDurable, r.fatal.fail); err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	inner, closer, err := r.cfg.Seams.OpenStable(filepath.Join(dir, stableDir, stableFile))
	if err != nil {
		return fmt.Errorf("open stable store: %w", err)
	}
	r.votes = closer
	if r.stable, err = newStableStore(inner, r.fatal.fail); err != nil {
		return fmt.Errorf("open stable store: %w", err)
	}
	return r.openFloor(least, found)
}

// openFloor checks the floor, or makes it where all stores are new.
func (r *replica) openFloor(least floor, found bool) error {
	newest := r.snaps.newest()
	if err := least.checkSnapshot(r.cfg.DataDir, newest.SnapshotIndex); err != nil {
		return err
	}
	used := r.wal.LastIndex() != 0 || newest.SnapshotIndex != 0 || r.stable.current() != ballot{}
	if err := checkNoFloor(r.cfg.DataDir, used && !found); err != nil {
		return err
	}
	r.floor.Store(&least)
	if found && newest == least {
		return nil
	}
	return r.raiseFloor(newest)
}

// snapshotDurable is told of each snapshot that has become the newest durable one.
func (r *replica) snapshotDurable(index, term uint64) {
	if r.floor.Load() != nil { // else the stores are being opened
		if err := r.raiseFloor(floor{SnapshotIndex: index, SnapshotTerm: term}); err != nil {
			r.fatal.fail(err)
			return
		}
	}
	r.logs.setBoundary(index, term)
}

func (r *replica) raiseFloor(to floor) error {
	if err := to.save(r.cfg.FS, r.cfg.DataDir); err != nil {
		return err
	}
	r.floor.Store(&to)
	return nil
}

// closeStores closes the files, the log last: it is what the others lean on.
func (r *replica) closeStores() error {
	var err error
	if r.votes != nil {
		err = errors.Join(err, r.votes.Close())
	}
	if r.wal != nil {
		err = errors.Join(err, r.wal.Close())
	}
	return err
}
