package raftstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/kvorum/kvorum/wal"
)

// Report describes the stores that Check has read below a data directory.
type Report struct {
	Snapshots []SnapshotReport // the oldest first
	Log       wal.Report
	Stable    bool // term and vote exist and are whole
}

// SnapshotReport describes one snapshot.
type SnapshotReport struct {
	File        string // path of its directory
	Index, Term uint64 // of the last entry that it covers
	Bytes       int64  // of the state
}

// Check reads all files below dir that Open would read, and every older snapshot. It
// changes nothing. Term and vote must be in a file of OpenBolt. The caller makes sure that
// nothing else uses dir meanwhile. Errors are those of Open; with an error, the report
// describes the good part that was read before it. Stores that Open would make are no error.
func Check(files wal.FS, dir string) (report Report, err error) {
	least, found, err := loadFloor(files, dir)
	if err == nil && found {
		err = least.checkFiles(files, dir)
	}
	if err != nil {
		return report, err
	}
	if report.Snapshots, err = checkSnapshots(files, filepath.Join(dir, snapshotsDir)); err != nil {
		return report, fmt.Errorf("check snapshots: %w", err)
	}
	var newest uint64
	for _, s := range report.Snapshots {
		newest = max(newest, s.Index)
	}
	if err := least.checkSnapshot(dir, newest); err != nil {
		return report, err
	}
	if report.Log, err = wal.Check(files, filepath.Join(dir, walDir)); err != nil && !neverMade(err, found) {
		return report, err
	}
	vote, err := readBallot(filepath.Join(dir, stableDir, stableFile))
	if err != nil && !neverMade(err, found) {
		return report, err
	}
	report.Stable = err == nil
	if !found && (report.Log.Last != 0 || newest != 0 || vote != ballot{}) {
		return report, missingFloor(dir)
	}
	return report, nil
}

// neverMade reports whether err, of a store, means that Open has not made it yet. found says
// that there is a floor, and so that Open has.
func neverMade(err error, found bool) bool { return !found && errors.Is(err, fs.ErrNotExist) }

// checkSnapshots verifies every finished snapshot below dir.
func checkSnapshots(files wal.FS, dir string) ([]SnapshotReport, error) {
	s := unopened(files, dir)
	names, err := s.finished()
	if err != nil {
		return nil, err
	}
	var found []SnapshotReport
	for _, name := range slices.Backward(names) {
		meta, err := s.load(name)
		if err == nil {
			err = s.verify(meta)
		}
		if err != nil {
			return found, err
		}
		found = append(found, SnapshotReport{File: filepath.Join(dir, name.id), Index: meta.Index, Term: meta.Term, Bytes: meta.Size})
	}
	return found, nil
}

// unopened returns the snapshots below dir, only for reading.
func unopened(files wal.FS, dir string) *Snapshots {
	return &Snapshots{fs: files, dir: dir, log: slog.New(slog.DiscardHandler)}
}
