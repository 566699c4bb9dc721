package omap

import "hash/maphash"

// seed makes the places of keys in a map unpredictable, so that an attacker can't choose
// keys with the same place.
var seed = maphash.MakeSeed()

// hashOf returns the hash that determines a key's shard and place in its table. It is the
// runtime's own, which differs from process to process and takes a fraction of
// FNV-1a's time (BenchmarkHash).
func hashOf(key string) uint64 { return maphash.String(seed, key) }
