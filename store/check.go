package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/wal"
)

// Report is what Check found in a data directory.
type Report struct {
	Snapshots []SnapshotReport
	Log       *wal.Report // nil where there is none
}

// SnapshotReport is what Check found in one snapshot.
type SnapshotReport struct {
	File     string // path
	Sequence uint64 // of the newest write in it
	Keys     int
	Bytes    int64 // of keys and values
}

// Check reads the data directory of a store that nobody has open and checks all
// of it, as New does, without changing anything but its LOCK. With an error the
// report holds what was good before it; errors are those of New.
func Check(dir string) (report Report, err error) {
	lock, err := dirlock.Acquire(dir)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	files := wal.OS()
	names, err := files.ReadDir(filepath.Join(dir, snapshotsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Report{}, err
	}
	var newest uint64
	for _, name := range names {
		var sequence uint64
		if _, err := fmt.Sscanf(name, snapshotFormat, &sequence); err != nil || filepath.Ext(name) == tempSuffix {
			continue
		}
		found, err := checkSnapshot(files, filepath.Join(dir, snapshotsDir, name))
		if err != nil {
			return report, fmt.Errorf("check snapshot: %w", err)
		}
		report.Snapshots = append(report.Snapshots, found)
		newest = sequence
	}
	log, err := wal.Check(files, filepath.Join(dir, walDir))
	if errors.Is(err, fs.ErrNotExist) {
		return report, nil
	}
	report.Log = &log
	if err == nil {
		err = checkGap(filepath.Join(dir, walDir), log.Begin, newest)
	}
	return report, err
}

func checkSnapshot(files wal.FS, path string) (SnapshotReport, error) {
	file, err := files.OpenRead(path)
	if err != nil {
		return SnapshotReport{}, err
	}
	defer func() { _ = file.Close() }() // only read from
	m := NewShardedMap(1)
	f, err := readSnapshot(path, file, m)
	return SnapshotReport{File: path, Sequence: f.sequence, Keys: m.Len(), Bytes: m.Size()}, err
}
