package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/wal"
)

// Report is what Check found in a data directory.
type Report struct {
	Snapshots []SnapshotReport
	Log       *wal.Report // nil if there is none
}

// SnapshotReport is what Check found in one snapshot.
type SnapshotReport struct {
	File     string // path
	Sequence uint64 // of the newest write in it
	Keys     int
	Bytes    int64 // of keys and values
}

// Check reads the data directory of a store that nobody has open and checks all
// of it, as New does. It changes nothing but LOCK, and not even that if the directory may
// not be written to, such as a backup on a read-only mount. With an error the report
// holds the parts that were checked before it and are good. Errors are those of New.
func Check(dir string) (report Report, err error) {
	lock, err := dirlock.AcquireToRead(dir)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	files := wal.OS()
	held, hasFloor, err := loadFloor(files, dir)
	if err != nil {
		return Report{}, fmt.Errorf("check floor: %w", err)
	}
	newest, err := report.checkSnapshots(files, dir)
	if err != nil {
		return report, fmt.Errorf("check snapshots: %w", err)
	}
	if err := held.checkSnapshot(dir, newest); err != nil {
		return report, err
	}
	if err := held.checkLog(files, dir); err != nil {
		return report, err
	}
	if err := report.checkLog(files, filepath.Join(dir, walDir), newest); err != nil {
		return report, err
	}
	if !hasFloor && (newest > 0 || report.Log != nil && report.Log.Begin > 0) {
		return report, floorMissing(dir)
	}
	return report, nil
}

// checkSnapshots checks all snapshots and returns the newest one's sequence.
func (r *Report) checkSnapshots(files wal.FS, dir string) (newest uint64, err error) {
	found, _, err := listSnapshots(files, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	for _, sequence := range found {
		m := omap.New(1)
		if _, err := loadSnapshot(files, dir, sequence, m); err != nil {
			return newest, err
		}
		r.Snapshots = append(r.Snapshots, SnapshotReport{File: snapshotPath(dir, sequence), Sequence: sequence, Keys: m.Len(), Bytes: m.Size()})
		newest = sequence
	}
	return newest, nil
}

// checkLog checks the log: it must hold a store's records, and continue where the newest
// snapshot ends.
func (r *Report) checkLog(files wal.FS, dir string, newest uint64) error {
	log, err := wal.Check(files, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	r.Log = &log
	if err != nil {
		return err
	}
	if log.Owner != logOwner {
		return &wal.OwnerError{File: filepath.Join(dir, wal.ManifestName), Found: log.Owner, Want: logOwner}
	}
	if err := checkGap(dir, log.Begin, newest); err != nil {
		return err
	}
	return wal.Scan(files, dir, newest+1, func(index uint64, f wal.Frame) error {
		if _, err := recordsOf(f); err != nil {
			return fmt.Errorf("record %d of the log: %w", index, err)
		}
		return nil
	})
}
