package fsm

import (
	"encoding/binary"

	"github.com/kvorum/kvorum/internal/wire"
)

// marks has the index of the newest entry of each command version above 1, 0 for none; the
// first one is that of version 2. Marks are immutable.
//
// A program keeps the marks of versions that it does not understand. So the members of a
// cluster that went back to an older version still agree on them.
type marks []uint64

// with returns the marks after an entry of a version at index.
func (m marks) with(version byte, index uint64) marks {
	if version < 2 {
		return m
	}
	next := make(marks, max(len(m), int(version)-1))
	copy(next, m)
	next[version-2] = index
	return next
}

// since returns the highest version of the entries at and above index, at least 1.
func (m marks) since(index uint64) byte {
	for i := len(m) - 1; i >= 0; i-- {
		if m[i] != 0 && m[i] >= index {
			return byte(i + 2)
		}
	}
	return 1
}

// append appends the marks to dst: their number, and each index.
func (m marks) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(m)))
	for _, index := range m {
		dst = binary.AppendUvarint(dst, index)
	}
	return dst
}

// maxMarks is the maximum number of versions above 1: a version is a byte.
const maxMarks = 254

// readMarks reads marks that append has written. It returns nil if there are none.
func readMarks(r *wire.Reader) marks {
	count := r.Count(1)
	if count > maxMarks {
		r.Malformed("more command versions than there are")
	}
	if r.Err() != nil || count == 0 {
		return nil
	}
	m := make(marks, count)
	for i := range m {
		m[i] = r.Uvarint()
	}
	return m
}
