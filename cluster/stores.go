package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/kvorum/kvorum/wal"
)

// openStores opens log, snapshots, and term and vote, and checks that they are
// what the floor says that there must be. The newest snapshot becomes the state
// while the log is checked.
func (r *replica) openStores(load context.Context, ident identity) error {
	fs, dir := r.cfg.FS, r.cfg.DataDir
	least, found, err := loadFloor(fs, dir)
	if err == nil && found {
		err = least.checkFiles(fs, dir)
	}
	if err != nil {
		return err
	}
	if r.total, err = wal.TotalSpace(fs, dir); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("size of the disk: %w", err)
	}
	r.segmentBytes = segmentSize(r.total)
	if r.snaps, err = listSnapshots(fs, filepath.Join(dir, snapshotsDir), snapshotsRetained,
		r.log, r.snapshotDurable, r.fatal.fail); err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	if err := together(load, r.restoreNewest, func(load context.Context) error { return r.openLog(load, ident) }); err != nil {
		return err
	}
	r.logs = newLogStore(r.wal, r.cfg.SnapshotBytes, r.fatal.fail)
	r.snaps.settle()
	if err := r.logs.ages.load(r.wal); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	r.snaps.wrote = r.space.wrote
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

// openFloor checks the floor, or makes it where all stores are new: it is written
// before any of them is.
func (r *replica) openFloor(least floor, found bool) error {
	newest := r.snaps.newest()
	if err := least.checkSnapshot(r.cfg.DataDir, newest.SnapshotIndex); err != nil {
		return err
	}
	if !found && (r.wal.LastIndex() != 0 || newest.SnapshotIndex != 0 || r.stable.current() != ballot{}) {
		return &wal.CorruptionError{File: filepath.Join(r.cfg.DataDir, floorFile), Reason: "file is missing"}
	}
	r.opened.Store(true)
	if found && newest == least {
		return nil
	}
	return newest.save(r.cfg.FS, r.cfg.DataDir)
}

// snapshotDurable is told of each snapshot that has become the newest durable one.
func (r *replica) snapshotDurable(index, term uint64) {
	if r.opened.Load() {
		if err := (floor{SnapshotIndex: index, SnapshotTerm: term}).save(r.cfg.FS, r.cfg.DataDir); err != nil {
			r.fatal.fail(err)
			return
		}
	}
	r.logs.setBoundary(index, term)
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
