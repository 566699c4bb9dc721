package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/wal"
)

// Names in a data directory, besides LOCK and FLOOR.
const (
	walDir         = "wal"
	snapshotsDir   = "snapshots"
	snapshotFormat = "snapshot-%016d.snap"
	tempSuffix     = ".tmp"
)

// logOwner is the owner that a store's log names.
var logOwner = wal.Owner{Node: "store"}

// ErrNotPersistent is returned by Snapshot and Compact of a store without a data directory.
var ErrNotPersistent = errors.New("store has no data directory")

// openData locks the data directory and reads it.
func (s *Store) openData() error {
	o := s.opts
	for _, dir := range []string{o.DataDir, filepath.Join(o.DataDir, snapshotsDir)} {
		if err := wal.MakeDir(o.FS, dir); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
	}
	if o.FS == wal.OS() { // a simulated one is nobody else's
		var err error
		if s.lock, err = dirlock.Acquire(o.DataDir); err != nil {
			return err
		}
	}
	// The process that made the newest snapshot may have died before it synced the rename,
	// and the log may be made to begin behind it before the floor is written.
	if err := o.FS.SyncDir(filepath.Join(o.DataDir, snapshotsDir)); err != nil {
		return fmt.Errorf("sync snapshots: %w", err)
	}
	held, found, err := loadFloor(o.FS, o.DataDir)
	if err != nil {
		return fmt.Errorf("load floor: %w", err)
	}
	if err := s.readData(held, found); err != nil {
		return err
	}
	s.floor = floor{log: held.log || s.log != nil, snapshot: s.saved}
	if found && s.floor == held {
		return nil
	}
	if err := s.floor.save(o.FS, o.DataDir); err != nil {
		return fmt.Errorf("write floor: %w", err)
	}
	return nil
}

// readData reads the newest snapshot and the log behind it. It refuses a directory that
// holds less than its floor, or that holds something and has no floor.
func (s *Store) readData(held floor, found bool) error {
	if err := s.loadSnapshot(); err != nil {
		return fmt.Errorf("load snapshot: %w", err)
	}
	if err := held.checkSnapshot(s.opts.DataDir, s.saved); err != nil {
		return err
	}
	if !found && s.saved > 0 {
		return floorMissing(s.opts.DataDir)
	}
	if err := held.checkLog(s.opts.FS, s.opts.DataDir); err != nil {
		return err
	}
	return s.openLog(found)
}

// loadSnapshot reads the newest snapshot, if there is one. A damaged one is
// refused: the log no longer has the records that it covers.
func (s *Store) loadSnapshot() error {
	found, err := s.snapshots()
	if err != nil || len(found) == 0 {
		return err
	}
	f, err := loadSnapshot(s.opts.FS, s.opts.DataDir, found[len(found)-1], s.data)
	if err != nil {
		return err
	}
	s.sequence, s.saved = f.sequence, f.sequence
	s.clock.Store(f.clock)
	return nil
}

// loadSnapshot reads one snapshot of a data directory into m.
func loadSnapshot(files wal.FS, dir string, sequence uint64, m *omap.Map) (frozen, error) {
	path := snapshotPath(dir, sequence)
	file, err := files.OpenRead(path)
	if err != nil {
		return frozen{}, err
	}
	defer func() { _ = file.Close() }() // only read from
	f, err := readSnapshot(path, file, m)
	if err == nil && f.sequence != sequence {
		err = &wal.CorruptionError{File: path, Reason: fmt.Sprintf("holds sequence %d, not what its name says", f.sequence)}
	}
	return f, err
}

// snapshots returns the sequences of the snapshots that are there, ascending,
// and removes the remains of an interrupted one.
func (s *Store) snapshots() ([]uint64, error) {
	found, left, err := listSnapshots(s.opts.FS, s.opts.DataDir)
	for _, path := range left {
		err = errors.Join(err, s.opts.FS.Remove(path))
	}
	return found, err
}

// listSnapshots returns the sequences of a data directory's snapshots, ascending,
// and the paths of files that interrupted ones left. Other files are not the
// store's.
func listSnapshots(files wal.FS, dir string) (found []uint64, left []string, err error) {
	names, err := files.ReadDir(filepath.Join(dir, snapshotsDir))
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if sequence, ok := parseSnapshotName(name); ok {
			found = append(found, sequence)
		} else if name, temp := strings.CutSuffix(name, tempSuffix); temp {
			if sequence, ok := parseSnapshotName(name); ok {
				left = append(left, snapshotPath(dir, sequence)+tempSuffix)
			}
		}
	}
	slices.Sort(found)
	return found, left, nil
}

// parseSnapshotName returns the sequence in the name of a snapshot's file, false
// for any other name.
func parseSnapshotName(name string) (sequence uint64, ok bool) {
	if _, err := fmt.Sscanf(name, snapshotFormat, &sequence); err != nil {
		return 0, false
	}
	return sequence, name == fmt.Sprintf(snapshotFormat, sequence) // Sscanf takes more
}

func snapshotPath(dir string, sequence uint64) string {
	return filepath.Join(dir, snapshotsDir, fmt.Sprintf(snapshotFormat, sequence))
}

