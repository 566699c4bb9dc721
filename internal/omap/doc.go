// Package omap is a sharded, ordered map from keys to items in memory, with frozen views
// and a second order by deadline. The embedded library (package store) and the replicated
// state machine (package fsm) keep their keys in it.
//
// A Map spreads its keys over a power of two of shards, by a hash of the key. Each shard
// has a lock for its writers and three structures of the same records:
//
//	table     an extendible hash table for points; it is read without locks
//	index     a B-tree in byte order of the keys, copied on write
//	expiring  another one, of the records with a deadline, by deadline
//
// Get, Set and Delete work on one key, and Apply on several as one step. A Step collects
// several changes, shows them to its own reader, and publishes them together with
// something else of the caller's. A View is the whole map at one instant, in order of the
// keys. ByDeadline is what expires next, and Sample a random choice. A Loader, Reserve and
// DeferOrder fill a large map in less time.
//
// The map decides nothing: it removes no key whose deadline has passed, evicts none, and
// reads no clock. Revisions and times of an Item are what the caller says they are.
//
// # Concurrency
//
//   - All methods of Map, Shard, View and Record are safe for concurrent use. A Step, and a
//     Loader, belong to one goroutine.
//   - A read of a key takes no lock and sees each change as a whole or not at all. It waits
//     only while a step that changes several keys changes hash tables, and only if the key
//     is in a shard of that step.
//   - Apply, Clear and Step.Commit are atomic: once a read has seen one of their changes,
//     no later read misses another one, and a View has all of them or none.
//   - Writers of one shard wait for each other. View locks all shards for the time that
//     cloning their trees takes, which depends on the number of shards alone. It delays no
//     reader, and a walk over it delays nobody.
//   - Locks are taken in the order of the shards, and then the one for steps. No method
//     calls back, or yields, under a lock, except that Commit calls publish.
//
// # Memory
//
//   - The map copies what it is given: the caller's key and value stay the caller's.
//   - What it returns aliases its own memory and must not be modified. Nobody changes that
//     memory any more, so a reader may keep a value for as long as it likes. A value that is
//     kept keeps its whole record, key included.
//   - A key is one allocation without pointers. With a value of 100 bytes and a key of 16,
//     record, table and index take about 190 bytes in all.
//   - A View costs nothing by itself. While it is held, each record that is replaced or
//     removed stays, and each node of a tree is copied once, when it is changed first.
//   - Tables do not shrink when keys are deleted. Clear drops them.
//
// The only error is a panic of NewRecord, and of all that makes one, for an Item that is
// larger than the format: MaxItemSize and MaxKeyLength. Callers check what comes from
// outside against their own limits.
package omap
