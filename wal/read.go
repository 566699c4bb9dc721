package wal

import (
	"fmt"
	"sort"
)

// Get returns the record at index. Its payload must not be modified; it is
// never overwritten by the log. It returns ErrNotFound outside of FirstIndex to
// LastIndex, and ErrWALClosed after Close. What comes from disk is checked: a
// *CorruptionError or a read error latches the log as failed. A failed log still
// answers what it can.
func (w *WAL) Get(index uint64) (Frame, error) {
	f, at, err := w.lookup(index)
	if err != nil || at.seg == nil {
		return f, err
	}
	f, err = at.read()
	// A close error of a file that only was read, and is deleted by now, says nothing.
	_ = at.seg.release()
	if err != nil {
		err = fmt.Errorf("read record %d: %w", index, err)
		_ = w.fail(err) // the caller gets this error, not an earlier cause
		return Frame{}, err
	}
	return f, nil
}

// location is where a record is on disk. Its holder has acquired seg.
type location struct {
	seg *segment
	off int64
	end int64 // the frame ends here or before
}

// lookup finds a record in the cache, or else where it is on disk.
func (w *WAL) lookup(index uint64) (Frame, location, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.released:
		return Frame{}, location{}, ErrWALClosed
	case index < w.first || index >= w.next || w.emptyLocked():
		return Frame{}, location{}, ErrNotFound
	}
	if f, ok := w.cache.get(w.next - index); ok {
		return f, location{}, nil
	}
	i := sort.Search(len(w.segs), func(i int) bool { return w.segs[i].next() > index })
	seg := w.segs[i]
	k := index - seg.first
	at := location{seg: seg, off: int64(seg.offsets[k]), end: seg.end}
	if k+1 < uint64(len(seg.offsets)) {
		at.end = int64(seg.offsets[k+1])
	}
	seg.acquire()
	return Frame{}, at, nil
}

// read reads and checks the frame. Behind it, up to a batch header and a few
// markers may be read as well: that saves reading the length first.
func (l location) read() (Frame, error) {
	b := make([]byte, l.end-l.off)
	if n, err := l.seg.file.ReadAt(b, l.off); n < len(b) {
		return Frame{}, fmt.Errorf("%s at offset %d: %w", l.seg.path, l.off, err)
	}
	f, reason := parseFrame(b, l.seg.seed, l.off)
	if reason != "" {
		return Frame{}, &CorruptionError{File: l.seg.path, Offset: l.off, Reason: reason}
	}
	return f, nil
}
