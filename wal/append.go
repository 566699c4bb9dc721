package wal

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// keepBuffer is the maximum size in bytes of an encoding buffer that is kept between batches.
const keepBuffer = 4 << 20

// Append writes frames as the records first, first+1 and so on. They are
// durable on return (but see Options.NoSync), and after a crash either all of
// them are there or none. It costs one write and one sync. When a segment is full
// it also makes a new one.
//
// first must be LastIndex()+1. In an empty log it must be the index to which the
// log was truncated or Reset; in a log that was never written, or Reset to 0, it
// may be anything above 0. Otherwise Append returns ErrGap. It returns
// ErrInvalidFrame or ErrPayloadTooLarge for records it cannot hold, and
// ErrWALClosed after Close; all these change nothing. Any other error wraps
// ErrFailed: then the records may or may not be there after the next Open.
//
// The log keeps the payloads in its cache: they must not be modified any more,
// unless Options.CacheBytes is 1.
func (w *WAL) Append(first uint64, frames []Frame) error {
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	return w.appendLocked(first, frames)
}

// appendLocked is Append for the holder of writeLock.
func (w *WAL) appendLocked(first uint64, frames []Frame) error {
	bytes, err := framesSize(frames)
	if err != nil {
		return err
	}
	if first == 0 || first > math.MaxUint64-1-uint64(len(frames)) || w.next != 0 && first != w.next {
		return fmt.Errorf("%w: append at %d, the next index is %d", ErrGap, first, w.next)
	}
	if len(frames) == 0 {
		return nil
	}
	if err := w.appendBatch(first, frames, bytes); err != nil {
		return w.fail(fmt.Errorf("append records %d to %d: %w", first, first+uint64(len(frames))-1, err))
	}
	return nil
}

func (w *WAL) appendBatch(first uint64, frames []Frame, bytes int64) error {
	seg, err := w.segmentFor(first, batchSize+bytes)
	if err != nil {
		return err
	}
	buf, offsets := seg.encodeBatch(slices.Grow(w.buf[:0], int(batchSize+bytes)), first, frames, bytes)
	if cap(buf) <= keepBuffer {
		w.buf = buf[:0]
	}
	end := seg.end + int64(len(buf))
	size, err := seg.grow(end, w.opts.MaxSegmentSize)
	if err != nil {
		return err
	}
	write := w.writeSynced
	if w.opts.NoSync {
		write = w.write
	}
	if err := write(seg, buf); err != nil {
		return err
	}
	w.publish(seg, first, frames, offsets, end, size)
	w.idle.Reset(w.opts.MarkerDelay)
	w.scheduleSave()
	if end > w.opts.MaxSegmentSize/2 {
		w.prepare()
	}
	return nil
}

// segmentFor returns the segment that takes a batch of so many bytes.
func (w *WAL) segmentFor(first uint64, bytes int64) (*segment, error) {
	if n := len(w.segs); n > 0 && !w.segs[n-1].sealed {
		tail := w.segs[n-1]
		if tail.fits(bytes, w.opts.MaxSegmentSize) == nil {
			return w.tailOrNext(tail, first)
		}
	}
	return w.rotate(first)
}

// Sync makes every record durable that has been appended. It has nothing to do
// unless Options.NoSync is set. An error latches the log.
func (w *WAL) Sync() error {
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	if err := w.syncTail(); err != nil {
		return w.fail(err)
	}
	return nil
}

// syncTail syncs the last segment if bytes were written to it since its last sync. The
// caller holds writeLock.
func (w *WAL) syncTail() error {
	n := len(w.segs)
	if n == 0 || w.segs[n-1].synced == w.segs[n-1].end {
		return nil
	}
	tail := w.segs[n-1]
	if err := w.sync(tail); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	tail.synced = tail.end
	return nil
}

// writeSynced writes b at the segment's end and syncs it.
func (w *WAL) writeSynced(seg *segment, b []byte) error {
	if err := w.write(seg, b); err != nil {
		return err
	}
	return w.sync(seg)
}

// write writes b at the segment's end.
func (w *WAL) write(seg *segment, b []byte) error {
	if _, err := seg.file.WriteAt(b, seg.end); err != nil {
		return fmt.Errorf("write %s at offset %d: %w", seg.path, seg.end, err)
	}
	return nil
}

// sync syncs a segment's file.
func (w *WAL) sync(seg *segment) error {
	start := time.Now()
	if err := seg.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", seg.path, err)
	}
	w.countSync(time.Since(start))
	return nil
}

// publish makes a batch that was written visible to readers.
func (w *WAL) publish(seg *segment, first uint64, frames []Frame, offsets []uint32, end, size int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seg.offsets = append(seg.offsets, offsets...)
	seg.end, seg.size, seg.marked = end, size, false
	if !w.opts.NoSync {
		seg.synced = end
	}
	if w.next == 0 {
		w.first = first
	}
	w.next = first + uint64(len(frames))
	w.cache.add(frames)
	w.counters.appends++
	w.counters.records += uint64(len(frames))
}
