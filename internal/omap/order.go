package omap

import (
	"cmp"
	"encoding/binary"
	"strings"
)

// order is what an index is ordered by.
type order struct {
	// compare returns a number below 0 if a comes before b, 0 if they are equal.
	compare func(a, b Record) int
	// shared returns how many leading bytes a and b, and so all records between
	// them, have in common.
	shared func(a, b Record) int
	// head returns a number for a record, behind its first skip bytes. Among records that
	// have those bytes in common, one that precedes another has no greater number.
	head func(r Record, skip int) uint64
	// exact says that head is the same whatever is skipped, so that it never leads
	// a search astray.
	exact bool
}

// keyOrder orders records by the bytes of their keys.
var keyOrder = order{
	compare: func(a, b Record) int { return strings.Compare(a.Key(), b.Key()) },
	shared: func(a, b Record) int {
		ka, kb := a.Key(), b.Key()
		n := min(len(ka), len(kb))
		for i := range n {
			if ka[i] != kb[i] {
				return i
			}
		}
		return n
	},
	head: func(r Record, skip int) uint64 { return bytesAt(r.Key(), skip) },
}

// deadlineOrder orders records by their deadlines, and by their keys within one.
var deadlineOrder = order{
	compare: func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Deadline(), b.Deadline()), strings.Compare(a.Key(), b.Key()))
	},
	shared: func(a, b Record) int { return 0 },
	head:   func(r Record, _ int) uint64 { return uint64(r.Deadline()) ^ 1<<63 }, // signs in order
	exact:  true,
}

// bytesAt returns the eight bytes of key behind skip, zeros behind its end, as a number.
func bytesAt(key string, skip int) uint64 {
	var b [8]byte
	if skip < len(key) {
		copy(b[:], key[skip:])
	}
	return binary.BigEndian.Uint64(b[:])
}
