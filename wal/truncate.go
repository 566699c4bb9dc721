package wal

import (
	"errors"
	"fmt"
	"slices"
)

// TruncateFront removes all records below first. It is durable on return. If
// first is above the last record, all records are removed and the next Append
// must continue at the old LastIndex()+1. Only the disk space of whole segments is
// freed. It returns ErrNoRoom on a full disk.
func (w *WAL) TruncateFront(first uint64) error {
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	if w.next == w.first || first <= w.first {
		return nil
	}
	first = min(first, w.next)
	drop := 0
	for drop < len(w.segs) && w.segs[drop].next() <= first {
		drop++
	}
	return w.replaceSegments("front", first, w.next, w.segs[drop:], w.segs[:drop], nil)
}

// TruncateBack removes all records above last. It is durable on return. If last
// is below the first record, all records are removed. The next Append must begin
// at last+1 in any case. The bytes of removed records are never overwritten: the
// next Append begins a new segment. It returns ErrNoRoom on a full disk.
func (w *WAL) TruncateBack(last uint64) error {
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	if w.next == 0 || last >= w.next-1 {
		return nil
	}
	next := last + 1
	if next <= w.first {
		return w.replaceSegments("back", next, next, nil, w.segs, nil)
	}
	keep := len(w.segs)
	for w.segs[keep-1].first >= next {
		keep--
	}
	tail := w.segs[keep-1]
	var seal *sealPoint
	if n := int(next - tail.first); n < len(tail.offsets) {
		seal = &sealPoint{records: n, end: int64(tail.offsets[n])}
	}
	return w.replaceSegments("back", w.first, next, w.segs[:keep], w.segs[keep:], seal)
}

// Reset removes all records. The next Append must begin at next; if next is 0, it may
// begin anywhere. Reset is durable on return. It returns ErrNoRoom on a full disk.
func (w *WAL) Reset(next uint64) error {
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	return w.replaceSegments("reset", next, next, nil, w.segs, nil)
}

// sealPoint is the place at which TruncateBack seals the last segment that it keeps.
type sealPoint struct {
	records int   // number of records that stay
	end     int64 // offset behind them
}

// replaceSegments makes keep the log's segments: first in the manifest, then in
// memory. Then it deletes the files of drop; after a crash in between the next Open
// deletes them. If seal is not nil, the last segment of keep is sealed there. An
// error latches the log, except ErrNoRoom. The caller holds writeLock.
func (w *WAL) replaceSegments(what string, first, next uint64, keep, drop []*segment, seal *sealPoint) error {
	if err := w.syncTail(); err != nil {
		return w.fail(err) // a sealed segment, and the first record that the manifest names, must be durable
	}
	infos := segmentInfos(keep)
	drop = slices.Clone(drop)
	if seal != nil {
		last := &infos[len(infos)-1]
		last.sealed, last.last, last.end = true, next-1, seal.end
	}
	if err := w.replaceManifest(first, infos); err != nil {
		err = fmt.Errorf("truncate %s: %w", what, err)
		if errors.Is(err, ErrNoRoom) {
			return err
		}
		return w.fail(err)
	}
	w.mu.Lock()
	if seal != nil {
		tail := keep[len(keep)-1]
		tail.sealed, tail.end, tail.synced = true, seal.end, seal.end
		tail.offsets = tail.offsets[:seal.records:seal.records]
	}
	w.segs = slices.Clone(keep)
	if next < w.next {
		w.cache.dropNewest(w.next - next)
	}
	w.cache.keepNewest(next - first)
	w.first, w.next = first, next
	w.mu.Unlock()
	if seal != nil {
		keep[len(keep)-1].file.seal()
	}
	var errs []error
	for _, s := range drop {
		errs = append(errs, w.discard(s))
	}
	if err := errors.Join(errs...); err != nil {
		return w.fail(fmt.Errorf("truncate %s: %w", what, err))
	}
	return nil
}

// discard deletes a segment's file and drops the log's reference to the segment. Its
// readers continue to read the deleted file.
func (w *WAL) discard(s *segment) error {
	if s.refs.Load() > 1 { // there are no new readers: it is not in segs
		if err := s.file.keep(); err != nil {
			return errors.Join(err, s.release())
		}
	}
	return errors.Join(w.opts.FS.Remove(s.path), s.release())
}
