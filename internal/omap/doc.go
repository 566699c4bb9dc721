// Package omap is a sharded, ordered map from keys to items in memory, with frozen views
// and a second order by deadline. The embedded library, package store, keeps its keys in it.
//
// An Item is a key with its value, its revisions, its times, and perhaps a deadline after
// which it has expired. The map stores each Item as a Record, one piece of memory.
//
// A Map distributes its keys over shards, by a hash of the key. The number of shards is a
// power of two. Each shard has a lock for its writers and three structures with the same
// records:
//
//	table     an extendible hash table, for reads of one key; it is read without locks
//	index     a B-tree in byte order of the keys, copied on write
//	expiring  a second B-tree, of the records with a deadline, in order of the deadlines
//
// Get, Set and Delete work on one key, and Apply on several as one step. A View is the whole
// map at one instant, in order of the keys. ByDeadline yields the records that expire next,
// and Sample a random one. Reserve makes room for many keys.
//
// The map removes no key whose deadline has passed, evicts none, and reads no clock. The
// caller sets the revisions and times of an Item.
//
// # Concurrency
//
//   - All methods of Map, Shard, View and Record are safe for concurrent use.
//   - A read of a key takes no lock and sees each change as a whole or not at all. It waits
//     only while a step of several keys changes hash tables, and only if the key is in a
//     shard of that step.
//   - Apply and Clear are atomic: once a read has seen one of their changes,
//     every later read sees all of them. A View has all of them or none.
//   - Writers of one shard wait for each other. View locks all shards while it clones their
//     trees, for a time that depends only on the number of shards. It delays no reader, and
//     a walk over a View delays neither readers nor writers.
//   - Locks are taken in the order of the shards, and the lock for steps after them. No
//     method calls back, or yields, under a lock.
//
// # Memory
//
//   - The map copies its input: the caller's key and value stay the caller's.
//   - Its results alias its own memory and must not be modified. The map never changes that
//     memory either, so a reader may keep a value. A value that is kept also keeps the rest
//     of its record in memory.
//   - A record is one allocation without pointers. With a value of 100 bytes and a key of
//     16, record, table and index take about 190 bytes together.
//   - A View takes little memory by itself. While it is held, each record that is replaced or
//     removed stays in memory, and each node of a tree is copied once, at its first change.
//   - Tables do not shrink when keys are deleted. Clear drops them.
//
// There are no errors, but NewRecord and the methods that use it panic for an Item above
// MaxItemSize or MaxKeyLength, the limits of the format. Callers check input from outside
// against lower limits of their own.
package omap
