package raftstore

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/entry"
	"github.com/kvorum/kvorum/wal"
)

// ErrRestart is wrapped by an error of Options.OnFatal after which the member only has to
// be closed and opened again on the same data directory.
var ErrRestart = errors.New("a restart corrects it")

// Errors of requests that would leave the log without an entry that it must hold.
var (
	errLogGap    = errors.New("entries do not follow the log")
	errLogDelete = errors.New("deletion would leave a gap in the log")
	errLogHole   = errors.New("entries between the newest snapshot and the log are missing")
)

// errLogRestart is the failure of a log whose last entry, which raft remembers, conflicts
// with the newest snapshot.
var errLogRestart = fmt.Errorf("the last entry conflicts with an installed snapshot; %w", ErrRestart)

// boundary is the newest durable snapshot, as the log sees it. Its fields never change;
// a new boundary replaces it.
type boundary struct {
	index, term uint64 // 0, 0: no snapshot
	// masked means that the entries stored up to index are of another history than the
	// snapshot: the entry at index has another term, or the log ends before it.
	masked bool
}

// answers reports whether GetLog may invent the snapshot's last entry if it is not
// stored. Raft needs only the term of this entry, for the entry that follows it. It never
// sends the entry itself, unless it is entry 1, which has no predecessor.
func (b boundary) answers() bool { return b.index > 1 }

// Log is raft's LogStore above a write-ahead log (package wal).
//
// The newest durable snapshot is part of the log. GetLog returns the index and term of the
// snapshot's last entry in any case: also if the entry was trimmed, was never stored, or
// is stored with another term. Otherwise a leader that probes for this entry gets no
// match, sends the snapshot, and gets no match again, without end (hashicorp/raft issue
// 697).
//
// If the entry was never stored, or has another term, then the entries up to the snapshot
// belong to a history that was overruled: they are hidden. Entries behind the snapshot
// stay visible. Raft remembers them as the end of its log, finds the conflict and deletes
// them; the log then begins with the entry after the snapshot. If the stored entry has the
// snapshot's term, all entries are kept: this server may have acknowledged them.
//
//	snapshot at 7, term 3               FirstIndex  LastIndex  GetLog(7)
//	log 1…9, entry 7 of term 3               1          9      as stored
//	log 8…9, trimmed                         7          9      term 3, no data
//	log 1…9, entry 7 of term 2               7          9      term 3, no data
//	log 1…5                                  7          7      term 3, no data
//	no log                                   7          7      term 3, no data
//
// Three failures are final: a failed write, a damaged entry, and a request that would
// leave a gap. Options.OnFatal is called once, and later changes fail with the same
// error, because raft may remember another log than the one on disk. A trim is the
// exception: it may be tried again if the disk has no room for the new list of segments
// (wal.ErrNoRoom).
//
// One goroutine appends and truncates. Several may trim: raft after a snapshot, and the
// node on a full disk. Any number may read. No reader waits for a writer.
type Log struct {
	wal     *wal.WAL
	onFatal func(error)

	// changing is a lock (a channel of capacity one), held by StoreLogs, by the write for which
	// it has not waited, by truncation and setBoundary. A trim needs no lock: it removes only entries below a boundary, and
	// boundaries only increase.
	changing chan struct{}
	boundary atomic.Pointer[boundary]
	// touched means that raft knows the end of the log, and remembers it.
	touched atomic.Bool
	// watch is called before an entry is read while raft starts; nil later. Its error
	// ends the start.
	watch atomic.Pointer[func(index uint64) error]
	// trailing is the number of bytes of the newest entries that stay when raft trims. A
	// follower that is no further behind needs no snapshot.
	trailing atomic.Int64
	// hold returns the index of the first entry that no trim removes, 0 for none; nil is none.
	hold atomic.Pointer[func() uint64]
	ages logAges
	// compact receives after every wakeBytes that are appended, and with Wake. It is a
	// channel of capacity one.
	compact   chan struct{}
	wakeBytes int64
	grown     int64 // bytes since the last send to compact; belongs to the holder of changing

	// leading is set by Overlap. coming is the batch whose sync StoreLogs has not waited for,
	// nil once it is durable; if its write has failed, it stays.
	leading atomic.Pointer[func() bool]
	coming  atomic.Pointer[comingBatch]

	mu     sync.Mutex
	failed error // guarded by mu; the first failure
}

