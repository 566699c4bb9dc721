package wal

import "time"

// Stats describe a log at one moment.
type Stats struct {
	FirstIndex uint64 // 0 when empty
	LastIndex  uint64 // 0 when empty
	NextIndex  uint64 // that the next Append must have; 0 is any
	// SavedIndex is the index of the last record below the durable end in the
	// manifest: Open finds the loss of any record up to it. 0 means none.
	SavedIndex uint64

	Segments  int
	OpenFiles int   // of segments
	DiskBytes int64 // of the segments' files, with the zeros behind their data
	AheadLeft int64 // part of DiskBytes that the next records fill without taking more of the disk
	LiveBytes int64 // from the first record to the end, with batch headers and markers

	Appends    uint64 // batches since Open
	Records    uint64 // in those batches
	Syncs      uint64 // of batches and markers since Open
	LastSync   time.Duration
	SyncTimes  Histogram // of all Syncs
	CacheBytes int64

	// WriteSince is the time at which the append, truncation or marker in progress
	// began, or the zero time if there is none. A watchdog compares it with its own
	// clock to find a write that hangs.
	WriteSince time.Time
}

// counters are the parts of Stats that are counted at each write. They are guarded
// by WAL.mu.
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
		s.SavedIndex = w.segs[n-1].first + w.segs[n-1].recordsBelow(w.segs[n-1].savedEnd) - 1
	} else if n > 0 {
		s.SavedIndex = s.LastIndex
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

// BytesFrom returns the number of bytes in the log from the record at index to the
// end, with batch headers and markers. An index below the first record counts all, one
// above the last record none.
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

// FrontBytes returns the number of bytes of disk that TruncateFront(first) would free:
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

// SegmentEnds returns the ends of the segment that holds the record at index: the index
// of its first record, and the index after its last one. They are 0, 0 where there is
// no such record.
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
