package wal

import (
	"errors"
	"fmt"
	"slices"
)

// TruncateFront removes all records below first. It is durable on return. If
// first is above the last record, everything is removed and the next Append
// must continue at the old LastIndex()+1. It may run while others append and
// read. Only whole segments give their disk space back. It returns
// ErrNoRoom on a full disk.
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
// is below the first record, everything is removed; the next Append must begin
// at last+1 in any case. The bytes of removed records are never overwritten: the
// next Append opens a new segment. It returns ErrNoRoom on a full disk.
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
	var cut *cutPoint
	if n := int(next - tail.first); n < len(tail.offsets) {
		cut = &cutPoint{records: n, end: int64(tail.offsets[n])}
	}
	return w.replaceSegments("back", w.first, next, w.segs[:keep], w.segs[keep:], cut)
}

// Reset removes all records. The next Append must begin at next, or, if next is
// 0, anywhere. It is durable on return. It returns ErrNoRoom on a full disk.
func (w *WAL) Reset(next uint64) error {
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	return w.replaceSegments("reset", next, next, nil, w.segs, nil)
}

// cutPoint is where TruncateBack seals the last segment that it keeps.
type cutPoint struct {
	records int   // that stay
	end     int64 // offset behind them
}

// replaceSegments makes keep the log's segments: first in the manifest, then in
// memory, and then it deletes the files of drop. A crash in between leaves files
// that the next Open sweeps away. If cut is not nil it seals the last of keep.
// An error latches the log, but for ErrNoRoom. The caller holds slot.
func (w *WAL) replaceSegments(what string, first, next uint64, keep, drop []*segment, cut *cutPoint) error {
	if err := w.syncTail(); err != nil {
		return w.fail(err) // the manifest vouches for what it seals and begins with
	}
	infos := segmentInfos(keep)
	drop = slices.Clone(drop)
	if cut != nil {
		last := &infos[len(infos)-1]
		last.sealed, last.last, last.end = true, next-1, cut.end
	}
	if err := w.replaceManifest(first, infos); err != nil {
		err = fmt.Errorf("truncate %s: %w", what, err)
		if errors.Is(err, ErrNoRoom) {
			return err
		}
		return w.fail(err)
	}
	w.mu.Lock()
	if cut != nil {
		tail := keep[len(keep)-1]
		tail.sealed, tail.end, tail.synced = true, cut.end, cut.end
		tail.offsets = tail.offsets[:cut.records:cut.records]
	}
	w.segs = slices.Clone(keep)
	if next < w.next {
		w.cache.dropNewest(w.next - next)
	}
	w.cache.keepNewest(next - first)
	w.first, w.next = first, next
	w.mu.Unlock()
	if cut != nil {
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

// discard deletes a segment's file and lets go of it. Readers that still hold
// the segment go on reading the deleted file.
func (w *WAL) discard(s *segment) error {
	if s.refs.Load() > 1 { // no reader comes any more: it is not in segs
		if err := s.file.keep(); err != nil {
			return errors.Join(err, s.release())
		}
	}
	return errors.Join(w.opts.FS.Remove(s.path), s.release())
}
