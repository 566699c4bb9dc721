package wal

import (
	"encoding/binary"
	"fmt"
)

// markIdle writes a marker whenever the log has been idle for MarkerDelay. From
// then on the last batch cannot be mistaken for a torn tail. The goroutine ends with
// Close, or when the log fails.
func (w *WAL) markIdle() {
	for {
		select {
		case <-w.idle.C:
		case <-w.stop:
			return
		}
		if err := w.lock(); err != nil {
			return
		}
		err := w.mark()
		w.unlock()
		if err != nil {
			return
		}
	}
}

// mark appends a synced marker to the tail unless the tail ends with one. An error
// latches the log. The caller holds writeLock.
func (w *WAL) mark() error {
	n := len(w.segs)
	if n == 0 || w.segs[n-1].sealed || w.segs[n-1].marked {
		return nil
	}
	tail := w.segs[n-1]
	if err := w.syncTail(); err != nil {
		return w.fail(err) // the bytes that a marker calls durable must be durable before it
	}
	size, err := tail.grow(tail.end, w.opts.MaxSegmentSize)
	if err != nil {
		return w.fail(err)
	}
	payload := binary.BigEndian.AppendUint64(nil, uint64(tail.end))
	if err := w.writeSynced(tail, appendFrame(nil, tail.seed, tail.end, typeMarker, payload)); err != nil {
		return w.fail(fmt.Errorf("mark the end as synced: %w", err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	tail.end, tail.size, tail.marked = tail.end+markerSize, size, true
	tail.synced = tail.end
	return nil
}