var (
	_ raft.LogStore          = (*Log)(nil)
	_ raft.MonotonicLogStore = (*Log)(nil)
)

// newLog returns the store above w, which the caller closes after it. If there is a
// snapshot, setBoundary must be called before raft uses the store. snapshotBytes is
// Options.SnapshotBytes.
func newLog(w *wal.WAL, snapshotBytes int64, onFatal func(error)) *Log {
	s := &Log{
		wal: w, onFatal: onFatal, changing: make(chan struct{}, 1),
		compact: make(chan struct{}, 1), wakeBytes: snapshotBytes / 16,
	}
	s.trailing.Store(snapshotBytes)
	s.boundary.Store(&boundary{})
	return s
}

// IsMonotonic implements raft.MonotonicLogStore. A monotonic store's whole log
// is deleted when a snapshot is installed, acknowledged entries included.
func (s *Log) IsMonotonic() bool { return false }

// FirstIndex implements raft.LogStore: the lowest index for which GetLog returns an
// entry, 0 if there is none. It fails if entries between the newest snapshot and the
// log are missing.
func (s *Log) FirstIndex() (uint64, error) {
	first, _, err := s.visible()
	return first, err
}

// LastIndex implements raft.LogStore, with the same failure as FirstIndex, so
// that raft does not start on a log with a hole.
func (s *Log) LastIndex() (uint64, error) {
	s.touched.Store(true)
	_, last, err := s.visible()
	return last, err
}

// visible returns the lowest and the highest index for which GetLog returns an entry.
func (s *Log) visible() (first, last uint64, err error) {
	// The boundary is loaded second: it may be newer than the log's ends, and then
	// there is still no gap between it and the log.
	first, last, some := s.stored()
	b := s.boundary.Load()
	if some && first > b.index+1 {
		return 0, 0, fmt.Errorf("%w: %d to %d", errLogHole, b.index+1, first-1)
	}
	switch {
	case !some && b.answers():
		return b.index, b.index, nil
	case !some:
		return 0, 0, nil
	case (b.masked || first > b.index) && b.answers():
		return b.index, max(last, b.index), nil
	case b.masked && last <= b.index:
		return 0, 0, nil
	case b.masked:
		return b.index + 1, last, nil
	}
	return first, last, nil
}

// stored returns the ends of the write-ahead log and of the batch that is being written,
// false if there are no entries.
func (s *Log) stored() (first, last uint64, some bool) {
	for {
		coming := s.coming.Load()
		first, last = s.wal.FirstIndex(), s.wal.LastIndex()
		some = first != 0 && first <= last
		if coming != nil {
			if !some {
				first = coming.first
			}
			last, some = max(last, coming.last()), true
		}
		if s.coming.Load() == coming { // otherwise the two may be of different times
			return first, last, some
		}
	}
}

// GetLog implements raft.LogStore. For a missing index the error is raft.ErrLogNotFound
// itself, since raft compares it by identity. Data and Extensions of the result are
// shared with the log's cache and must not be modified.
func (s *Log) GetLog(index uint64, out *raft.Log) error {
	if watch := s.watch.Load(); watch != nil {
		if err := (*watch)(index); err != nil {
			return err
		}
	}
	b := s.boundary.Load()
	err := raft.ErrLogNotFound
	if !b.masked || index > b.index { // masked entries are not read
		err = s.read(index, out)
	}
	if errors.Is(err, raft.ErrLogNotFound) && index == b.index && b.answers() {
		// A no-op, because the entry's own type is not known: it is never applied or sent.
		*out = raft.Log{Index: b.index, Term: b.term, Type: raft.LogNoop}
		return nil
	}
	return err
}

