package raftstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/entry"
	"github.com/kvorum/kvorum/wal"
)

// History describes the end of a member's log, and its configurations.
type History struct {
	SnapshotIndex       uint64 // of the newest snapshot, 0 for none
	LastIndex, LastTerm uint64 // of the newest entry, or of the snapshot if there is no entry behind it
	// Configuration is the newest one in snapshot or log, committed or not.
	Configuration raft.Configuration
	// Previous is the configuration before Configuration if that is an entry behind the
	// snapshot, and otherwise the zero value. It is in force if another leader has
	// overruled that entry. No older one can be in force: a leader changes the
	// configuration only after the previous change is committed.
	Previous raft.Configuration
	Owner    wal.Owner // of the log; the zero value if there is no log
}

// errOverruled ends the reading of a log that the snapshot contradicts.
var errOverruled = errors.New("the log is of a history that the snapshot has overruled")

// Read reads the newest snapshot below dir and the log behind it, and checks both. It
// changes nothing.
//
// If there is a snapshot, Read calls restore with its state, which restore reads to the
// end. Then it calls visit with each entry behind the snapshot, in order. An entry may be
// uncommitted; its Data is valid until visit returns. Either function may be nil. The caller
// makes sure that nothing else uses dir meanwhile.
//
// Read also accepts a directory in which Replace was interrupted. Other errors are those
// of Open, and that of restore; with an error, the history describes the part that was
// read before it.
func Read(files wal.FS, dir string, restore func(*raft.SnapshotMeta, io.Reader) error, visit func(*raft.Log)) (History, error) {
	var h History
	if err := h.readSnapshot(files, dir, restore); err != nil {
		return h, fmt.Errorf("read snapshots: %w", err)
	}
	found, err := h.checkFloor(files, dir)
	if err != nil {
		return h, err
	}
	logDir := filepath.Join(dir, walDir)
	if h.Owner, err = wal.OwnerOf(files, logDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return h, err
	}
	err = wal.Scan(files, logDir, max(h.SnapshotIndex, 1), func(index uint64, f wal.Frame) error {
		if !found {
			return missingFloor(dir)
		}
		return h.readEntry(index, f, visit)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errOverruled) {
		return h, err
	}
	return h, nil
}

// readEntry adds the entry at index to the history. Entries come in order, the first
// one at the snapshot's index.
func (h *History) readEntry(index uint64, f wal.Frame, visit func(*raft.Log)) error {
	log, err := entry.Decode(f.Payload)
	switch {
	case err != nil:
		return fmt.Errorf("entry %d: %w", index, err)
	case index > h.LastIndex+1:
		return fmt.Errorf("%w: %d to %d", errLogHole, h.LastIndex+1, index-1)
	case index == h.SnapshotIndex && log.Term != h.LastTerm:
		return errOverruled
	case index == h.SnapshotIndex:
		return nil
	}
	h.LastIndex, h.LastTerm = log.Index, log.Term
	if log.Type == raft.LogConfiguration {
		h.Previous, h.Configuration = h.Configuration, raft.DecodeConfiguration(log.Data)
	}
	if visit != nil {
		visit(&log)
	}
	return nil
}

// readSnapshot adds the newest snapshot to the history.
func (h *History) readSnapshot(files wal.FS, dir string, restore func(*raft.SnapshotMeta, io.Reader) error) error {
	s := unopened(files, filepath.Join(dir, snapshotsDir))
	names, err := s.finished()
	if err != nil || len(names) == 0 {
		return err
	}
	meta, err := s.load(names[0])
	if err != nil {
		return err
	}
	h.SnapshotIndex, h.LastIndex, h.LastTerm, h.Configuration = meta.Index, meta.Index, meta.Term, meta.Configuration
	if restore == nil {
		return s.verify(meta)
	}
	state, err := s.openState(meta)
	if err != nil {
		return err
	}
	return errors.Join(restore(meta, state), state.Close())
}

// checkFloor reports whether there is a floor. It returns a *wal.CorruptionError for a
// missing store, and for a snapshot without a floor. Only while Replace is unfinished may
// the log be missing.
func (h *History) checkFloor(files wal.FS, dir string) (found bool, err error) {
	least, found, err := loadFloor(files, dir)
	switch {
	case err != nil:
		return false, err
	case !found && h.SnapshotIndex != 0:
		return false, missingFloor(dir)
	case !found:
		return false, nil
	}
	interrupted, err := betweenLogs(files, dir)
	if err != nil {
		return true, err
	}
	check := least.checkFiles
	if interrupted {
		check = least.checkStable
	}
	if err := check(files, dir); err != nil {
		return true, err
	}
	return true, least.checkSnapshot(dir, h.SnapshotIndex)
}
