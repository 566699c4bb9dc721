package store

import (
	"math"
	"time"

	"github.com/kvorum/kvorum/internal/omap"
)

// The Word of a record holds when it was last read, in milliseconds since accessEpoch, in
// its upper 48 bits, and how often, up to 65,535, in the lower 16. The map keeps it
// when the key's value is replaced. Snapshots don't have it.
const accessCountBits = 16

// accessEpoch is the beginning of the milliseconds, in milliseconds since the Unix epoch:
// 2020-01-01.
const accessEpoch = 1577836800000

// touch notes a read of r at now, in nanoseconds since the Unix epoch. Reads that
// race may count as one.
func touch(r omap.Record, now int64) {
	word := r.Word()
	old := word.Load()
	count := min(old&math.MaxUint16+1, math.MaxUint16)
	last := max(uint64(max(now/int64(time.Millisecond)-accessEpoch, 0)), old>>accessCountBits)
	if next := last<<accessCountBits | count; next != old {
		word.CompareAndSwap(old, next)
	}
}

// accessed returns when r was last read, in nanoseconds since the Unix epoch or 0 for
// never, and how often.
func accessed(r omap.Record) (last int64, count uint64) {
	word := r.Word().Load()
	if word == 0 {
		return 0, 0
	}
	return int64(word>>accessCountBits+accessEpoch) * int64(time.Millisecond), word & math.MaxUint16
}

// used returns when r was last read or written, and how often it was read.
func used(r omap.Record) (last int64, count uint64) {
	last, count = accessed(r)
	return max(last, r.Item().Updated), count
}
