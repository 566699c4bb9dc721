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
	floorFile = "floor.json" // name of the floor's file, below the data directory
	// floorFormat is the version of the floor's file.
	floorFormat = 1
)

// floor describes what a member's data directory holds at least: log, term and vote,
// which were made before the floor, and a snapshot that is not older. Without a floor a
// member that has lost one of them would start as if it had never had it. It would
// forget entries that it has acknowledged, and vote a second time. (The paper on CTRL,
// FAST 2018, calls such a loss truncation.)
type floor struct {
	SnapshotIndex uint64 `json:"snapshot_index"` // of the newest snapshot, 0 for none
	SnapshotTerm  uint64 `json:"snapshot_term"`
}

// loadFloor reads the floor of a data directory, and reports whether it exists. It does
// not exist before all stores have been made.
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

// save makes f the durable floor of a data directory.
func (f floor) save(files wal.FS, dir string) error {
	if err := sealed.Write(files, filepath.Join(dir, floorFile), floorFormat, f); err != nil {
		return fmt.Errorf("write floor: %w", err)
	}
	return nil
}

// missingFloor returns the error for a data directory without a floor whose stores hold
// something: the floor is made before they hold anything.
func missingFloor(dir string) error {
	return &wal.CorruptionError{File: filepath.Join(dir, floorFile), Reason: "file is missing"}
}

// checkFiles returns a *wal.CorruptionError if the log or the file of term and vote is
// missing below dir. That of a missing log says so if a Replace is unfinished.
func (f floor) checkFiles(files wal.FS, dir string) error {
	interrupted, err := betweenLogs(files, dir)
	if err != nil {
		return err
	}
	if interrupted {
		return &wal.CorruptionError{
			File:   filepath.Join(dir, walDir),
			Reason: "file is missing: kvorum recover was interrupted here; run it again on this directory to finish it",
		}
	}
	if err := wal.MustExist(files, filepath.Join(dir, walDir, wal.ManifestName)); err != nil {
		return err
	}
	return f.checkStable(files, dir)
}

// checkStable returns a *wal.CorruptionError if the file of term and vote is missing below dir.
func (floor) checkStable(files wal.FS, dir string) error {
	return wal.MustExist(files, filepath.Join(dir, stableDir, stableFile))
}

// checkSnapshot returns a *wal.CorruptionError if the newest snapshot below dir is older
// than the floor. The snapshot is at index; 0 means that there is none.
func (f floor) checkSnapshot(dir string, index uint64) error {
	if index >= f.SnapshotIndex {
		return nil
	}
	return &wal.CorruptionError{
		File:   filepath.Join(dir, snapshotsDir),
		Reason: fmt.Sprintf("the snapshot at index %d of term %d is missing", f.SnapshotIndex, f.SnapshotTerm),
	}
}
