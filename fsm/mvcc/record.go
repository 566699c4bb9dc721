package mvcc

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/kvorum/kvorum/kv"
)

// Limits of the format of records. Callers have far lower ones.
const (
	// MaxRevision is the maximum revision.
	MaxRevision = 1<<(64-revisionShift) - 1
	// MaxItemBytes is the maximum number of bytes of a key and its value together.
	MaxItemBytes = 1 << 30
)

// Bits of a record's head. The bits above them are the revision.
const (
	flagDead     = 1 << iota // nothing refers to the record; the only bit that changes
	flagDeleted              // the version is the end of its key
	flagPrevious             // a ref of the previous version follows the head
	flagFirst                // create and modify revision are equal, and the version is 1
	flagOrder                // the order in the revision is not 0
	flagLease                // the other flags: the field is not 0
	flagDeadline
	flagNumber
	flagType

	stepShift     = 9 // four bits for link.step
	revisionShift = 13
)

// Lengths of the fields of fixed length.
const (
	headLen     = 8
	previousLen = 8
	skipLen     = 16
)

// Version is what one change made of a key: an item, or no item.
type Version struct {
	// Item is the key's item after the change. After a deletion it has only Key and
	// ModRevision.
	Item kv.Item
	// Order is the number of the change among those of its revision, from 0.
	Order uint32
	// Deleted says that the change deleted the key.
	Deleted bool
	// Cause is the caller's number for the reason of a deletion.
	Cause uint8
}

// record is a version as an arena stores it. The zero record is none. It starts at a
// multiple of 8 bytes and has no pointers:
//
//	head(8) previous(8)? {skip(8) skipped(8)}? keyLen valueLen? key value
//	{modRevision-createRevision version}? order? lease? deadline? flags? {typeLen type}?
//
// The head is the modify revision, the step, and the flags that say which fields follow.
// Lengths and numbers are uvarints, lease and deadline zigzag. A deletion has no valueLen, and
// its cause in place of flags. Zeros fill the record up to a multiple of 8 bytes.
//
// previous is the ref of the version that this one superseded. It is followed only for
// revisions that are not compacted, so it may refer to a record that is gone. A record with
// previous has a skip if its step is 0, see type link.
type record struct{ first *byte }

func (r record) isZero() bool { return r.first == nil }

// pointer returns the address of the record's byte at offset i.
func (r record) pointer(i int) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(r.first), i) }

// word returns the record's head as a variable.
func (r record) word() *uint64 { return (*uint64)(unsafe.Pointer(r.first)) }

func (r record) head() head { return head(atomic.LoadUint64(r.word())) }

func (r record) setDead() { atomic.OrUint64(r.word(), flagDead) }

// head is the first field of a record.
type head uint64

func (h head) revision() uint64 { return uint64(h >> revisionShift) }
func (h head) has(flag head) bool {
	return h&flag != 0
}

// step returns link.step.
func (h head) step() uint8 { return uint8(h>>stepShift) % skipEvery }

// skips reports whether the record has a skip.
func (h head) skips() bool { return h&(flagPrevious|(skipEvery-1)<<stepShift) == flagPrevious }

// behind returns the offset of the field behind the head and the link.
func (h head) behind() int {
	switch {
	case !h.has(flagPrevious):
		return headLen
	case h.skips():
		return headLen + previousLen + skipLen
	default:
		return headLen + previousLen
	}
}

// previous returns the ref of the version that the record superseded, 0 for none.
func (r record) previous() ref {
	if !r.head().has(flagPrevious) {
		return 0
	}
	return *(*ref)(r.pointer(headLen))
}

// setPrevious changes previous in a record that has the field and is not published yet.
func (r record) setPrevious(p ref) { *(*ref)(r.pointer(headLen)) = p }

// skip returns link.skip and link.skipped of a record that has them.
func (r record) skip() (to ref, skipped uint64) {
	return *(*ref)(r.pointer(headLen + previousLen)), *(*uint64)(r.pointer(headLen + previousLen + 8))
}

// setSkip changes the skip of a record that has one and is not published yet.
func (r record) setSkip(to ref, skipped uint64) {
	*(*ref)(r.pointer(headLen + previousLen)) = to
	*(*uint64)(r.pointer(headLen + previousLen + 8)) = skipped
}

// uvarint reads a number at offset i and returns the offset behind it.
func (r record) uvarint(i int) (n uint64, next int) {
	b := *(*byte)(r.pointer(i))
	if b < 0x80 {
		return uint64(b), i + 1
	}
	n = uint64(b & 0x7f)
	for shift := 7; ; shift += 7 {
		i++
		b = *(*byte)(r.pointer(i))
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n, i + 1
		}
	}
}

