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
// # Promises
//
// With WithSyncWrites(true) a write that returned nil survives power loss.
// Without it, it survives the death of the process, and power loss once
// SyncInterval has passed: what is left is a prefix of the writes, at least up to
// the last sync. PersistenceSnapshot keeps only what the last snapshot has. A
// failed write or sync is final: every later write, and Close, fail with
// ErrStoreFailed; reads go on. New refuses damaged and missing files, naming file
// and offset, and a log that has lost its end; package wal says what may stay
// hidden after a crash. It cuts nothing but a torn end of which nothing says that
// it was synced. One process at a time may open a data directory, which holds LOCK, FLOOR (what must
// be there at least), snapshots and the log.
//
// Writes are decided one after the other, appended to the log in that order, and
// applied, and answered, once they are there. What was decided during a sync
// shares the next one, and a condition sees every write that was decided before
// it. So memory is in the log's order, and a Batch is atomic for readers and
// crashes. Reads look at memory alone, and take no lock.
//
// A key is gone for readers the moment its deadline is reached, and is removed,
// and reported to OnExpire once, by a worker that a read of it or CleanupInterval
// wakes. The store's clock is the wall clock at New, or the latest time in the
// data directory if that is later, and from then on the time that passes: setting
// the wall clock moves no deadline of an open store, and brings no key back.
//
// At MaxEntries or MaxBytes expired keys go first, then what the policy picks: LRU
// and LFU the best of a random sample of 16, which hits within 0.1 points of what
// the exact policies do (TestEviction_ZipfHitRate), TTL exactly the nearest
// deadline, Random any. With EvictionNone the write fails with ErrStoreFull.
//
// # Caveats
//
//   - Values given to Set are copied; Get returns a copy. GetShared, Range and the
//     callbacks do not: their values must not be modified.
//   - Callbacks run on the goroutine of the write that caused them, or the store's
//     own; they may use the store and must not close it. A process that dies may
//     take calls along that were due; with PersistenceSnapshot it also forgets
//     removals since the last snapshot, so OnExpire is told of those keys again.
//   - Len counts keys that have expired until they are removed.
//   - To count reads for Metrics costs parallel readers of many keys up to a fifth
//     of their rate: WithCountReads(false) saves it.
//   - A shard's hash table keeps its memory when keys are deleted.
//   - A snapshot costs by the size of the store, so one is taken early only when as
//     many keys were overwritten or deleted as there are, and 64 MiB were written, or
//     as much as the store holds if that is more, and not within 10 s of the previous
//     one; see WithCompactionThreshold. Until then the log keeps what is overwritten.
//   - The time that a machine sleeps does not count, where its steady clock stops as
//     Linux's does, until the store is opened again. A wall clock that is wrong at
//     New is wrong until Close; one that was ahead stays so in the data directory.
//   - A store that is opened with less room than it has keys comes down with the
//     next writes that need room, by at most 65,536 keys, or 32 MiB of keys, each.
//
// # Deviations from the design that this store grew from
//
// Names that are others:
//
//   - The package is store, not kvstore.
//   - A ShardedMap's Set takes an Item, the compact form in which shards hold a
//     key. A Shard's Get and Set take an Entry, which is made when it is asked for;
//     ShardedMap.Shard, which was private, finds the shard of a key.
//   - Store.Snapshot replaces SnapshotManager, whose Create, of a map that goes on
//     changing, could not say which records of the log the snapshot has.
//   - A segment of the log and its Write are not exported: only the log knows what
//     is synced. So nobody outside meets wal.ErrSegmentFull.
//   - wal.Options has NoSync for SyncOnWrite: the zero value must be the safe one.
//   - Metrics are figures at one moment, to which nobody but the store adds: read
//     Metrics().Sets.
//
// Behaviour that is another:
//
//   - Errors of a key come wrapped in a *KeyError, which names it: use errors.Is or
//     the helpers, not ==.
//   - ErrKeyExpired is an ErrKeyNotFound too: which of the two a read meets
//     depends on whether the key was removed yet.
//   - An option with a bad value, and WithSyncWrites without a log, is an error of
//     New that names the field. A negative time to live is an error, not none.
//   - A key has expired at its deadline, not only after it.
//   - AccessedAt and AccessCount are kept only under LRU and LFU, which need them:
//     to note a read takes as long again as the read (50 to 100 ns). The count
//     ends at 65,535, its share of a record's eight bytes.
//   - Keys are placed by the runtime's hash with a random seed: it takes a fraction
//     of FNV's time (BenchmarkHash), and nobody can choose keys that collide.
//   - Checksums are CRC32C, in the log seeded with a record's place, so that a
//     misplaced one is found. Records also hold when they were made.
//   - The logger is told of failures, not of every operation: that would cost more
//     than the operations, and put keys into logs.
//   - ReadTimeout bounds a Walk. No other read waits for anything.
package store
