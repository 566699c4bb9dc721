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

// MaxKeyLength is the greatest number of bytes that the key of an Item may have,
// likewise.
const MaxKeyLength = 1<<24 - 1

// Places of a record's fields.
const (
	lengthsAt = 8 // behind access
	keyAt     = 16
)

// lengths are the second field of a record, as one number: from its lowest bit
// on, the record's size(32), the trailer's length(7), whether that begins with a
// deadline(1), and the key's length(24).
type lengths uint64

const (
	trailerShift  = 32
	deadlineShift = trailerShift + 7
	keyShift      = deadlineShift + 1
)

func (l lengths) size() int         { return int(uint32(l)) }
func (l lengths) trailer() int      { return int(l >> trailerShift & 0x7f) }
func (l lengths) hasDeadline() bool { return l>>deadlineShift&1 != 0 }
func (l lengths) key() int          { return int(l >> keyShift) }

// deadlineLen is the number of bytes of a deadline.
const deadlineLen = 8

// record is a key with its value and revisions, as shards hold it: a pointer to
// one allocation that itself holds no pointers.
//
//	access(8) lengths(8) key value
//	trailer: deadline(8; only where there is one)
//	         createRevision modRevision version created updated
//
// Lengths and deadline are as the processor has them, the other numbers uvarints,
// modRevision and updated as what they are more than createRevision and created.
// Key, value and deadline, which reads and the index need, are found without decoding
// anything else.
// Access alone changes, atomically: it says when and how often the record was
// read (see access.go), and is never part of a snapshot or a view.
//
// A million keys of 16 bytes with values of 100 take 190 bytes each in all, 200 if
// they come in order (BenchmarkShardedMap_HeapPerKey); the fields of Item with key and value
// allocated apart would alone take more, and three objects for the collector
// to visit instead of one.
type record struct{ first *byte }

// newRecord copies it into a record. It panics if the item is larger than
// MaxItemSize, or its key than MaxKeyLength.
func newRecord(it Item) record {
	if len(it.Key) > MaxKeyLength || len(it.Key)+len(it.Value) > MaxItemSize {
		panic(fmt.Sprintf("store: item with a key of %d bytes and a value of %d, the limits are %d, and %d together",
			len(it.Key), len(it.Value), MaxKeyLength, MaxItemSize))
	}
	var trailerBuf [deadlineLen + 5*binary.MaxVarintLen64]byte
	trailer := trailerBuf[:0]
	if it.Deadline != 0 {
		trailer = binary.NativeEndian.AppendUint64(trailer, uint64(it.Deadline))
	}
	for _, n := range [...]uint64{
		it.CreateRevision, it.ModRevision - it.CreateRevision, it.Version,
		uint64(it.Created), uint64(it.Updated - it.Created),
	} {
		trailer = binary.AppendUvarint(trailer, n)
	}
	size := keyAt + len(it.Key) + len(it.Value) + len(trailer)
	l := uint64(size) | uint64(len(trailer))<<trailerShift | uint64(len(it.Key))<<keyShift
	if it.Deadline != 0 {
		l |= 1 << deadlineShift
	}

	// More than 16 bytes without pointers: the allocation, and with it the
	// access field, is aligned to 8.
	b := make([]byte, lengthsAt, size)
	b = binary.NativeEndian.AppendUint64(b, l)
	b = append(b, it.Key...)
	b = append(b, it.Value...)
	b = append(b, trailer...)
	return record{unsafe.SliceData(b)}
}

// at returns the address of the record's byte at offset i.
func (r record) at(i int) *byte { return (*byte)(unsafe.Add(unsafe.Pointer(r.first), i)) }

// lengths returns the record's lengths.
func (r record) lengths() lengths {
	return *(*lengths)(unsafe.Pointer(r.at(lengthsAt)))
}

// key returns the record's key, which aliases the record.
func (r record) key() string { return unsafe.String(r.at(keyAt), r.lengths().key()) }

// keyBytes is key as bytes, which must not be modified.
func (r record) keyBytes() []byte { return unsafe.Slice(r.at(keyAt), r.lengths().key()) }

// hasKey says whether the record's key is key. The bytes that it compares follow from key
// alone: a reader need not wait for the record to know how far to compare.
func (r record) hasKey(key string) bool {
	return r.lengths().key() == len(key) && unsafe.String(r.at(keyAt), len(key)) == key
}

// value returns the record's value, which aliases the record.
func (r record) value() []byte {
	l := r.lengths()
	start := keyAt + l.key()
	return unsafe.Slice(r.at(start), l.size()-start-l.trailer())
}

// dataSize returns the number of bytes of key and value together.
func (r record) dataSize() int64 {
	l := r.lengths()
	return int64(l.size() - keyAt - l.trailer())
}

// expires says whether the record has a deadline.
func (r record) expires() bool { return r.lengths().hasDeadline() }

// deadline returns when the record expires, 0 for never.
func (r record) deadline() int64 {
	l := r.lengths()
	if !l.hasDeadline() {
		return 0
	}
	return int64(binary.NativeEndian.Uint64(unsafe.Slice(r.at(l.size()-l.trailer()), deadlineLen)))
}

// expired says whether the record's deadline has been reached at now.
func (r record) expired(now int64) bool {
	deadline := r.deadline()
	return deadline != 0 && deadline <= now
}

// numbers returns the trailer's bytes behind the deadline.
func (r record) numbers() []byte {
	l := r.lengths()
	b := unsafe.Slice(r.at(l.size()-l.trailer()), l.trailer())
	if l.hasDeadline() {
		return b[deadlineLen:]
	}
	return b
}

// item returns the record's fields; Key and Value alias the record.
func (r record) item() Item {
	it := Item{Key: r.key(), Value: r.value(), Deadline: r.deadline()}
	var n [5]uint64
	b := r.numbers()
	for i := range n {
		v, width := binary.Uvarint(b)
		n[i], b = v, b[width:]
	}
	it.CreateRevision, it.ModRevision, it.Version = n[0], n[0]+n[1], n[2]
	it.Created, it.Updated = int64(n[3]), int64(n[3]+n[4])
	return it
}
