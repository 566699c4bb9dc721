// Package store is an embedded key-value store in memory, with time to live,
// eviction, snapshots and a write-ahead log; and the sharded, ordered map under
// it, which the replicated state machine of package fsm uses too.
//
// # Basics
//
// New opens a Store. Without options it lives in memory alone; with a data
// directory it also lives on disk:
//
//	s, err := store.New(store.WithDataDir("data"), store.WithSyncWrites(true))
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	err = s.SetWithTTL("session:1", []byte("alice"), time.Hour)
//	value, err := s.Get("session:1")
//
// Set, Get, Delete and Range are what most programs need; SetNX, CompareAndSwap
// and Incr decide by the present value; Batch makes several changes as one.
// Errors of a key are a *KeyError; ask IsNotFound and its siblings.
//
// # Durability
//
// With WithSyncWrites(true) a write that returned nil survives power loss;
// writers that wait share one sync. Without it, it survives the death of the
// process, and power loss once SyncInterval has passed: what power loss leaves is
// a prefix of the writes, at least up to the last sync. PersistenceSnapshot
// keeps only what the last snapshot has. A failed write or sync is final: every
// later write fails with ErrStoreFailed, reads go on. Damaged files are refused
// by New, naming file and offset; nothing is cut but a torn end that was never
// acknowledged. One process at a time may open a data directory.
//
// # Order
//
// Writes are decided one after the other, in rounds: what waits is decided,
// appended to the log with one write and at most one sync, applied, and only
// then answered. So memory is in the log's order, a condition sees every write
// before it, and nobody is told of a change that was not made. Reads look at
// memory alone, and take no lock. A Batch is atomic: no reader and no crash
// shows part of it.
//
// # Time
//
// Deadlines are absolute. A key is gone for readers the moment its deadline is
// reached, and is removed, and reported to OnExpire once, by a worker that a
// read of it wakes or CleanupInterval does; it costs by what expires. The
// store's clock never goes back, so a wall clock that does brings no key back.
//
// # Eviction
//
// At MaxEntries or MaxBytes expired keys go first, then those that the policy
// picks: LRU and LFU the best of a random sample of 16, TTL exactly the nearest
// deadline, Random any. On Zipf traces with room for a tenth of the keys, LRU and
// LFU hit within 0.1 points of what the exact policies do
// (TestEviction_ZipfHitRate). With EvictionNone the write fails with ErrStoreFull.
//
// # Caveats
//
// Values given to Set are copied; Get returns a copy, GetShared and Range do
// not, and theirs must not be modified. Callbacks run on the goroutine of the
// write that caused them, or the store's own; they may use the store and must
// not close it. Len counts keys that have expired until they are removed. A
// shard's hash table keeps its memory when keys are deleted. Snapshot costs by the
// number of keys, so one is taken early only when as many changes are dead.
//
// # Deviations from the design that this store grew from
//
//   - Errors of a key come wrapped in a *KeyError, which names it. Comparing with
//     == therefore fails; use errors.Is or the helpers.
//   - ErrKeyExpired is an ErrKeyNotFound too: which of the two a read meets
//     depends on whether the key was removed yet.
//   - An option with a bad value is an error of New that names the field; it is
//     not ignored.
//   - A key has expired at its deadline, not only after it.
//   - Checksums are CRC32C, seeded with a record's place in the log, so that a
//     misplaced record is found. Records also hold when they were made.
//   - A Shard holds compact records; an Entry is made when it is asked for.
//   - ReadTimeout bounds a Walk. No other read waits for anything.
//
// # Map
//
// A ShardedMap spreads its keys over a power of two of shards by a hash of the
// key. Each Shard has a lock for its writers, an extendible hash table that is
// read without locks, a B-tree of the same records in byte order of their keys,
// and one of those with a deadline. Trees are copied on write: View clones every
// shard's in time proportional to the number of shards, whatever they hold, and from
// then on neither side disturbs the other. A walk merges the shards and costs
// by what it yields. A record is one allocation without pointers; a key of 16
// bytes with a value of 100 takes about 180 bytes in all
// (BenchmarkShardedMap_HeapPerKey).
package store
