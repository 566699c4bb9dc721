// Package store is an embedded key-value store in memory, with time to live,
// eviction, snapshots and a write-ahead log.
//
// # Basics
//
// New opens a Store. Without options it keeps its data in memory only; with a data
// directory, also on disk:
//
//	s, err := store.New(store.WithDataDir("data"), store.WithSyncWrites(true))
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	err = s.SetWithTTL("session:1", []byte("alice"), time.Hour)
//	value, err := s.Get("session:1")
//
// Most programs need Set, Get, Delete and Range. SetNX, CompareAndSwap and Incr depend on
// the present value. Batch makes several changes as one. An error about a key is a
// *KeyError; IsNotFound and its siblings say which.
//
// # Promises
//
// With WithSyncWrites(true) a write that returned nil survives power loss.
// Without that option, it survives the death of the process, and power loss once
// SyncInterval has passed. After a power loss a prefix of the writes is left, at least up to
// the last sync. PersistenceSnapshot keeps only the data of the last snapshot. A failed
// write or sync is final: every later write, and Close, fail with ErrStoreFailed, while
// reads still work.
//
// New refuses damaged and missing files, and its error names file and offset. It also
// refuses a log that has lost its end; package wal says which loss may stay hidden after a
// crash. New cuts off only a torn tail that was never known to be synced. One process at a
// time may open a data directory. The directory has the files LOCK and FLOOR (the minimum
// that must be there), snapshots and the log.
//
// Writes are decided one after the other, appended to the log in that order, and then
// applied and answered. Writes that are decided during a sync share the next one. A
// condition sees every write that was decided before it. So changes reach memory in the
// order of the log, and a Batch is atomic for readers and crashes. Reads use only the
// memory, and take no lock.
//
// Readers no longer find a key once its deadline is reached. A worker, which a read of
// the key or CleanupInterval wakes, removes it and reports it to OnExpire once. The
// store's clock begins at New with the wall clock, or with the latest time in the data
// directory if that is later. It then advances by the time that passes: setting the wall
// clock moves no deadline of an open store, and brings no key back.
//
// At MaxEntries or MaxBytes expired keys are removed first, then those that the policy
// picks. LRU and LFU take the best of a random sample of 16 (of all keys, if there are no more): their hit rates are within
// 0.1 percentage points of the exact policies' (TestEviction_ZipfHitRate). TTL takes
// exactly the nearest deadline, and Random any key. With EvictionNone the write fails
// with ErrStoreFull.
//
// # Caveats
//
//   - Values given to Set are copied, and Get returns a copy. GetShared, Range and the
//     callbacks pass values without a copy: they must not be modified.
//   - Callbacks run on the goroutine of the write that caused them, or on one of the
//     store. They may use the store and must not close it. When a process dies,
//     calls that were due may be lost. With PersistenceSnapshot it also forgets
//     removals since the last snapshot, so that OnExpire is called for those keys again.
//   - Len counts keys that have expired until they are removed.
//   - Counting reads for Metrics costs parallel readers of many keys up to a fifth of
//     their rate; WithCountReads(false) turns it off.
//   - A shard's hash table keeps its memory when keys are deleted.
//   - The cost of a snapshot grows with the size of the store. So one is taken early only
//     when three conditions hold: as many keys were overwritten or deleted as there are;
//     64 MiB were written, or as much as the store holds if that is more; and the previous
//     snapshot is 10 s old. See WithCompactionThreshold. Until then the log keeps
//     overwritten values.
//   - Time that a machine spends asleep does not count until the store is opened again:
//     the monotonic clock of Linux does not advance meanwhile. If the wall clock is wrong
//     at New, the store's clock is wrong by as much until Close. If it was ahead, it stays
//     ahead in the data directory.
//   - A store may be opened with limits below its present size. The next writes that need
//     room evict the difference, each at most 65,536 keys or 32 MiB of keys.
//
// The names and defaults are those of a published walkthrough of such a store;
// docs/store.md in the repository lists where this package differs from it.
// ShardedMap, the map under a Store, is part of the walkthrough.
package store
