package store

import (
	"sync/atomic"
	"time"
)

// Metrics are a store's figures at one moment. Counters count since New.
type Metrics struct {
	Sets, Gets, Hits, Misses, Deletes uint64
	Evictions, Expirations            uint64

	Entries int   // keys now
	Bytes   int64 // of keys and values now

	WALBytes   int64  // of the log's files now
	WALAppends uint64 // writes of the log; one may hold many changes
	WALSyncs   uint64
	SyncTime   time.Duration // spent in WALSyncs, all together

	Snapshots    uint64
	SnapshotTime time.Duration // that the last one took

	WriteTime time.Duration // from call to return, of all writes together
	Writes    uint64        // calls that change something, failed ones included
}

// counters are what Metrics counts as it happens.
type counters struct {
	sets, gets, hits, deletes, evictions, expirations atomic.Uint64
	snapshots, writes                                 atomic.Uint64
	snapshotNanos, writeNanos                         atomic.Int64
}

// Metrics returns the store's figures. It may be called after Close.
func (s *Store) Metrics() Metrics {
	c := &s.counters
	hits, gets := c.hits.Load(), c.gets.Load()
	m := Metrics{
		Sets: c.sets.Load(), Gets: gets, Hits: hits, Misses: max(gets, hits) - hits, Deletes: c.deletes.Load(),
		Evictions: c.evictions.Load(), Expirations: c.expirations.Load(),
		Entries: s.data.Len(), Bytes: s.data.Size(),
		Snapshots: c.snapshots.Load(), SnapshotTime: time.Duration(c.snapshotNanos.Load()),
		WriteTime: time.Duration(c.writeNanos.Load()), Writes: c.writes.Load(),
	}
	if s.log != nil {
		log := s.log.Stats()
		m.WALBytes, m.WALAppends, m.WALSyncs, m.SyncTime = log.DiskBytes, log.Appends, log.Syncs, log.TotalSync
	}
	return m
}
