package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/wal"
)

// What a data directory holds besides its LOCK.
const (
	walDir         = "wal"
	snapshotsDir   = "snapshots"
	snapshotFormat = "snapshot-%016d.snap"
	tempSuffix     = ".tmp"
)

// ErrNotPersistent is returned by Snapshot and Compact of a store without a data directory.
var ErrNotPersistent = errors.New("store has no data directory")

// openData locks the data directory and reads what is there.
func (s *Store) openData() error {
	o := s.opts
	for _, dir := range []string{o.DataDir, filepath.Join(o.DataDir, snapshotsDir)} {
		if err := o.FS.MkdirAll(dir); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
		if err := o.FS.SyncDir(filepath.Dir(dir)); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
	}
	if o.FS == wal.OS() { // a simulated one is nobody else's
		var err error
		if s.lock, err = dirlock.Acquire(o.DataDir); err != nil {
			return err
		}
	}
	if err := s.loadSnapshot(); err != nil {
		return fmt.Errorf("load snapshot: %w", err)
	}
	return s.openLog()
}

// loadSnapshot reads the newest snapshot, if there is one. A damaged one is
// refused: what came before it is gone from the log.
func (s *Store) loadSnapshot() error {
	newest, err := s.snapshots()
	if err != nil || len(newest) == 0 {
		return err
	}
	path := s.snapshotPath(newest[len(newest)-1])
	file, err := s.opts.FS.OpenRead(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read from
	f, err := readSnapshot(path, file, s.data)
	if err != nil {
		return err
	}
	if f.sequence != newest[len(newest)-1] {
		return &wal.CorruptionError{File: path, Reason: fmt.Sprintf("holds sequence %d, not what its name says", f.sequence)}
	}
	s.sequence, s.saved = f.sequence, f.sequence
	s.clock.Store(f.clock)
	return nil
}

// snapshots returns the sequences of the snapshots that are there, ascending,
// and removes what an interrupted one left.
func (s *Store) snapshots() ([]uint64, error) {
	dir := filepath.Join(s.opts.DataDir, snapshotsDir)
	names, err := s.opts.FS.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []uint64
	for _, name := range names {
		var sequence uint64
		if strings.HasSuffix(name, tempSuffix) {
			if err := s.opts.FS.Remove(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
		} else if _, err := fmt.Sscanf(name, snapshotFormat, &sequence); err == nil {
			found = append(found, sequence) // names sort as their numbers do
		}
	}
	return found, nil
}

func (s *Store) snapshotPath(sequence uint64) string {
	return filepath.Join(s.opts.DataDir, snapshotsDir, fmt.Sprintf(snapshotFormat, sequence))
}

// openLog opens the log and applies what the snapshot does not have yet.
func (s *Store) openLog() error {
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
		FS: o.FS, NoSync: !o.SyncWrites, CacheBytes: 1, MaxSegmentSize: o.MaxSegmentSize, Logger: o.Logger, Owner: wal.Owner{Node: "store"},
		Accept: func(begins uint64) error { return checkGap(dir, begins, s.sequence) },
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

// checkGap refuses a log that begins, or, where it is empty, goes on, behind what
// the newest snapshot ends at.
func checkGap(dir string, begins, snapshot uint64) error {
	if begins <= snapshot+1 {
		return nil
	}
	return &wal.CorruptionError{
		File:   filepath.Join(dir, "MANIFEST"),
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
		s.data.apply(p.changes())
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
// the part of the log that it covers. Writers go on meanwhile. An error leaves
// what was there before; it is no failure of the store.
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
	return frozen{view: s.data.View(), sequence: s.sequence, clock: s.now()}
}

// Compact shortens the log to what is needed; it is Snapshot under another name.
func (s *Store) Compact() error { return s.Snapshot() }

// save makes f durable.
func (s *Store) save(f frozen) error {
	select {
	case s.saving <- struct{}{}:
		defer func() { <-s.saving }()
	case <-s.sealed:
		return ErrStoreClosed
	}
	if f.sequence == s.saved {
		return nil
	}
	began := time.Now()
	s.garbage.Store(0)
	if err := s.writeSnapshotFile(f); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if s.log != nil {
		if err := s.log.TruncateFront(f.sequence + 1); err != nil {
			return s.fail(fmt.Errorf("shorten the log: %w", err))
		}
	}
	older, err := s.snapshots()
	for _, sequence := range older {
		if sequence < f.sequence && err == nil {
			err = s.opts.FS.Remove(s.snapshotPath(sequence))
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
	fsys, path := s.opts.FS, s.snapshotPath(f.sequence)
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
