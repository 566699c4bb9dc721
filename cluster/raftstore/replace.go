package raftstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/wal"
)

const (
	// oldLogFormat is the name that Replace gives to the log that it sets aside; the
	// former cluster's id follows.
	oldLogFormat = "wal-of-%s"
	// newLogDir is the name of the new log until the old one has been renamed.
	newLogDir = "wal.new"
)

// Replace makes one snapshot and an empty log the content of the stores below dir, whose
// term and vote stay. The snapshot is at h.LastIndex and h.LastTerm, which are not below
// those of Read, and has h.Configuration; persist writes its state and closes or cancels the
// sink, as raft.FSMSnapshot's Persist does. The log belongs to owner from then on. The
// old one is renamed to wal-of- and former, the id of the cluster that it is of, or another
// one that no earlier call has named. The caller keeps others from dir meanwhile.
//
// A call that fails, or that a crash interrupts, leaves stores that Open refuses, under the
// new owner at least, and that Read takes; another call does the rest.
func Replace(files wal.FS, dir string, h History, owner wal.Owner, former string, persist func(raft.SnapshotSink) error) error {
	if err := replaceSnapshots(files, dir, h, persist); err != nil {
		return err
	}
	return renewLog(files, dir, owner, former)
}

// replaceSnapshots writes the snapshot, removes all others, and raises the floor.
func replaceSnapshots(files wal.FS, dir string, h History, persist func(raft.SnapshotSink) error) error {
	var failed error
	s, err := listSnapshots(files, filepath.Join(dir, snapshotsDir), 1, slog.New(slog.DiscardHandler),
		func(uint64, uint64) {}, func(err error) { failed = errors.Join(failed, err) })
	if err == nil {
		if newest := s.Newest(); newest != nil {
			err = s.verify(newest)
		}
	}
	if err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	s.reap()
	sink, err := s.Create(raft.SnapshotVersionMax, h.LastIndex, h.LastTerm, h.Configuration, h.LastIndex, nil)
	if err != nil {
		return fmt.Errorf("create snapshot: %w", err)
	}
	err = persist(sink)
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	return s.floor().save(files, dir)
}

// renewLog makes an empty log, and puts it in the place of the old one, all of which is
// in the snapshot, and which it renames. Between the two there is no log, but the new one
// under another name.
func renewLog(files wal.FS, dir string, owner wal.Owner, former string) error {
	present, fresh := filepath.Join(dir, walDir), filepath.Join(dir, newLogDir)
	if err := placeNewLog(files, dir); err != nil {
		return fmt.Errorf("put the new log of an interrupted call in place: %w", err)
	}
	if err := files.RemoveAll(fresh); err != nil {
		return fmt.Errorf("make a new log: %w", err)
	}
	log, err := wal.Open(fresh, wal.Options{FS: files, Owner: owner})
	if err == nil {
		err = log.Close()
	}
	if err != nil {
		return fmt.Errorf("make a new log: %w", err)
	}
	if err := files.Rename(present, filepath.Join(dir, fmt.Sprintf(oldLogFormat, former))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set the old log aside: %w", err)
	}
	if err := errors.Join(files.Rename(fresh, present), files.SyncDir(dir)); err != nil {
		return fmt.Errorf("set the old log aside: %w", err)
	}
	return nil
}

// placeNewLog finishes an interrupted call that has set the old log aside: the new log, which
// that call left, gets its final name. One of the two names always leads to a log, then, and
// a crash of this call can be repaired too.
func placeNewLog(files wal.FS, dir string) error {
	present := filepath.Join(dir, walDir)
	if _, err := files.Stat(present); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := files.Rename(filepath.Join(dir, newLogDir), present)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the stores never had a log
	}
	return errors.Join(err, files.SyncDir(dir))
}
