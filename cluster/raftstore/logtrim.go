package raftstore

import (
	"errors"
	"fmt"
	"sort"

	"github.com/kvorum/kvorum/wal"
)

// DeleteRange implements raft.LogStore for the two things that raft does: it trims the
// head after a snapshot, and cuts the end off from a conflicting entry on. Both are
// durable on return; indexes outside of the log are ignored. Trimming keeps the newest
// entries, as many bytes as SetTrailing said, and all behind the newest snapshot: raft
// copes with a FirstIndex below what it asked for. Cutting never reaches into the snapshot.
func (s *Log) DeleteRange(min, max uint64) error {
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
func (s *Log) trimHead(from, upTo, first, last uint64) error {
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

// SetTrailing makes bytes the number of bytes of the newest entries that stay when raft
// trims the head, so that a follower that is no further behind needs no snapshot.
func (s *Log) SetTrailing(bytes int64) { s.trailing.Store(bytes) }

// Trim removes the entries that the newest snapshot covers, except trailing bytes of the
// newest entries, and is SetTrailing too. With 0 none of them stays: the snapshot's own
// index is answered for. An error is final, as of any change, unless it is
// wal.ErrNoRoom: then nothing depends on it, and a later call may succeed.
func (s *Log) Trim(trailing int64) error {
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

// cutEnd removes all entries from index on.
func (s *Log) cutEnd(index uint64) error {
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
