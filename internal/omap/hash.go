package omap

import "hash/maphash"

// seed makes the places of keys in a map unpredictable, so that nobody can
// choose keys that all fall into one.
var seed = maphash.MakeSeed()

// hashOf returns the hash that shards and tables place keys by. It is the
// runtime's own, which differs from process to process and takes a fraction of
// FNV-1a's time (BenchmarkHash).
func hashOf(key string) uint64 { return maphash.String(seed, key) }
