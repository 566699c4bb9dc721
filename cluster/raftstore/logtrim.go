package raftstore

import (
	"errors"
	"fmt"
	"sort"

	"github.com/kvorum/kvorum/wal"
)

// DeleteRange implements raft.LogStore for the two cases that raft needs: it trims the log
// after a snapshot, and truncates it from a conflicting entry to the end. Both are durable
// on return; indexes outside of the log are ignored.
//
// A trim keeps the newest entries, as many bytes as SetTrailing has set, all entries from the
// one that Hold's function names, and those behind the newest snapshot. Raft accepts a
// FirstIndex below the one that it asked for. A truncation never removes an entry that the newest snapshot covers.
func (s *Log) DeleteRange(min, max uint64) error {
	if err := s.Failed(); err != nil {
		return err
	}
	first, last, some := s.stored()
	if !some || min > max || max < first || min > last {
		return nil
	}
	if max < last {
		return s.trimFront(min, max, first, last)
	}
	return s.truncateEnd(min)
}

// trimFront removes the entries from first to at most upTo.
func (s *Log) trimFront(from, upTo, first, last uint64) error {
	b := s.boundary.Load()
	if from > first && (!b.masked || from > b.index) {
		return s.fail(fmt.Errorf("delete entries %d to %d of %d to %d: %w", from, upTo, first, last, errLogDelete))
	}
	if upTo = s.trimEnd(b, s.trailing.Load(), upTo, first); upTo < first {
		return nil
	}
	err := s.wal.TruncateFront(upTo + 1)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("trim entries up to %d: %w", upTo, err)
	if errors.Is(err, wal.ErrNoRoom) {
		return err // nothing depends on it: the entries that stay are in the snapshot too
	}
	return s.fail(err)
}

// trimEnd returns the index of the last entry that a trim up to an index removes, if the log
// begins at first. It is below first if nothing may go.
func (s *Log) trimEnd(b *boundary, trailing int64, upTo, first uint64) uint64 {
	last := s.wal.LastIndex()
	if upTo = min(upTo, b.index, last); upTo < first {
		return upTo
	}
	upTo = min(upTo, s.keepFrom(trailing, first, last)-1)
	if held := s.Held(); held != 0 {
		upTo = min(upTo, held-1)
	}
	return upTo
}

// SetTrailing sets the number of bytes of the newest entries that stay when raft trims. A
// follower that is no further behind needs no snapshot.
func (s *Log) SetTrailing(bytes int64) { s.trailing.Store(bytes) }

// Hold makes each later trim keep the entries from the index on that a function returns,
// whatever SetTrailing says; 0 keeps none, nor does a nil function. A trim calls it at once
// before it removes anything, so a change is never missed. The caller of DeleteRange, Trim,
// Held or Excess is the one that calls it; the log holds no lock then.
func (s *Log) Hold(from func() (index uint64)) {
	if from == nil {
		s.hold.Store(nil)
		return
	}
	s.hold.Store(&from)
}

// Held returns the index of the first entry that Hold makes a trim keep now; 0 for none.
func (s *Log) Held() uint64 {
	if from := s.hold.Load(); from != nil {
		return (*from)()
	}
	return 0
}

// Excess returns the number of bytes of the entries that Trim would remove now. Their files
// may have other entries, and stay.
func (s *Log) Excess(trailing int64) int64 {
	b := s.boundary.Load()
	first, last, some := s.stored()
	if !some || !b.answers() || first > b.index {
		return 0
	}
	return s.wal.BytesFrom(first) - s.wal.BytesFrom(s.trimEnd(b, trailing, last, first)+1)
}

// Trim removes the entries that the newest snapshot covers, except trailing bytes of the
// newest entries, and those that Hold keeps. It calls SetTrailing too. If none of the covered
// entries stays, GetLog invents the snapshot's last one. An error is final, like that of any
// change, unless it is wal.ErrNoRoom: then a later call may succeed.
func (s *Log) Trim(trailing int64) error {
	if err := s.Failed(); err != nil {
		return err
	}
	s.trailing.Store(trailing)
	b := s.boundary.Load()
	if first, last, some := s.stored(); some && b.answers() && first <= b.index {
		return s.trimFront(first, min(b.index, last), first, last)
	}
	return nil
}

// keepFrom returns the index of the first entry that a trim keeps, so that about trailing
// bytes of the entries first to last stay. A segment's room can be freed only as a whole.
// So it is the beginning of a segment, if the entries from there on have at least a
// quarter of trailing.
func (s *Log) keepFrom(trailing int64, first, last uint64) uint64 {
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

// truncateEnd removes the entries from index to the last one.
func (s *Log) truncateEnd(index uint64) error {
	s.changing <- struct{}{}
	defer func() { <-s.changing }()
	if err := s.Failed(); err != nil {
		return err
	}
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
		err = s.restart(b) // the snapshot covers all entries
	default:
		err = fmt.Errorf("%w: the newest snapshot is at %d", errLogDelete, b.index)
	}
	if err != nil {
		return s.fail(fmt.Errorf("delete entries %d to %d: %w", index, last, err))
	}
	return nil
}
