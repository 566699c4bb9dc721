package store

import (
	"math"
	"sync/atomic"
	"time"
	"unsafe"
)

// A record's access field holds when it was last read, in milliseconds since
// accessEpoch, in its upper 48 bits, and how often, up to 65,535, in the lower
// 16. It is kept when the key's value is replaced.
const accessCountBits = 16

// accessEpoch is what the milliseconds count from: 2020-01-01.
const accessEpoch = 1577836800000

// access returns the record's field for reads. The record's allocation is
// aligned to 8 bytes (see newRecord).
func (r record) access() *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(r.first)) }

// touch notes a read at now, in nanoseconds since the Unix epoch. Reads that
// race may count as one.
func (r record) touch(now int64) {
	old := r.access().Load()
	count := min(old&math.MaxUint16+1, math.MaxUint16)
	last := max(uint64(max(now/int64(time.Millisecond)-accessEpoch, 0)), old>>accessCountBits)
	if next := last<<accessCountBits | count; next != old {
		r.access().CompareAndSwap(old, next)
	}
}

// accessed returns when the record was last read, in nanoseconds since the
// Unix epoch or 0 for never, and how often.
func (r record) accessed() (last int64, count uint64) {
	a := r.access().Load()
	if a == 0 {
		return 0, 0
	}
	return int64(a>>accessCountBits+accessEpoch) * int64(time.Millisecond), a & math.MaxUint16
}

// used returns when the record was last read or written, and how often it was read.
func (r record) used() (last int64, count uint64) {
	last, count = r.accessed()
	return max(last, r.item().Updated), count
}
