package cluster

import (
	"errors"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/entry"
	"github.com/kvorum/kvorum/wal"
)

// Errors of requests that would leave the log without an entry it must hold.
var (
	errLogGap     = errors.New("entries do not follow the log")
	errLogDelete  = errors.New("deletion would leave a gap in the log")
	errLogHole    = errors.New("entries between the newest snapshot and the log are missing")
	errLogRestart = fmt.Errorf("the last entry conflicts with an installed snapshot; %w", ErrRestart)
)

// boundary is the newest durable snapshot, as the log sees it. It never changes;
// a new one takes its place.
type boundary struct {
	index, term uint64 // 0, 0: no snapshot
	// masked says that what is stored up to index is not the history that the
	// snapshot stands for: the entry at index has another term, or the log ends
	// before it.
	masked bool
}

// answers says whether a missing entry at index may be answered for by the
// boundary. Raft only ever asks for such an entry's term, as the predecessor of
// others; but the first entry has no predecessor, and would itself be sent.
func (b boundary) answers() bool { return b.index > 1 }

// logStore is raft's LogStore above a write-ahead log.
//
// The newest durable snapshot is part of it. Its last entry's index and term
// always are known, even where the entry was trimmed or never was stored, or is
// stored with another term; otherwise a leader that probes for this point gets
// no match, sends the snapshot, and finds the same again, for ever (raft issue
// 697). In the last two cases the entries up to the snapshot belong to a history
// that was overruled, and are hidden. Entries behind the snapshot stay visible:
// raft remembers them as the end of its log, finds the conflict and deletes
// them. The log then begins again with the entry that follows the snapshot. Where the
// stored entry has the snapshot's term, everything is kept: it may be data that
// this server has acknowledged.
//
//	snapshot at 7, term 3               FirstIndex  LastIndex  GetLog(7)
//	log 1…9, entry 7 of term 3               1          9      as stored
//	log 8…9, trimmed                         7          9      term 3, no data
//	log 1…9, entry 7 of term 2               7          9      term 3, no data
//	log 1…5                                  7          7      term 3, no data
//	no log                                   7          7      term 3, no data
//
// The first failure of a write, a damaged record, and a request that would
// leave a gap are final: onFatal is told once, and later changes fail with the
// same error, because what raft remembers of the log and what the log holds
// may differ from there on. Only trimming the head may fail and be tried again, on a
// disk that has no room for the new list of segments.
//
// One goroutine appends and truncates the end. Several may trim the head, raft after a
// snapshot and the node on a full disk, and any number read. No method locks a reader
// out while it writes.
type logStore struct {
	wal     *wal.WAL
	onFatal func(error)

	// changing is a lock with one slot, held by StoreLogs, truncation of the end
	// and setBoundary. Trimming the head needs no lock: it removes only what lies
	// below a boundary, and boundaries only move up.
	changing chan struct{}
	boundary atomic.Pointer[boundary]
	// touched says that raft has been told where the log ends, and remembers it.
	touched atomic.Bool
	// watch is asked before an entry is read while raft starts; nil later. Its error
	// ends the start.
	watch atomic.Pointer[func(index uint64) error]
	// trailing is how many bytes of the newest entries stay when raft trims the head:
	// a follower that is no further behind needs no snapshot.
	trailing atomic.Int64
	ages     logAges
	// compact is woken whenever another wakeBytes were appended, at least, and by
	// wakeCompaction. It has one slot.
	compact   chan struct{}
	wakeBytes int64
	grown     int64 // since compact was woken; belongs to the holder of changing

	mu     sync.Mutex
	failed error // guarded by mu; the first failure
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

// newLogStore returns the store above w, which the caller closes after it. It
// must be told of the newest snapshot, if there is one, before raft uses it. So many
// bytes of it are written between two snapshots.
func newLogStore(w *wal.WAL, snapshotBytes int64, onFatal func(error)) *logStore {
	s := &logStore{
		wal: w, onFatal: onFatal, changing: make(chan struct{}, 1),
		compact: make(chan struct{}, 1), wakeBytes: snapshotBytes / 16,
	}
	s.trailing.Store(snapshotBytes)
	s.boundary.Store(&boundary{})
	return s
}

// IsMonotonic implements raft.MonotonicLogStore. A monotonic store's whole log
// is deleted when a snapshot is installed, acknowledged entries included.
func (s *logStore) IsMonotonic() bool { return false }

// FirstIndex implements raft.LogStore: the lowest index that GetLog answers, 0
// if there is none. It fails if the log does not reach down to the newest
// snapshot.
func (s *logStore) FirstIndex() (uint64, error) {
	first, _, err := s.visible()
	return first, err
}

// LastIndex implements raft.LogStore, with the same failure as FirstIndex, so
// that raft does not start on a log with a hole.
func (s *logStore) LastIndex() (uint64, error) {
	s.touched.Store(true)
	_, last, err := s.visible()
	return last, err
}

// visible returns the lowest and the highest index that GetLog answers.
func (s *logStore) visible() (first, last uint64, err error) {
	// The boundary comes second: it may be newer than the log's ends, and then
	// the log still reaches down to it.
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

// stored returns the ends of the write-ahead log, false if it is empty.
func (s *logStore) stored() (first, last uint64, some bool) {
	first, last = s.wal.FirstIndex(), s.wal.LastIndex()
	return first, last, first != 0 && first <= last
}

// GetLog implements raft.LogStore. The error is raft.ErrLogNotFound itself for
// an index that is not there: raft compares it by identity. Data and Extensions
// of the result are shared with the log's cache and must not be modified.
func (s *logStore) GetLog(index uint64, out *raft.Log) error {
	if watch := s.watch.Load(); watch != nil {
		if err := (*watch)(index); err != nil {
			return err
		}
	}
	b := s.boundary.Load()
	err := raft.ErrLogNotFound
	if !b.masked || index > b.index { // what is masked is not looked at
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
func (s *logStore) read(index uint64, out *raft.Log) error {
	frame, err := s.wal.Get(index)
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
func (s *logStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore: one write and one sync for all of logs,
// which are durable on return. They must follow each other and the log, or the
// newest snapshot where nothing of the log is left.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.changing <- struct{}{}
	defer func() { <-s.changing }()
	if err := s.failure(); err != nil {
		return err
	}
	frames, err := encodeEntries(logs)
	if err != nil {
		return s.fail(err)
	}
	first, last := logs[0].Index, logs[len(logs)-1].Index
	if err := s.append(first, frames); err != nil {
		return s.fail(fmt.Errorf("append entries %d to %d: %w", first, last, err))
	}
	s.touched.Store(true)
	s.ages.note(logs[0])
	for i := range frames {
		s.grown += int64(len(frames[i].Payload))
	}
	if s.grown >= s.wakeBytes {
		s.grown = 0
		s.wakeCompaction()
	}
	return nil
}

// wakeCompaction has the log's length be looked at.
func (s *logStore) wakeCompaction() {
	select {
	case s.compact <- struct{}{}:
	default:
	}
}

// append checks where frames go and writes them. Its caller holds the slot.
func (s *logStore) append(first uint64, frames []wal.Frame) error {
	b := s.boundary.Load()
	_, last, some := s.stored()
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
	if errors.Is(err, wal.ErrGap) { // it was emptied when the snapshot was another one
		if err = s.restart(b); err == nil {
			err = s.wal.Append(first, frames)
		}
	}
	return err
}

// restart empties the log so that it continues right behind b. Its caller holds the slot.
func (s *logStore) restart(b *boundary) error {
	if err := s.wal.Reset(b.index + 1); err != nil {
		return err
	}
	s.boundary.Store(&boundary{index: b.index, term: b.term})
	return nil
}

// encodeEntries returns logs as records. All share one buffer: they age out of
// the cache together.
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

// DeleteRange implements raft.LogStore for the two things raft does: trimming
// the head behind a snapshot, and cutting the end off before a conflicting
// entry. Both are durable on return; what lies outside of the log is ignored.
// Trimming keeps trailing bytes of the newest entries, and all behind the newest
// snapshot: raft copes with a FirstIndex below what it asked for. Cutting
// never reaches into the snapshot.
func (s *logStore) DeleteRange(min, max uint64) error {
	if err := s.failure(); err != nil {
		return err
	}
	first, last, some := s.stored()
	if !some || min > max || max < first || min > last {
		return nil
	}
	if max < last {
		return s.trimHead(min, max, first, last)
	}
	return s.cutEnd(min)
}

// trimHead removes the entries from first to at most upTo.
func (s *logStore) trimHead(from, upTo, first, last uint64) error {
	b := s.boundary.Load()
	if from > first && (!b.masked || from > b.index) {
		return s.fail(fmt.Errorf("delete entries %d to %d of %d to %d: %w", from, upTo, first, last, errLogDelete))
	}
	upTo = min(upTo, b.index, s.keepFrom(s.trailing.Load(), first, last)-1)
	if upTo < first {
		return nil
	}
	err := s.wal.TruncateFront(upTo + 1)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("trim entries up to %d: %w", upTo, err)
	if errors.Is(err, wal.ErrNoRoom) {
		return err // nothing depends on it: what stays is in the snapshot too
	}
	return s.fail(err)
}

// trim removes what the newest snapshot covers, but for trailing bytes of the newest
// entries. With 0 nothing of it stays: the snapshot's own index is answered for.
func (s *logStore) trim(trailing int64) error {
	if err := s.failure(); err != nil {
		return err
	}
	s.trailing.Store(trailing)
	b := s.boundary.Load()
	if first, last, some := s.stored(); some && b.answers() && first <= b.index {
		return s.trimHead(first, min(b.index, last), first, last)
	}
	return nil
}

// keepFrom returns the index from which on entries stay, where trailing bytes of
// first to last are to. It is the beginning of a segment where the segments from there
// on have a quarter of that at least: the one before takes its room as a whole.
func (s *logStore) keepFrom(trailing int64, first, last uint64) uint64 {
	if trailing <= 0 {
		return last + 1
	}
	n := sort.Search(int(last-first+1), func(i int) bool { return s.wal.BytesFrom(first+uint64(i)) <= trailing })
	from := first + uint64(n)
	start, next := s.wal.SegmentEnds(min(from, last))
	if from != start && s.wal.BytesFrom(next) >= max(trailing/4, 1) {
		return next
	}
	return from
}

// cutEnd removes all entries from index on.
func (s *logStore) cutEnd(index uint64) error {
	s.changing <- struct{}{}
	defer func() { <-s.changing }()
	b := s.boundary.Load()
	first, last, some := s.stored()
	if !some || index > last {
		return nil
	}
	var err error
	switch nothingLeft := b.masked || first > b.index; {
	case index == b.index+1 && nothingLeft:
		err = s.restart(b)
	case index > b.index:
		err = s.wal.TruncateBack(index - 1)
	case last <= b.index && (index <= first || b.masked):
		err = s.restart(b) // all of it is in the snapshot
	default:
		err = fmt.Errorf("%w: the newest snapshot is at %d", errLogDelete, b.index)
	}
	if err != nil {
		return s.fail(fmt.Errorf("delete entries %d to %d: %w", index, last, err))
	}
	return nil
}

// setBoundary tells the log which snapshot is the newest durable one: before
// raft starts, and whenever there is a new one. An older one than it knows of
// changes nothing.
func (s *logStore) setBoundary(index, term uint64) {
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
			// Raft remembers the term of its last entry and compares that, not
			// ours, with the leader's: it would refuse what follows until it
			// reads the log again.
			_ = s.fail(fmt.Errorf("snapshot %d of term %d: %w", index, term, errLogRestart))
		}
	}
	s.boundary.Store(next)
}

func (s *logStore) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// fail latches the first err and tells onFatal of it; it returns err with its
// context. Use after the log was closed is not a failure of the log.
func (s *logStore) fail(err error) error {
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
