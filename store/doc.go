// Package store is a sharded, ordered map in memory.
//
// A ShardedMap spreads its keys over a power of two of shards by the FNV-1a
// hash of the key. Each Shard has a lock of its own, a hash map for point
// access and, beside it, a B-tree that keeps the same records in byte order of
// their keys. The B-tree is copied on write: View clones every shard's tree in
// time proportional to the number of shards, whatever they hold, and from then
// on neither side disturbs the other. Ordered walks run on such a View only; a
// walk merges the shards and costs by what it yields, not by what is stored.
//
// It is no cache and no database: nothing is evicted, nothing expires and
// nothing is written to disk.
//
// # Concurrency
//
// Every method of ShardedMap and View may be called from any goroutine. A
// single Get, Set or Delete is atomic; Len and Size of a map add up the shards
// one after the other and are exact only while nobody writes. A View shows the
// whole map at one instant: it is taken while all shards are locked, in order.
//
// # Ownership
//
// Set copies the key and the value, so the caller keeps what it passed. Items
// that a map or a view returns alias the stored record, which is immutable: they
// stay valid for ever and their Value must not be modified.
//
// # Memory
//
// A record is one allocation without pointers, shared by map and index: the
// garbage collector has one object per key to mark and nothing in it to scan. A
// key of 16 bytes with a value of 100 takes about 200 bytes in all
// (BenchmarkShardedMap_HeapPerKey). A View keeps alive what it shows; a
// shard's hash map keeps its table when keys are deleted.
package store
