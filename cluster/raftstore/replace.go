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
	// oldLogFormat is the name of the log that Replace sets aside, with the former
	// cluster's id.
	oldLogFormat = "wal-of-%s"
	// newLogDir is the name of the new log until the old one has been renamed.
	newLogDir = "wal.new"
)

// Replace makes one snapshot and an empty log the content of the stores below dir. Term
// and vote stay as they are.
//
// The snapshot is at h.LastIndex and h.LastTerm, which are not below those of Read, and has
// h.Configuration. persist writes its state and closes or cancels the sink, like the Persist
// of raft.FSMSnapshot. The new log belongs to owner. The old log is renamed to wal-of-
// followed by former. This is the id of the old log's cluster, or another word that no
// earlier call has used. The caller makes sure that nothing else uses dir meanwhile.
//
// A call that fails, or is interrupted by a crash, leaves stores that Open refuses at
// least for the new owner, and that Read accepts. Another call finishes the work.
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

// renewLog makes an empty log, renames the old one, and gives the new log its name. The
// snapshot covers all of the old log. Between the two renames only the new log exists,
// under its temporary name.
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

// placeNewLog finishes an interrupted call that has set the old log aside: the new log of
// that call gets its final name. So one of the two names always belongs to a log, and a
// crash of this call can be repaired too.
func placeNewLog(files wal.FS, dir string) error {
	interrupted, err := betweenLogs(files, dir)
	if err != nil || !interrupted {
		return err
	}
	return errors.Join(files.Rename(filepath.Join(dir, newLogDir), filepath.Join(dir, walDir)), files.SyncDir(dir))
}

// betweenLogs reports whether a Replace of the stores below dir was interrupted between its two
// renames: the new log exists under its temporary name, and no other.
func betweenLogs(files wal.FS, dir string) (bool, error) {
	for _, one := range []struct {
		name   string
		exists bool
	}{{walDir, false}, {newLogDir, true}} {
		_, err := files.Stat(filepath.Join(dir, one.name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if (err == nil) != one.exists {
			return false, nil
		}
	}
	return true, nil
}