// varint is uvarint for a zigzag number.
func (r record) varint(i int) (n int64, next int) {
	u, next := r.uvarint(i)
	return int64(u>>1) ^ -int64(u&1), next
}

// lengths returns the lengths of key and value, and the offset of the key.
func (r record) lengths(h head) (key, value, at int) {
	k, at := r.uvarint(h.behind())
	if h.has(flagDeleted) {
		return int(k), 0, at
	}
	v, at := r.uvarint(at)
	return int(k), int(v), at
}

// text returns n bytes at offset i, which alias the record.
func (r record) text(i, n int) string {
	if n == 0 {
		return ""
	}
	return unsafe.String((*byte)(r.pointer(i)), n)
}

// key returns the record's key, which aliases the record, "" of the zero record.
func (r record) key() string {
	if r.isZero() {
		return ""
	}
	n, _, at := r.lengths(r.head())
	return r.text(at, n)
}

// hasKey reports whether the record's key is key.
func (r record) hasKey(key string) bool {
	n, _, at := r.lengths(r.head())
	return n == len(key) && r.text(at, n) == key
}

// size returns the number of bytes that the record takes.
func (r record) size() int {
	h := r.head()
	key, value, at := r.lengths(h)
	at += key + value
	if h&(flagDeleted|flagFirst) == 0 {
		_, at = r.uvarint(at)
		_, at = r.uvarint(at)
	}
	for _, flag := range [...]head{flagOrder, flagLease, flagDeadline, flagNumber} {
		if h.has(flag) {
			_, at = r.uvarint(at)
		}
	}
	if h.has(flagType) {
		at += 1 + int(*(*byte)(r.pointer(at)))
	}
	return aligned(at)
}

// item returns the record's item, the zero Item if the record is of a deletion or zero. Key,
// Value and ContentType alias the record.
func (r record) item() (it kv.Item) {
	if r.isZero() {
		return it
	}
	h := r.head()
	if h.has(flagDeleted) {
		return it
	}
	r.readItem(h, &it)
	return it
}

// readItem fills it from a record that is not of a deletion.
func (r record) readItem(h head, it *kv.Item) {
	key, value, at := r.lengths(h)
	it.Key = r.text(at, key)
	at += key
	it.Value = unsafe.Slice((*byte)(r.pointer(at-1)), value+1)[1:] // also valid for a value without bytes at the end
	at += value
	it.ModRevision = h.revision()
	it.CreateRevision, it.Version = it.ModRevision, 1
	if !h.has(flagFirst) {
		var since uint64
		since, at = r.uvarint(at)
		it.CreateRevision -= since
		it.Version, at = r.uvarint(at)
	}
	if h&(flagOrder|flagLease|flagDeadline|flagNumber|flagType) != 0 {
		r.readRest(h, at, it)
	}
}

// readRest reads the fields of an item that few have. It returns the order.
func (r record) readRest(h head, at int, it *kv.Item) (order uint32) {
	if h.has(flagOrder) {
		var n uint64
		n, at = r.uvarint(at)
		order = uint32(n)
	}
	if h.has(flagLease) {
		lease, next := r.varint(at)
		it.Lease, at = kv.LeaseID(lease), next
	}
	if h.has(flagDeadline) {
		it.Deadline, at = r.varint(at)
	}
	if h.has(flagNumber) {
		var n uint64
		n, at = r.uvarint(at)
		it.Flags = uint32(n)
	}
	if h.has(flagType) {
		it.ContentType = r.text(at+1, int(*(*byte)(r.pointer(at))))
	}
	return order
}

// version returns all of the record.
func (r record) version() (v Version) {
	h := r.head()
	key, value, at := r.lengths(h)
	if h.has(flagDeleted) {
		v.Deleted = true
		v.Item.Key = r.text(at, key)
		v.Item.ModRevision = h.revision()
		var rest kv.Item
		v.Order = r.readRest(h, at+key, &rest)
		v.Cause = uint8(rest.Flags)
		return v
	}
	r.readItem(h, &v.Item)
	if h.has(flagOrder) {
		at += key + value
		if !h.has(flagFirst) {
			_, at = r.uvarint(at)
			_, at = r.uvarint(at)
		}
		n, _ := r.uvarint(at)
		v.Order = uint32(n)
	}
	return v
}

