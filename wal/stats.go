package wal

import "time"

// Stats describe a log at one moment.
type Stats struct {
	FirstIndex uint64 // 0 when empty
	LastIndex  uint64 // 0 when empty
	NextIndex  uint64 // where the next Append must begin; 0 is anywhere
	// Recorded is the index of the last record below the durable end that the
	// manifest gives: the loss of any up to there is found at Open. 0 is none.
	Recorded uint64

	Segments  int
	OpenFiles int   // of segments
	DiskBytes int64 // of the segments' files, with what is filled ahead
	AheadLeft int64 // of DiskBytes, what the next records may fill: they take no more of the disk
	LiveBytes int64 // from the first record to the end, with batch headers and markers

	Appends    uint64 // batches since Open
	Records    uint64 // in those batches
	Syncs      uint64 // of batches and markers since Open
	LastSync   time.Duration
	SyncTimes  Histogram // of all Syncs
	CacheBytes int64

	// WriteSince is when the append, truncation or marker in progress began, or
	// the zero time if there is none. A write that hangs shows here: a watchdog
	// compares it with its own clock.
	WriteSince time.Time
}

// counters are the parts of Stats that are counted as things happen. They are
// guarded by WAL.mu.
type counters struct {
	appends, records, syncs uint64
	lastSync                time.Duration
	syncTimes               Histogram
	busySince               time.Time
}

// Stats returns the log's present numbers. It never waits for a write.
func (w *WAL) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Stats{
		NextIndex:  w.next,
		Segments:   len(w.segs),
		OpenFiles:  w.opts.open.count(),
		Appends:    w.counters.appends,
		Records:    w.counters.records,
		Syncs:      w.counters.syncs,
		LastSync:   w.counters.lastSync,
		SyncTimes:  w.counters.syncTimes,
		CacheBytes: w.cache.bytes,
		WriteSince: w.counters.busySince,
	}
	if !w.emptyLocked() {
		s.FirstIndex, s.LastIndex = w.first, w.next-1
	}
	if n := len(w.segs); n > 0 && !w.segs[n-1].sealed {
		s.Recorded = w.segs[n-1].first + w.segs[n-1].recordsBelow(w.segs[n-1].recorded) - 1
	} else if n > 0 {
		s.Recorded = s.LastIndex
	}
	for _, seg := range w.segs {
		s.DiskBytes += seg.size
		if !seg.sealed {
			s.AheadLeft = max(0, seg.size-seg.end-markerSize)
		}
		s.LiveBytes += seg.end - seg.offset(max(w.first, seg.first))
	}
	return s
}

func (w *WAL) countSync(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counters.syncs++
	w.counters.lastSync = d
	w.counters.syncTimes.Add(d)
}

func (w *WAL) setBusySince(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counters.busySince = t
}

// BytesFrom returns how many bytes the log holds from the record at index on,
// with batch headers and markers; all of them if index lies below the first
// record, 0 above the last.
func (w *WAL) BytesFrom(index uint64) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.emptyLocked() || index >= w.next {
		return 0
	}
	from := max(index, w.first)
	var n int64
	for _, seg := range w.segs {
		if seg.next() > from {
			n += seg.end - seg.offset(max(from, seg.first))
		}
	}
	return n
}

// FrontBytes returns how many bytes of disk TruncateFront(first) would give back:
// those of the segments that end before first.
func (w *WAL) FrontBytes(first uint64) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n int64
	for _, seg := range w.segs {
		if w.emptyLocked() || seg.next() > first {
			break
		}
		n += seg.size
	}
	return n
}

// SegmentEnds returns the index of the first record of the segment that holds the
// record at index, and the index that follows its last one; 0, 0 where there is no
// such record.
func (w *WAL) SegmentEnds(index uint64) (first, next uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, seg := range w.segs {
		if seg.first <= index && index < seg.next() {
			return max(seg.first, w.first), seg.next()
		}
	}
	return 0, 0
}