// openLog opens the log and applies the records behind the snapshot.
// Without a floor the log must be empty.
func (s *Store) openLog(hasFloor bool) error {
	o := s.opts
	dir := filepath.Join(o.DataDir, walDir)
	if !o.PersistenceMode.hasLog() {
		_, err := o.FS.Stat(dir)
		if err == nil {
			return NewValidationError("PersistenceMode", fmt.Sprintf("%s would pass over the log in %s", o.PersistenceMode, dir))
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var err error
	s.log, err = wal.Open(dir, wal.Options{
		FS: o.FS, NoSync: !o.SyncWrites, CacheBytes: 1, MaxSegmentSize: o.MaxSegmentSize, Logger: o.Logger, Owner: logOwner,
		Accept: func(begins uint64) error {
			if !hasFloor && begins != 0 {
				return floorMissing(o.DataDir)
			}
			return checkGap(dir, begins, s.sequence)
		},
	})
	if err != nil {
		return err
	}
	first, last := s.log.FirstIndex(), s.log.LastIndex()
	log := s.log.NewReader()
	defer log.Close()
	for i := max(first, s.sequence+1); first != 0 && i <= last; i++ {
		if err := s.replay(log, i); err != nil {
			return fmt.Errorf("replay record %d of the log: %w", i, err)
		}
	}
	if next := s.log.Stats().NextIndex; next != s.sequence+1 && (next != 0 || s.sequence != 0) {
		// The snapshot outlived a power loss, unsynced records that it covers did not.
		if err := s.log.Reset(s.sequence + 1); err != nil {
			return fmt.Errorf("continue the log: %w", err)
		}
	}
	return nil
}

// checkGap refuses a log whose first record, or next one if it is empty, is not the
// newest snapshot's last record or the one behind it: records in between are missing.
func checkGap(dir string, begins, snapshot uint64) error {
	if begins <= snapshot+1 {
		return nil
	}
	return &wal.CorruptionError{
		File:   filepath.Join(dir, wal.ManifestName),
		Reason: fmt.Sprintf("the log begins at %d, the newest snapshot ends at %d: what lies between is missing", begins, snapshot),
	}
}

// replay applies one record of the log.
func (s *Store) replay(log *wal.Reader, index uint64) error {
	frame, err := log.Get(index)
	if err != nil {
		return err
	}
	records, err := recordsOf(frame)
	if err != nil {
		return err
	}
	if frame.Type == wal.RecordTypeClear {
		s.growth.addClear(s.data.Len())
		s.data.Clear()
	}
	for _, r := range records {
		// The plan of the one record, at the time at which it was made.
		p := plan{s: s, now: r.Timestamp, sequence: index, over: &s.over}
		if r.Type == wal.RecordTypeDelete {
			p.remove(string(r.Key))
		} else {
			p.put(string(r.Key), r.Value, r.ExpiresAt)
		}
		s.data.Apply(p.changes())
		s.growth.add(p.changes())
		s.over.reset()
		s.clock.Store(max(s.clock.Load(), r.Timestamp))
	}
	s.sequence = index
	return nil
}

// recordsOf returns the records in a frame.
func recordsOf(frame wal.Frame) ([]*wal.Record, error) {
	switch frame.Type {
	case wal.RecordTypeClear:
		return nil, nil
	case wal.RecordTypeBatch:
		return wal.DecodeBatch(frame.Payload)
	}
	r, err := wal.DecodeRecord(frame.Type, frame.Payload)
	return []*wal.Record{r}, err
}

// closeData closes the log and lets go of the directory.
func (s *Store) closeData() error {
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// Snapshot writes the store as it is now to the data directory and then drops
// the part of the log that it covers. Writes continue meanwhile. An error leaves
// the previous snapshot and the log; it is no failure of the store.
func (s *Store) Snapshot() error {
	if s.opts.PersistenceMode == PersistenceNone {
		return ErrNotPersistent
	}
	var f frozen
	w := &write{decide: func(*plan) error { return nil }, after: func() { f = s.frozen() }}
	if err := s.run(w); err != nil {
		return err
	}
	return s.save(f)
}

// frozen returns the store as it is between two rounds. The committer calls it.
func (s *Store) frozen() frozen {
	s.growth.reset()
	return frozen{view: s.data.View(), sequence: s.sequence, clock: s.now()}
}

// Compact shortens the log as far as possible; it is Snapshot under another name.
func (s *Store) Compact() error { return s.Snapshot() }

// save makes f durable, unless a snapshot that is as new is durable already.
func (s *Store) save(f frozen) error {
	select {
	case s.saving <- struct{}{}:
		defer func() { <-s.saving }()
	case <-s.sealed:
		return ErrStoreClosed
	}
	if f.sequence <= s.saved {
		return nil
	}
	began := time.Now()
	if err := s.writeSnapshotFile(f); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	s.floor.snapshot = f.sequence
	if err := s.floor.save(s.opts.FS, s.opts.DataDir); err != nil {
		return fmt.Errorf("write floor: %w", err)
	}
	if s.log != nil {
		err := s.log.TruncateFront(f.sequence + 1)
		if errors.Is(err, wal.ErrNoRoom) {
			return fmt.Errorf("shorten the log: %w", err) // what stays is in the snapshot too
		}
		if err != nil {
			return s.fail(fmt.Errorf("shorten the log: %w", err))
		}
	}
	older, err := s.snapshots()
	for _, sequence := range older {
		if sequence < f.sequence && err == nil {
			err = s.opts.FS.Remove(snapshotPath(s.opts.DataDir, sequence))
		}
	}
	if err != nil {
		return fmt.Errorf("remove older snapshots: %w", err)
	}
	s.saved = f.sequence
	s.counters.snapshots.Add(1)
	s.counters.snapshotNanos.Store(int64(time.Since(began)))
	return nil
}

// writeSnapshotFile gives the file its name only when all of it is durable.
func (s *Store) writeSnapshotFile(f frozen) error {
	fsys, path := s.opts.FS, snapshotPath(s.opts.DataDir, f.sequence)
	file, err := fsys.Create(path + tempSuffix)
	if err != nil {
		return err
	}
	err = writeSnapshot(file, f)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, fsys.Remove(path+tempSuffix))
	}
	if err := fsys.Rename(path+tempSuffix, path); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}