// read returns the stored entry at index, or raft.ErrLogNotFound.
func (s *Log) read(index uint64, out *raft.Log) error {
	frame, err := s.frame(index)
	switch {
	case errors.Is(err, wal.ErrNotFound):
		return raft.ErrLogNotFound
	case errors.Is(err, wal.ErrWALClosed):
		return err
	case err != nil:
		return s.fail(fmt.Errorf("read entry %d: %w", index, err))
	case frame.Type != wal.RecordTypeEntry:
		return s.fail(fmt.Errorf("read entry %d: %w: record of type %d", index, wal.ErrCorrupt, frame.Type))
	}
	log, err := entry.Decode(frame.Payload)
	if err != nil {
		return s.fail(fmt.Errorf("read entry %d: %w: %w", index, wal.ErrCorrupt, err))
	}
	if log.Index != index {
		return s.fail(fmt.Errorf("read entry %d: %w: it says it is entry %d", index, wal.ErrCorrupt, log.Index))
	}
	*out = log
	return nil
}

// StoreLog implements raft.LogStore.
func (s *Log) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore: one write and one sync for all of logs, which are
// durable on return, unless Overlap says otherwise. They must have consecutive indexes, and
// follow the log, or the newest snapshot if the log is empty.
func (s *Log) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.changing <- struct{}{}
	frames, err := s.frames(logs)
	if err != nil {
		<-s.changing
		return err
	}
	if s.overlaps(logs) {
		s.storeSoon(logs[0], frames)
		return nil
	}
	defer func() { <-s.changing }()
	return s.store(logs[0], frames)
}

// frames returns logs as records. Its caller holds changing.
func (s *Log) frames(logs []*raft.Log) ([]wal.Frame, error) {
	if err := s.Failed(); err != nil {
		return nil, err
	}
	frames, err := encodeEntries(logs)
	if err != nil {
		return nil, s.fail(err)
	}
	return frames, nil
}

// store makes frames, of which log is the first, durable. Its caller holds changing.
func (s *Log) store(log *raft.Log, frames []wal.Frame) error {
	if err := s.append(log.Index, frames); err != nil {
		return s.fail(fmt.Errorf("append entries %d to %d: %w", log.Index, log.Index+uint64(len(frames))-1, err))
	}
	s.touched.Store(true)
	s.ages.note(log)
	for i := range frames {
		s.grown += int64(len(frames[i].Payload))
	}
	if s.grown >= s.wakeBytes {
		s.grown = 0
		s.Wake()
	}
	return nil
}

// Grown returns a channel that receives when the log's length should be checked: after
// each sixteenth of Options.SnapshotBytes that was appended, and after Wake. Several such
// events may become one. One goroutine receives from the channel.
func (s *Log) Grown() <-chan struct{} { return s.compact }

// Wake makes the channel of Grown receive.
func (s *Log) Wake() {
	select {
	case s.compact <- struct{}{}:
	default:
	}
}

// append checks the place of frames and writes them. Its caller holds changing.
func (s *Log) append(first uint64, frames []wal.Frame) error {
	b := s.boundary.Load()
	last := s.wal.LastIndex()
	some := last != 0
	if some && (!b.masked || last > b.index) {
		if b.masked || first != last+1 {
			return fmt.Errorf("%w: it ends at %d", errLogGap, last)
		}
		return s.wal.Append(first, frames)
	}
	if first != b.index+1 {
		return fmt.Errorf("%w: it is empty behind snapshot %d", errLogGap, b.index)
	}
	if some {
		if err := s.restart(b); err != nil {
			return err
		}
	}
	err := s.wal.Append(first, frames)
	if errors.Is(err, wal.ErrGap) { // the log was emptied for an older snapshot
		if err = s.restart(b); err == nil {
			err = s.wal.Append(first, frames)
		}
	}
	return err
}

// restart empties the log, whose next entry is then the one after b. Its caller holds
// changing.
func (s *Log) restart(b *boundary) error {
	if err := s.wal.Reset(b.index + 1); err != nil {
		return err
	}
	s.boundary.Store(&boundary{index: b.index, term: b.term})
	return nil
}

