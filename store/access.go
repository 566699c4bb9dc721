package store

import (
	"time"

	"github.com/kvorum/kvorum/internal/access"
	"github.com/kvorum/kvorum/internal/omap"
)

// The Word of a record holds when it was last read, and how often; see package access. The map
// keeps it when the key's value is replaced. Snapshots don't have it.

// touch notes a read of r at now, in nanoseconds since the Unix epoch. Reads that
// race may count as one.
func touch(r omap.Record, now int64) { access.Read(r.Word(), now/int64(time.Millisecond), 1) }

// accessed returns when r was last read, in nanoseconds since the Unix epoch or 0 for
// never, and how often.
func accessed(r omap.Record) (last int64, count uint64) {
	last, count = access.Last(r.Word().Load())
	return last * int64(time.Millisecond), count
}

// used returns when r was last read or written, and how often it was read.
func used(r omap.Record) (last int64, count uint64) {
	last, count = accessed(r)
	return max(last, r.Item().Updated), count
}
