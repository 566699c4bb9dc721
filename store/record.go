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

// sizeLen is the length of a record's size field.
const sizeLen = 4

// record is a key with its value and revisions, as shards hold it: a pointer to
// one immutable allocation that itself holds no pointers.
//
//	size(4, little endian) keyLen key createRevision modRevision version value
//
// The size counts the whole record; the other numbers are uvarints; the value
// is the rest. The key comes early because the index compares keys.
//
// A million keys of 16 bytes with values of 100 take 201 to 207 bytes each in
// all (BenchmarkShardedMap_HeapPerKey); the fields of Item with key and value
// allocated apart would alone take 192, and three objects for the collector to
// visit instead of one.
type record struct{ first *byte }

// newRecord copies it into a record. It panics if the item is larger than MaxItemSize.
func newRecord(it Item) record {
	if len(it.Key)+len(it.Value) > MaxItemSize {
		panic(fmt.Sprintf("store: item of %d bytes is over the limit of %d", len(it.Key)+len(it.Value), MaxItemSize))
	}
	var headBuf [sizeLen + binary.MaxVarintLen32]byte
	var revsBuf [3 * binary.MaxVarintLen64]byte
	head := binary.AppendUvarint(headBuf[:sizeLen], uint64(len(it.Key)))
	revs := binary.AppendUvarint(revsBuf[:0], it.CreateRevision)
	revs = binary.AppendUvarint(revs, it.ModRevision)
	revs = binary.AppendUvarint(revs, it.Version)

	size := len(head) + len(it.Key) + len(revs) + len(it.Value)
	binary.LittleEndian.PutUint32(head, uint32(size))
	b := make([]byte, 0, size)
	b = append(b, head...)
	b = append(b, it.Key...)
	b = append(b, revs...)
	b = append(b, it.Value...)
	return record{unsafe.SliceData(b)}
}

// bytes returns the whole record.
func (r record) bytes() []byte {
	size := binary.LittleEndian.Uint32(unsafe.Slice(r.first, sizeLen))
	return unsafe.Slice(r.first, size)
}

// split returns the record's key and what follows it: the revisions and the value.
func (r record) split() (key, rest []byte) {
	b := r.bytes()[sizeLen:]
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
	it.Value = rest[:len(rest):len(rest)]
	return it
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
