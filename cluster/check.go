package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/wal"
)

// Report is what Check found in a node's data directory.
type Report struct {
	Name, Incarnation, Cluster string
	Snapshots                  []SnapshotReport
	Log                        wal.Report
	Stable                     bool // the file of term and vote is there, and whole
}

// SnapshotReport is what Check found in one snapshot.
type SnapshotReport struct {
	File        string // path of its directory
	Index, Term uint64
	Bytes       int64 // of the state
}

// ErrNoNode is returned by Check for a directory that holds no node.
var ErrNoNode = errors.New("directory holds no node")

// Check reads the data directory of a node that is not running and checks its
// identity, snapshots, log, and term and vote, without changing anything but
// its LOCK, and not that where the directory may not be written to. With an error the report holds what was good before it; errors are
// those of Open.
func Check(dir string) (report Report, err error) {
	lock, err := dirlock.AcquireToRead(dir)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	files := wal.OS()
	ident, found, err := loadIdentity(files, dir)
	if err != nil {
		return Report{}, err
	}
	if !found {
		return Report{}, fmt.Errorf("%w: %s", ErrNoNode, dir)
	}
	report = Report{Name: ident.Name, Incarnation: ident.Incarnation, Cluster: ident.Cluster}
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
	if report.Log, err = wal.Check(files, filepath.Join(dir, walDir)); err != nil {
		return report, err
	}
	path := filepath.Join(dir, stableDir, stableFile)
	err = checkBolt(path)
	report.Stable = err == nil
	if err == nil && !found && (report.Log.Last != 0 || newest != 0) {
		err = &wal.CorruptionError{File: filepath.Join(dir, floorFile), Reason: "file is missing"}
	}
	return report, err
}

// checkSnapshots verifies every finished snapshot below dir.
func checkSnapshots(files wal.FS, dir string) ([]SnapshotReport, error) {
	s := &snapshotStore{fs: files, dir: dir, log: slog.New(slog.DiscardHandler)}
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
