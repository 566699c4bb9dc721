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

// Places of a record's fixed fields.
const (
	sizeAt   = 8 // behind access
	tailAt   = sizeAt + 4
	keyLenAt = tailAt + 1
)

// A record's tail byte holds its trailer's length and whether that begins with
// a deadline.
const (
	trailerLength = 0x7f
	hasDeadline   = 0x80
	deadlineLen   = 8
)

// record is a key with its value and revisions, as shards hold it: a pointer to
// one allocation that itself holds no pointers.
//
//	access(8) size(4, little endian) tail(1) keyLen key value
//	trailer: deadline(8, little endian; only where there is one)
//	         createRevision modRevision version created updated
//
// The size counts the whole record; the other numbers are uvarints, modRevision
// and updated as what they are more than createRevision and created. What reads
// and the index need is at once to be found: the key, the value, the deadline.
// Access alone changes, atomically: it says when and how often the record was
// read (see access.go), and is never part of a snapshot or a view.
//
// A million keys of 16 bytes with values of 100 take about 180 bytes each in
// all (BenchmarkShardedMap_HeapPerKey); the fields of Item with key and value
// allocated apart would alone take more, and three objects for the collector
// to visit instead of one.
type record struct{ first *byte }

// newRecord copies it into a record. It panics if the item is larger than MaxItemSize.
func newRecord(it Item) record {
	if len(it.Key)+len(it.Value) > MaxItemSize {
		panic(fmt.Sprintf("store: item of %d bytes is over the limit of %d", len(it.Key)+len(it.Value), MaxItemSize))
	}
	var trailerBuf [deadlineLen + 5*binary.MaxVarintLen64]byte
	trailer := trailerBuf[:0]
	if it.Deadline != 0 {
		trailer = binary.LittleEndian.AppendUint64(trailer, uint64(it.Deadline))
	}
	for _, n := range [...]uint64{
		it.CreateRevision, it.ModRevision - it.CreateRevision, it.Version,
		uint64(it.Created), uint64(it.Updated - it.Created),
	} {
		trailer = binary.AppendUvarint(trailer, n)
	}
	var headBuf [keyLenAt + binary.MaxVarintLen32]byte
	head := binary.AppendUvarint(headBuf[:keyLenAt], uint64(len(it.Key)))
	head[tailAt] = byte(len(trailer))
	if it.Deadline != 0 {
		head[tailAt] |= hasDeadline
	}
	size := len(head) + len(it.Key) + len(it.Value) + len(trailer)
	binary.LittleEndian.PutUint32(head[sizeAt:], uint32(size))

	// More than 16 bytes without pointers: the allocation, and with it the
	// access field, is aligned to 8.
	b := make([]byte, 0, size)
	b = append(b, head...)
	b = append(b, it.Key...)
	b = append(b, it.Value...)
	b = append(b, trailer...)
	return record{unsafe.SliceData(b)}
}

// at returns the address of the record's byte at offset i.
func (r record) at(i int) *byte { return (*byte)(unsafe.Add(unsafe.Pointer(r.first), i)) }

// size returns the number of bytes of the whole record.
func (r record) size() int {
	return int(binary.LittleEndian.Uint32(unsafe.Slice(r.at(sizeAt), 4)))
}

// keySpan returns where the record's key begins, and its length.
func (r record) keySpan() (start, length int) {
	if short := *r.at(keyLenAt); short < 0x80 {
		return keyLenAt + 1, int(short)
	}
	n, width := binary.Uvarint(unsafe.Slice(r.at(keyLenAt), binary.MaxVarintLen32))
	return keyLenAt + width, int(n)
}

// trailer returns the bytes behind the value, without the deadline.
func (r record) trailer() []byte {
	tail := *r.at(tailAt)
	length := int(tail & trailerLength)
	b := unsafe.Slice(r.at(r.size()-length), length)
	if tail&hasDeadline != 0 {
		return b[deadlineLen:]
	}
	return b
}

// key returns the record's key, which aliases the record.
func (r record) key() string {
	start, length := r.keySpan()
	return unsafe.String(r.at(start), length)
}

// keyBytes is key as bytes, which must not be modified.
func (r record) keyBytes() []byte {
	start, length := r.keySpan()
	return unsafe.Slice(r.at(start), length)
}

// hasKey says whether the record's key is key. What it looks at follows from key
// alone, so that a reader need not wait for the record to know where.
func (r record) hasKey(key string) bool {
	if len(key) < 0x80 {
		return int(*r.at(keyLenAt)) == len(key) && unsafe.String(r.at(keyLenAt+1), len(key)) == key
	}
	return r.key() == key
}

// value returns the record's value, which aliases the record.
func (r record) value() []byte {
	start, length := r.keySpan()
	start += length
	n := r.size() - start - int(*r.at(tailAt)&trailerLength)
	return unsafe.Slice(r.at(start), n)
}

// deadline returns when the record expires, 0 for never.
func (r record) deadline() int64 {
	tail := *r.at(tailAt)
	if tail&hasDeadline == 0 {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(unsafe.Slice(r.at(r.size()-int(tail&trailerLength)), deadlineLen)))
}

// expired says whether the record's deadline has been reached at now.
func (r record) expired(now int64) bool {
	deadline := r.deadline()
	return deadline != 0 && deadline <= now
}

// item returns the record's fields; Key and Value alias the record.
func (r record) item() Item {
	it := Item{Key: r.key(), Value: r.value(), Deadline: r.deadline()}
	var n [5]uint64
	b := r.trailer()
	for i := range n {
		v, width := binary.Uvarint(b)
		n[i], b = v, b[width:]
	}
	it.CreateRevision, it.ModRevision, it.Version = n[0], n[0]+n[1], n[2]
	it.Created, it.Updated = int64(n[3]), int64(n[3]+n[4])
	return it
}

// dataSize returns the number of bytes of key and value together.
func (r record) dataSize() int64 {
	start, _ := r.keySpan()
	return int64(r.size() - start - int(*r.at(tailAt)&trailerLength))
}