// layout are the head and the size of the record of v. It panics if v exceeds a limit of the
// format.
func layout(v *Version, l link) (h head, size int) {
	it := &v.Item
	if len(it.Key)+len(it.Value) > MaxItemBytes || len(it.ContentType) > kv.MaxContentTypeBytes || it.ModRevision > MaxRevision {
		panic(fmt.Sprintf("mvcc: version of revision %d with a key of %d bytes, a value of %d and a content type of %d",
			it.ModRevision, len(it.Key), len(it.Value), len(it.ContentType)))
	}
	h = head(it.ModRevision)<<revisionShift | head(l.step)<<stepShift
	if l.linked {
		h |= flagPrevious
	}
	size = h.behind() + uvarintLen(uint64(len(it.Key))) + len(it.Key)
	if v.Order != 0 {
		h |= flagOrder
		size += uvarintLen(uint64(v.Order))
	}
	if v.Deleted {
		h |= flagDeleted
		if v.Cause != 0 {
			h |= flagNumber
			size += uvarintLen(uint64(v.Cause))
		}
		return h, aligned(size)
	}
	size += uvarintLen(uint64(len(it.Value))) + len(it.Value)
	if it.CreateRevision == it.ModRevision && it.Version == 1 {
		h |= flagFirst
	} else {
		size += uvarintLen(it.ModRevision-it.CreateRevision) + uvarintLen(it.Version)
	}
	more, n := layoutRest(it)
	return h | more, aligned(size + n)
}

// layoutRest returns the flags and the length of the fields that few items have.
func layoutRest(it *kv.Item) (h head, n int) {
	if it.Lease != 0 {
		h |= flagLease
		n += uvarintLen(zigzag(int64(it.Lease)))
	}
	if it.Deadline != 0 {
		h |= flagDeadline
		n += uvarintLen(zigzag(it.Deadline))
	}
	if it.Flags != 0 {
		h |= flagNumber
		n += uvarintLen(uint64(it.Flags))
	}
	if it.ContentType != "" {
		h |= flagType
		n += 1 + len(it.ContentType)
	}
	return h, n
}

// Bytes returns the number of bytes that an item counts for in Store.Bytes: those of its key,
// of its value, and of its attributes as they are stored.
func Bytes(it *kv.Item) int64 {
	_, attributes := layoutRest(it)
	return int64(len(it.Key) + len(it.Value) + attributes)
}

// write writes the record of v, whose layout is h, into memory that is zero.
func (v *Version) write(memory []byte, h head, l link) {
	it := &v.Item
	*(*uint64)(unsafe.Pointer(&memory[0])) = uint64(h)
	if h.has(flagPrevious) {
		rec := record{&memory[0]}
		rec.setPrevious(l.previous)
		if h.skips() {
			rec.setSkip(l.skip, l.skipped)
		}
	}
	b := binary.AppendUvarint(memory[:h.behind()], uint64(len(it.Key)))
	number := it.Flags
	if h.has(flagDeleted) {
		b = append(b, it.Key...)
		number = uint32(v.Cause)
	} else {
		b = binary.AppendUvarint(b, uint64(len(it.Value)))
		b = append(b, it.Key...)
		b = append(b, it.Value...)
		if !h.has(flagFirst) {
			b = binary.AppendUvarint(b, it.ModRevision-it.CreateRevision)
			b = binary.AppendUvarint(b, it.Version)
		}
	}
	if h.has(flagOrder) {
		b = binary.AppendUvarint(b, uint64(v.Order))
	}
	if h.has(flagLease) {
		b = binary.AppendVarint(b, int64(it.Lease))
	}
	if h.has(flagDeadline) {
		b = binary.AppendVarint(b, it.Deadline)
	}
	if h.has(flagNumber) {
		b = binary.AppendUvarint(b, uint64(number))
	}
	if h.has(flagType) {
		b = append(b, byte(len(it.ContentType)))
		_ = append(b, it.ContentType...)
	}
}

// put writes the record of v into a stream's chunk.
func (a *arena) put(s *stream, v *Version, l link) (ref, int) {
	h, size := layout(v, l)
	r, memory := a.alloc(s, size, v.Item.ModRevision)
	v.write(memory, h, l)
	return r, size
}

// move copies the record at r, without its link, into the chunk of moved records.
func (a *arena) move(r ref) ref {
	rec := a.at(r)
	h := rec.head()
	from := h.behind()
	size := rec.size() - (from - headLen)
	to, memory := a.alloc(&a.moved, size, h.revision())
	*(*uint64)(unsafe.Pointer(&memory[0])) = uint64(h &^ (flagPrevious | flagDead))
	copy(memory[headLen:], unsafe.Slice((*byte)(rec.pointer(from)), size-headLen))
	return to
}

// aligned returns n, rounded up to a multiple of 8.
func aligned(n int) int { return (n + 7) &^ 7 }

// uvarintLen returns the length of a uvarint.
func uvarintLen(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }

// zigzag returns the uvarint that stands for a signed number.
func zigzag(n int64) uint64 { return uint64(n<<1) ^ uint64(n>>63) }
