package wal

import (
	"fmt"
	"sort"
)

// Get returns the record at index. Its payload must not be modified; it is
// never overwritten by the log. Get returns ErrNotFound outside of FirstIndex to
// LastIndex, and ErrWALClosed after Close. A record that is read from disk is
// checked: a *CorruptionError or a read error latches the log as failed. A failed
// log still returns the records that it can read.
func (w *WAL) Get(index uint64) (Frame, error) {
	f, at, err := w.lookup(index)
	if err != nil || at.seg == nil {
		return f, err
	}
	f, err = at.read()
	// The file was only read and may be deleted by now: an error of its close means nothing.
	_ = at.seg.release()
	if err != nil {
		return Frame{}, w.unreadable(index, err)
	}
	return f, nil
}

// unreadable latches the log as failed and returns the error for the caller. It is
// the error of this read, also where an earlier one has latched the log.
func (w *WAL) unreadable(index uint64, cause error) error {
	err := fmt.Errorf("read record %d: %w", index, cause)
	_ = w.fail(err)
	return err
}

// location is a record's place on disk. Its holder has acquired seg.
type location struct {
	seg *segment
	off int64
	end int64 // the frame ends here or before

	written int64 // the segment's last frame ends here
}

// lookup returns a record from the cache, or else its place on disk.
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
	at := location{seg: seg, off: int64(seg.offsets[k]), end: seg.end, written: seg.end}
	if k+1 < uint64(len(seg.offsets)) {
		at.end = int64(seg.offsets[k+1])
	}
	seg.acquire()
	return Frame{}, at, nil
}

// read reads and checks the frame. Its length is not known, so it reads up to the
// next record: a batch header and a few markers may be read as well.
func (l location) read() (Frame, error) {
	b := make([]byte, l.end-l.off)
	if err := l.fill(b); err != nil {
		return Frame{}, err
	}
	return l.parse(b)
}

// fill reads len(b) bytes from the frame's offset into b.
func (l location) fill(b []byte) error {
	if n, err := l.seg.file.ReadAt(b, l.off); n < len(b) {
		return fmt.Errorf("%s at offset %d: %w", l.seg.path, l.off, err)
	}
	return nil
}

// parse checks and returns the frame that b begins with.
func (l location) parse(b []byte) (Frame, error) {
	f, reason := parseFrame(b, l.seg.seed, l.off)
	if reason != "" {
		return Frame{}, &CorruptionError{File: l.seg.path, Offset: l.off, Reason: reason}
	}
	return f, nil
}

// readAhead is the number of bytes that a Reader reads at once.
const readAhead = 256 << 10

// Reader reads records one after the other with few reads of the disk. It
// belongs to one goroutine. Its caller closes it: until then it keeps the file of
// one segment open.
type Reader struct {
	w   *WAL
	seg *segment // from which buf was read; nil before the first read
	off int64    // of buf in seg
	buf []byte
}

// NewReader returns a Reader of w.
func (w *WAL) NewReader() *Reader { return &Reader{w: w} }

// Get is WAL.Get, but the frame's payload is valid only until the next call.
func (r *Reader) Get(index uint64) (Frame, error) {
	f, at, err := r.w.lookup(index)
	if err != nil || at.seg == nil {
		return f, err
	}
	if at.seg == r.seg && at.off >= r.off && at.end <= r.off+int64(len(r.buf)) {
		_ = at.seg.release() // r holds it already
	} else {
		err = r.load(at)
	}
	if err == nil {
		f, err = at.parse(r.buf[at.off-r.off : at.end-r.off])
	}
	if err != nil {
		return Frame{}, r.w.unreadable(index, err)
	}
	return f, nil
}

// load reads from a record's place into buf, and takes over the reference to its segment.
func (r *Reader) load(at location) error {
	r.Close()
	size := max(at.end-at.off, min(readAhead, at.written-at.off))
	if int64(cap(r.buf)) < size {
		r.buf = make([]byte, size)
	}
	r.seg, r.off, r.buf = at.seg, at.off, r.buf[:size]
	return at.fill(r.buf)
}

// Close releases the segment. The Reader may be used again after it.
func (r *Reader) Close() {
	if r.seg != nil {
		_ = r.seg.release() // the file was only read
	}
	r.seg, r.buf = nil, r.buf[:0]
}
