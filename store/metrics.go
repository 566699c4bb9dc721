package store

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/kvorum/kvorum/wal"
)

// Metrics are a store's figures at one moment. Counters count since New.
type Metrics struct {
	Sets, Deletes          uint64
	Gets, Hits, Misses     uint64 // 0 unless reads are counted; see Options.CountReads
	Evictions, Expirations uint64

	Entries int   // keys now
	Bytes   int64 // of keys and values now

	WALBytes   int64  // of the log's files now
	WALAppends uint64 // writes of the log; one may hold many changes
	WALSyncs   uint64

	Snapshots    uint64
	SnapshotTime time.Duration // that the last one took

	// WriteTimes are those of calls that change something, from call to return,
	// failed ones included. Reads are not timed: to read the clock twice would
	// take longer than to read a key.
	WriteTimes wal.Histogram
	SyncTimes  wal.Histogram // of WALSyncs
}

// counters are the figures of Metrics that are counted as they happen.
type counters struct {
	sets, deletes, evictions, expirations, snapshots atomic.Uint64
	snapshotNanos                                    atomic.Int64
	writes                                           latencies
	reads                                            readCounter
}

// latencies is a Histogram that is safe for concurrent use.
type latencies struct {
	mu    sync.Mutex
	times wal.Histogram // guarded by mu
}

func (l *latencies) observe(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times.Add(d)
}

func (l *latencies) histogram() wal.Histogram {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.times
}

// readStripes is the number of counters over which the counting of reads is spread. It is
// a power of two.
const readStripes = 64

// readCounter counts reads without making parallel readers share a cache line,
// which would cost them more than the read (BenchmarkStore_GetShared).
type readCounter struct {
	stripes [readStripes]struct {
		hits, misses atomic.Uint64
		_            [112]byte // two lines apart: processors fetch pairs
	}
}

func (c *readCounter) hit()  { c.stripes[stripe()].hits.Add(1) }
func (c *readCounter) miss() { c.stripes[stripe()].misses.Add(1) }

// stripe returns a number that goroutines which run at the same time mostly
// don't share: it is derived from the address of their stacks.
func stripe() uint64 {
	var here byte
	return uint64(uintptr(unsafe.Pointer(&here))>>11) * 0x9e3779b97f4a7c15 >> 58
}

func (c *readCounter) sum() (hits, misses uint64) {
	for i := range c.stripes {
		hits += c.stripes[i].hits.Load()
		misses += c.stripes[i].misses.Load()
	}
	return hits, misses
}

// Metrics returns the store's figures. It may be called after Close.
func (s *Store) Metrics() Metrics {
	c := &s.counters
	hits, misses := c.reads.sum()
	m := Metrics{
		Sets: c.sets.Load(), Gets: hits + misses, Hits: hits, Misses: misses, Deletes: c.deletes.Load(),
		Evictions: c.evictions.Load(), Expirations: c.expirations.Load(),
		Entries: s.data.Len(), Bytes: s.data.Size(),
		Snapshots: c.snapshots.Load(), SnapshotTime: time.Duration(c.snapshotNanos.Load()),
		WriteTimes: c.writes.histogram(),
	}
	if s.log != nil {
		log := s.log.Stats()
		m.WALBytes, m.WALAppends, m.WALSyncs, m.SyncTimes = log.DiskBytes, log.Appends, log.Syncs, log.SyncTimes
	}
	return m
}
