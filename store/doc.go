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
// applied, and answered, once they are there. Writes that are decided during a sync
// share the next one. A condition sees every write that was decided before it. So
// memory is in the log's order, and a Batch is atomic for readers and crashes. Reads
// look at memory alone, and take no lock.
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
//     own; they may use the store and must not close it. When a process dies,
//     calls that were due may be lost. With PersistenceSnapshot it also forgets
//     removals since the last snapshot, so that OnExpire is called for those keys again.
//   - Len counts keys that have expired until they are removed.
//   - Counting reads for Metrics costs parallel readers of many keys up to a fifth of
//     their rate; WithCountReads(false) turns it off.
//   - A shard's hash table keeps its memory when keys are deleted.
//   - A snapshot costs by the size of the store, so one is taken early only when as
//     many keys were overwritten or deleted as there are, and 64 MiB were written, or
//     as much as the store holds if that is more, and not within 10 s of the previous
//     one; see WithCompactionThreshold. Until then the log keeps what is overwritten.
//   - Time that a machine spends asleep does not count until the store is opened again:
//     the monotonic clock of Linux stands still meanwhile. If the wall clock is wrong at
//     New, the store's clock is wrong by as much until Close. If it was ahead, it stays
//     ahead in the data directory.
//   - A store that is opened with limits below what it holds evicts the difference with
//     the next writes that need room: at most 65,536 keys, or 32 MiB of keys, by each.
//
// The names and defaults are those of a published walkthrough of such a store;
// docs/store.md in the repository lists where this package differs from it.
package store
