// Package access packs into one word when a key was used last, and how often it was read. Eviction
// by LRU and LFU goes by it. The embedded store and the replicated state keep such words beside
// their keys; nothing of them is stored or replicated.
package access

import (
	"math"
	"sync/atomic"
)

const (
	// Sample is the number of keys in the random sample from which LRU and LFU take a victim. A
	// larger sample is closer to the exact policy and takes longer.
	Sample = 16

	// countBits is the number of bits of the count, the lower ones of a word.
	countBits = 16
	// epoch is the beginning of the times in words, in milliseconds since the Unix epoch:
	// 2000-01-01, when the clocks of simulations begin.
	epoch = 946684800000
)

// Read notes n reads at now, in milliseconds since the Unix epoch. The count ends at 65,535. Reads
// that race may count as one.
func Read(word *atomic.Uint64, now int64, n uint64) {
	old := word.Load()
	count := min(old&math.MaxUint16+min(n, math.MaxUint16), math.MaxUint16)
	if next := later(old, now)<<countBits | count; next != old {
		word.CompareAndSwap(old, next)
	}
}

// Written notes a write at now, in milliseconds since the Unix epoch, which does not count as a
// read.
func Written(word *atomic.Uint64, now int64) {
	old := word.Load()
	if next := later(old, now)<<countBits | old&math.MaxUint16; next != old {
		word.CompareAndSwap(old, next)
	}
}

// later returns the later one of the time in a word and now, as words have it.
func later(word uint64, now int64) uint64 { return max(uint64(max(now-epoch, 0)), word>>countBits) }

// Last returns the time in a word, in milliseconds since the Unix epoch or 0 for never, and how
// often the key was read.
func Last(word uint64) (last int64, count uint64) {
	if word == 0 {
		return 0, 0
	}
	return int64(word>>countBits + epoch), word & math.MaxUint16
}
