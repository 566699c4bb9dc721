package store

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// MaxItemSize is the greatest number of bytes that the key and the value of one
// Item may have together. It is the record format's limit; callers set theirs
// far below it.
const MaxItemSize = 1 << 30

// Lengths of a record's fixed fields. A record has more than 16 bytes, so that
// its allocation, and with it the access field, is aligned to 8 bytes.
const (
	accessLen = 8
	sizeLen   = 4
	fixedLen  = accessLen + sizeLen
)

// record is a key with its value and revisions, as shards hold it: a pointer to
// one immutable allocation that itself holds no pointers.
//
//	access(8) size(4, little endian) keyLen key
//	createRevision modRevision version deadline created updated value
//
// The size counts the whole record; the other numbers are uvarints; the value
// is the rest. The key comes early because the index compares keys. Access
// alone changes, atomically: it says when and how often the record was read
// (see access.go), and is never part of a snapshot or a view.
//
// A million keys of 16 bytes with values of 100 take about 220 bytes each in
// all (BenchmarkShardedMap_HeapPerKey); the fields of Item with key and value
// allocated apart would alone take more, and three objects for the collector
// to visit instead of one.
type record struct{ first *byte }

// newRecord copies it into a record. It panics if the item is larger than MaxItemSize.
func newRecord(it Item) record {
	if len(it.Key)+len(it.Value) > MaxItemSize {
		panic(fmt.Sprintf("store: item of %d bytes is over the limit of %d", len(it.Key)+len(it.Value), MaxItemSize))
	}
	var headBuf [fixedLen + binary.MaxVarintLen32]byte
	var revsBuf [6 * binary.MaxVarintLen64]byte
	head := binary.AppendUvarint(headBuf[:fixedLen], uint64(len(it.Key)))
	revs := binary.AppendUvarint(revsBuf[:0], it.CreateRevision)
	revs = binary.AppendUvarint(revs, it.ModRevision)
	revs = binary.AppendUvarint(revs, it.Version)
	for _, time := range [...]int64{it.Deadline, it.Created, it.Updated} {
		revs = binary.AppendUvarint(revs, uint64(time))
	}

	size := len(head) + len(it.Key) + len(revs) + len(it.Value)
	binary.LittleEndian.PutUint32(head[accessLen:], uint32(size))
	b := make([]byte, 0, size)
	b = append(b, head...)
	b = append(b, it.Key...)
	b = append(b, revs...)
	b = append(b, it.Value...)
	return record{unsafe.SliceData(b)}
}

// bytes returns the whole record.
func (r record) bytes() []byte {
	size := binary.LittleEndian.Uint32(unsafe.Slice(r.first, fixedLen)[accessLen:])
	return unsafe.Slice(r.first, size)
}

// split returns the record's key and what follows it: the revisions and the value.
func (r record) split() (key, rest []byte) {
	b := r.bytes()[fixedLen:]
	keyLen, n := binary.Uvarint(b)
	b = b[n:]
	return b[:keyLen], b[keyLen:]
}

// key returns the record's key, which aliases the record.
func (r record) key() string {
	key, _ := r.split()
	return unsafe.String(unsafe.SliceData(key), len(key))
}

// item returns the record's fields; Key and Value alias the record.
func (r record) item() Item {
	key, rest := r.split()
	it := Item{Key: unsafe.String(unsafe.SliceData(key), len(key))}
	it.CreateRevision, rest = cutUvarint(rest)
	it.ModRevision, rest = cutUvarint(rest)
	it.Version, rest = cutUvarint(rest)
	for _, time := range [...]*int64{&it.Deadline, &it.Created, &it.Updated} {
		var v uint64
		v, rest = cutUvarint(rest)
		*time = int64(v)
	}
	it.Value = rest[:len(rest):len(rest)]
	return it
}

// deadline returns when the record expires, 0 for never.
func (r record) deadline() int64 {
	_, rest := r.split()
	for range 3 { // the revisions
		_, rest = cutUvarint(rest)
	}
	deadline, _ := cutUvarint(rest)
	return int64(deadline)
}

// dataSize returns the number of bytes of key and value together.
func (r record) dataSize() int64 {
	it := r.item()
	return int64(len(it.Key) + len(it.Value))
}

// lessRecord orders records by the bytes of their keys.
func lessRecord(a, b record) bool { return a.key() < b.key() }

// cutUvarint returns the number that b starts with and the rest of b.
func cutUvarint(b []byte) (uint64, []byte) {
	v, n := binary.Uvarint(b)
	return v, b[n:]
}
