package raftstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
)

const (
	floorFile = "floor.json"
	// floorFormat is the version of that file.
	floorFormat = 1
)

// floor is the least that a member's data directory holds: log, term and vote, which
// were made before it, and a snapshot that is not older. A member that has lost one of
// them would otherwise start as if it had never had it, forget what it has acknowledged,
// and vote a second time (CTRL, FAST 2018, calls that truncation).
type floor struct {
	SnapshotIndex uint64 `json:"snapshot_index"` // of the newest snapshot, 0 for none
	SnapshotTerm  uint64 `json:"snapshot_term"`
}

// loadFloor reads the floor of a data directory, and reports whether there is
// one: there is none before all stores have been made.
func loadFloor(files wal.FS, dir string) (f floor, found bool, err error) {
	err = sealed.Read(files, filepath.Join(dir, floorFile), floorFormat, &f)
	if errors.Is(err, fs.ErrNotExist) {
		return floor{}, false, nil
	}
	if err != nil {
		return floor{}, false, fmt.Errorf("read floor: %w", err)
	}
	return f, true, nil
}

// save makes f the floor of a data directory, durably.
func (f floor) save(files wal.FS, dir string) error {
	if err := sealed.Write(files, filepath.Join(dir, floorFile), floorFormat, f); err != nil {
		return fmt.Errorf("write floor: %w", err)
	}
	return nil
}

// missingFloor returns the error for a data directory whose stores hold something and that
// has no floor: the floor is made before they hold anything.
func missingFloor(dir string) error {
	return &wal.CorruptionError{File: filepath.Join(dir, floorFile), Reason: "file is missing"}
}

// checkFiles returns a *wal.CorruptionError where the log or the file of term
// and vote is missing below dir.
func (f floor) checkFiles(files wal.FS, dir string) error {
	for _, name := range []string{filepath.Join(walDir, wal.ManifestName), filepath.Join(stableDir, stableFile)} {
		if err := wal.MustExist(files, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// checkSnapshot returns a *wal.CorruptionError where the newest snapshot below
// dir, which is at index, or 0 for none, is older than the floor.
func (f floor) checkSnapshot(dir string, index uint64) error {
	if index >= f.SnapshotIndex {
		return nil
	}
	return &wal.CorruptionError{
		File:   filepath.Join(dir, snapshotsDir),
		Reason: fmt.Sprintf("the snapshot at index %d of term %d is missing", f.SnapshotIndex, f.SnapshotTerm),
	}
}