// encodeEntries returns logs as records of the write-ahead log. All share one buffer:
// they leave the cache at about the same time.
func encodeEntries(logs []*raft.Log) ([]wal.Frame, error) {
	size := 0
	for _, log := range logs {
		size += entry.Size(log)
	}
	buf := make([]byte, 0, size)
	frames := make([]wal.Frame, len(logs))
	for i, log := range logs {
		if want := logs[0].Index + uint64(i); log.Index != want {
			return nil, fmt.Errorf("append entries: %w: %d where %d should be", errLogGap, log.Index, want)
		}
		start := len(buf)
		buf = entry.Append(buf, log)
		frames[i] = wal.Frame{Type: wal.RecordTypeEntry, Payload: buf[start:len(buf):len(buf)]}
	}
	return frames, nil
}

// setBoundary makes the snapshot at index and term the boundary. It is called before
// raft starts, and for each new durable snapshot. A snapshot older than the boundary
// changes nothing.
func (s *Log) setBoundary(index, term uint64) {
	s.changing <- struct{}{}
	defer func() { <-s.changing }()
	old := s.boundary.Load()
	if index <= old.index {
		return
	}
	next := &boundary{index: index, term: term, masked: old.masked}
	if first, last, some := s.stored(); some && first <= index {
		conflict := last < index
		if !conflict {
			var log raft.Log
			if err := s.read(index, &log); err != nil {
				return // read has reported it
			}
			conflict = log.Term != term
		}
		next.masked = next.masked || conflict
		if conflict && last == index && s.touched.Load() {
			// Raft remembers the term of its last entry, and compares that term with
			// the leader's. So it would refuse the entries after the snapshot until
			// it reads the log again.
			_ = s.fail(fmt.Errorf("snapshot %d of term %d: %w", index, term, errLogRestart))
		}
	}
	s.boundary.Store(next)
}

// SnapshotIndex returns the index of the newest durable snapshot, 0 for none.
func (s *Log) SnapshotIndex() uint64 { return s.boundary.Load().index }

// Begins returns the lowest index of an entry that a leader may send from this log: that of
// the first one that is stored, or, where none is, the one behind the newest snapshot.
func (s *Log) Begins() uint64 {
	if first, _, some := s.stored(); some {
		return first
	}
	return s.boundary.Load().index + 1
}

// Holds reports whether the entry at index is durable with this term. It ignores the
// newest snapshot: an entry below it may have been overruled, and still be stored.
func (s *Log) Holds(index, term uint64) bool {
	var stored raft.Log
	return index <= s.Durable() && s.read(index, &stored) == nil && stored.Term == term
}

// Watch installs a function that GetLog calls before it reads an entry; its error becomes
// GetLog's. Nil removes it. It is for the start of raft, which reads the log and can't be
// stopped otherwise.
func (s *Log) Watch(watch func(index uint64) error) {
	if watch == nil {
		s.watch.Store(nil)
		return
	}
	s.watch.Store(&watch)
}

// Oldest returns the time at which the oldest stored entry was made, or one that is not
// much older, by the clock of its leader. It is the zero time if that is not known. It
// does not read the disk.
func (s *Log) Oldest() time.Time { return s.ages.oldest(s.wal.FirstIndex()) }

// Stats returns figures of the write-ahead log, entries hidden by a snapshot included. It
// does not read the disk.
func (s *Log) Stats() wal.Stats { return s.wal.Stats() }

// BytesFrom returns the number of bytes that the entries from index to the last one take
// in their files.
func (s *Log) BytesFrom(index uint64) int64 { return s.wal.BytesFrom(index) }

// FrontBytes returns the number of bytes of files that would be removed if the log began
// at index first.
func (s *Log) FrontBytes(first uint64) int64 { return s.wal.FrontBytes(first) }

// Seal makes the log begin a new segment soon, so that the previous ones can be removed
// as a whole once a snapshot covers them. See wal.WAL.Seal for its errors.
func (s *Log) Seal() error { return s.wal.Seal() }

// Failed returns the failure of the log that was final, nil if there was none.
func (s *Log) Failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// fail latches the first err and calls onFatal with it; it returns err with its
// context. Use after the log was closed is not a failure of the log.
func (s *Log) fail(err error) error {
	err = fmt.Errorf("raft log: %w", err)
	if errors.Is(err, wal.ErrWALClosed) {
		return err
	}
	s.mu.Lock()
	first := s.failed == nil
	if first {
		s.failed = err
	}
	s.mu.Unlock()
	if first {
		s.onFatal(err)
	}
	return err
}
