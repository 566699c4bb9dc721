package omap

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"
)

// MaxItemSize is the maximum size in bytes of an Item's key and value together. It is the
// format's limit; callers have far lower ones.
const MaxItemSize = 1 << 30

// MaxKeyLength is the maximum length in bytes of an Item's key. It is the format's limit too.
const MaxKeyLength = 1<<24 - 1

// Offsets of a record's fields.
const (
	lengthsAt = 8 // behind the word
	keyAt     = 16
)

// lengths are the second field of a record, as one number. From the lowest bit to the
// highest it has, with their numbers of bits: the record's size(32), the trailer's
// length(7), whether the trailer begins with a deadline(1), and the key's length(24).
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

// Record is an Item in the form in which a Map stores it. The zero Record means that there
// is none: only its methods IsZero and Item may be called. Two Records are equal (==) if they
// are the same one. A Record does not change, except its Word. It stays valid, and takes
// memory, as long as there is a reference to it, its key or its value. It is safe for
// concurrent use.
//
// It is a pointer to one allocation, which itself has no pointers:
//
//	word(8) lengths(8) key value
//	trailer: deadline(8; only if there is one)
//	         createRevision modRevision version created updated
//
// lengths and deadline are in the processor's byte order. The other numbers are uvarints,
// modRevision and updated as the difference to createRevision and created. Reads and the
// index need key, value and deadline, and find them without decoding other fields.
//
// A million keys of 16 bytes with values of 100 take 190 bytes each with table and index, 200
// if they are added in order (BenchmarkMap_HeapPerKey). The fields of Item, with key and value
// allocated separately, would take more than that, and the garbage collector would visit
// three objects instead of one.
type Record struct{ first *byte }

// NewRecord copies it into a Record. It panics if the Item is larger than
// MaxItemSize, or its key than MaxKeyLength.
func NewRecord(it Item) Record {
	if len(it.Key) > MaxKeyLength || len(it.Key)+len(it.Value) > MaxItemSize {
		panic(fmt.Sprintf("omap: item with a key of %d bytes and a value of %d, the limits are %d, and %d together",
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

	// An allocation of more than 16 bytes without pointers is aligned to 8, and so is the
	// word.
	b := make([]byte, lengthsAt, size)
	b = binary.NativeEndian.AppendUint64(b, l)
	b = append(b, it.Key...)
	b = append(b, it.Value...)
	b = append(b, trailer...)
	return Record{unsafe.SliceData(b)}
}

// IsZero reports whether r is the zero Record.
func (r Record) IsZero() bool { return r.first == nil }

// at returns the address of the record's byte at offset i.
func (r Record) at(i int) *byte { return (*byte)(unsafe.Add(unsafe.Pointer(r.first), i)) }

// lengths returns the record's lengths.
func (r Record) lengths() lengths {
	return *(*lengths)(unsafe.Pointer(r.at(lengthsAt)))
}

// Word returns a number for the user of the Map, who may keep there any information about a
// key beside its Item. It is 0 in a new Record. When a Record replaces another one in a Map,
// it gets that one's Word. Items and the content of Views don't have it.
func (r Record) Word() *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(r.first)) }

// Key returns the record's key, which aliases the record.
func (r Record) Key() string { return unsafe.String(r.at(keyAt), r.lengths().key()) }

// KeyBytes returns Key as bytes, which must not be modified.
func (r Record) KeyBytes() []byte { return unsafe.Slice(r.at(keyAt), r.lengths().key()) }

// hasKey reports whether the record's key is key. The number of bytes to compare is that of
// key, so the processor need not wait for the record's length before it loads them.
func (r Record) hasKey(key string) bool {
	return r.lengths().key() == len(key) && unsafe.String(r.at(keyAt), len(key)) == key
}

// Value returns the record's value, which aliases the record and must not be modified.
func (r Record) Value() []byte {
	l := r.lengths()
	start := keyAt + l.key()
	return unsafe.Slice(r.at(start), l.size()-start-l.trailer())
}

// Size returns the number of bytes of key and value together.
func (r Record) Size() int64 {
	l := r.lengths()
	return int64(l.size() - keyAt - l.trailer())
}

// Expires reports whether the record has a deadline.
func (r Record) Expires() bool { return r.lengths().hasDeadline() }

// Deadline returns the time of the record's expiry, in nanoseconds since the Unix epoch; 0
// for never.
func (r Record) Deadline() int64 {
	l := r.lengths()
	if !l.hasDeadline() {
		return 0
	}
	return int64(binary.NativeEndian.Uint64(unsafe.Slice(r.at(l.size()-l.trailer()), deadlineLen)))
}

// Expired reports whether the record's deadline has been reached at now, which is in
// nanoseconds since the Unix epoch.
func (r Record) Expired(now int64) bool {
	deadline := r.Deadline()
	return deadline != 0 && deadline <= now
}

// numbers returns the trailer's bytes behind the deadline.
func (r Record) numbers() []byte {
	l := r.lengths()
	b := unsafe.Slice(r.at(l.size()-l.trailer()), l.trailer())
	if l.hasDeadline() {
		return b[deadlineLen:]
	}
	return b
}

// Item returns the record's fields, the zero Item for the zero Record. Key and Value
// alias the record; Value must not be modified.
func (r Record) Item() Item {
	if r.IsZero() {
		return Item{}
	}
	it := Item{Key: r.Key(), Value: r.Value(), Deadline: r.Deadline()}
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
