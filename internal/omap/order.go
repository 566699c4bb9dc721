package omap

import (
	"cmp"
	"encoding/binary"
	"strings"
)

// order is the order of an index's records.
type order struct {
	// compare returns a number below 0 if a comes before b, 0 if they are equal.
	compare func(a, b Record) int
	// shared returns the number of leading bytes that a and b have in common, and so all
	// records between them.
	shared func(a, b Record) int
	// head returns a number for a record, without its first skip bytes. Among records that
	// have those bytes in common, one that precedes another has no greater number.
	head func(r Record, skip int) uint64
	// exact means that head does not depend on skip, so that it never leads a search to a
	// wrong place.
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

// deadlineOrder orders records by their deadlines, and those with one deadline by their keys.
var deadlineOrder = order{
	compare: func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Deadline(), b.Deadline()), strings.Compare(a.Key(), b.Key()))
	},
	shared: func(a, b Record) int { return 0 },
	head:   func(r Record, _ int) uint64 { return uint64(r.Deadline()) ^ 1<<63 }, // negative ones come first
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
