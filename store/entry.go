package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/internal/omap"
)

// ErrChecksum is returned when an Entry's content does not match its checksum.
var ErrChecksum = errors.New("entry does not match its checksum")

// ErrMalformedEntry is returned by DecodeEntry for bytes that Encode cannot have made.
var ErrMalformedEntry = errors.New("malformed entry")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Entry is a key with its value and what is known about it. It is a view, made
// when asked for: shards hold keys in a compact form. An Entry that the store
// returns is the caller's own.
type Entry struct {
	Key       string
	Value     []byte
	ExpiresAt time.Time // zero for never
	Metadata  *Metadata // may be nil
}

// Metadata is what is known about an Entry besides its content.
type Metadata struct {
	CreatedAt   time.Time     // when the key was made
	UpdatedAt   time.Time     // when it was last changed
	AccessedAt  time.Time     // when it was last read; zero if access is not tracked
	AccessCount atomic.Uint64 // reads since the store was opened or the key was removed, up to 65,535; 0 if not tracked
	Version     uint64        // number of changes since it was made, from 1
	Size        int           // bytes of key and value
	Checksum    uint32        // CRC32C of key and value
}

// NewEntry returns an Entry made now, which does not expire. It keeps value.
func NewEntry(key string, value []byte) *Entry {
	now := time.Now()
	e := &Entry{Key: key, Value: value, Metadata: &Metadata{
		CreatedAt: now, UpdatedAt: now, AccessedAt: now, Version: 1, Size: len(key) + len(value),
	}}
	e.Metadata.Checksum = e.computeChecksum()
	return e
}

// NewEntryWithTTL returns an Entry made now, which expires after ttl.
func NewEntryWithTTL(key string, value []byte, ttl time.Duration) *Entry {
	e := NewEntry(key, value)
	e.ExpiresAt = e.Metadata.CreatedAt.Add(ttl)
	return e
}

// viewOf returns the view of a record, with a copy of its value.
func viewOf(r omap.Record) *Entry {
	last, count := accessed(r)
	return newEntry(r.Item(), last, count)
}

// newEntry returns the view of an item, with a copy of its value.
func newEntry(it omap.Item, accessed int64, count uint64) *Entry {
	e := &Entry{Key: it.Key, Value: append([]byte{}, it.Value...), Metadata: &Metadata{
		CreatedAt: timeOf(it.Created), UpdatedAt: timeOf(it.Updated), AccessedAt: timeOf(accessed),
		Version: it.Version, Size: len(it.Key) + len(it.Value),
	}}
	e.ExpiresAt = timeOf(it.Deadline)
	e.Metadata.AccessCount.Store(count)
	e.Metadata.Checksum = e.computeChecksum()
	return e
}

// itemOf returns the Item of an entry.
func itemOf(e *Entry) omap.Item {
	it := omap.Item{Key: e.Key, Value: e.Value, Deadline: nanosOf(e.ExpiresAt), Version: 1}
	if m := e.Metadata; m != nil {
		it.Created, it.Updated, it.Version = nanosOf(m.CreatedAt), nanosOf(m.UpdatedAt), m.Version
	}
	return it
}

// nanosOf turns a time into nanoseconds since the Unix epoch, the zero time into 0.
func nanosOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// timeOf turns nanoseconds since the Unix epoch into a time, 0 into the zero time.
func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// IsExpired says whether the entry's deadline has been reached.
func (e *Entry) IsExpired() bool {
	return !e.ExpiresAt.IsZero() && !time.Now().Before(e.ExpiresAt)
}

// Touch notes a read of the entry now. Only AccessCount may be read by others meanwhile.
func (e *Entry) Touch() {
	if e.Metadata != nil {
		e.Metadata.AccessedAt = time.Now()
		e.Metadata.AccessCount.Add(1)
	}
}

// Clone returns a deep copy; nil for nil.
func (e *Entry) Clone() *Entry {
	if e == nil {
		return nil
	}
	clone := &Entry{Key: e.Key, Value: append([]byte{}, e.Value...), ExpiresAt: e.ExpiresAt}
	if m := e.Metadata; m != nil {
		clone.Metadata = &Metadata{
			CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt, AccessedAt: m.AccessedAt,
			Version: m.Version, Size: m.Size, Checksum: m.Checksum,
		}
		clone.Metadata.AccessCount.Store(m.AccessCount.Load())
	}
	return clone
}

// Size returns the bytes of key and value together.
func (e *Entry) Size() int { return len(e.Key) + len(e.Value) }

// Verify returns ErrChecksum if key and value do not match the checksum.
func (e *Entry) Verify() error {
	if e.Metadata != nil && e.Metadata.Checksum != e.computeChecksum() {
		return NewKeyError(e.Key, ErrChecksum)
	}
	return nil
}

func (e *Entry) computeChecksum() uint32 {
	return crc32.Update(crc32.Checksum([]byte(e.Key), castagnoli), castagnoli, e.Value)
}

// Encode returns the entry as bytes, big endian:
//
//	keyLen(4) key valueLen(4) value expiresAt(8) version(8) checksum(4)
//
// expiresAt is in nanoseconds since the Unix epoch, 0 for never. The checksum is
// CRC32C of all before it.
func (e *Entry) Encode() []byte {
	b := make([]byte, 0, 4+len(e.Key)+4+len(e.Value)+8+8+4)
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Key)))
	b = append(b, e.Key...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Value)))
	b = append(b, e.Value...)
	b = binary.BigEndian.AppendUint64(b, uint64(nanosOf(e.ExpiresAt)))
	var version uint64
	if e.Metadata != nil {
		version = e.Metadata.Version
	}
	b = binary.BigEndian.AppendUint64(b, version)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// DecodeEntry reads what Encode made, and checks its checksum. The entry's value
// is a copy. It returns ErrMalformedEntry, or ErrChecksum in a *KeyError.
func DecodeEntry(b []byte) (*Entry, error) {
	key, rest, ok := cutField(b)
	var value []byte
	if ok {
		value, rest, ok = cutField(rest)
	}
	if !ok || len(rest) != 20 {
		return nil, ErrMalformedEntry
	}
	e := &Entry{Key: string(key), Value: append([]byte{}, value...)}
	e.ExpiresAt = timeOf(int64(binary.BigEndian.Uint64(rest)))
	e.Metadata = &Metadata{Version: binary.BigEndian.Uint64(rest[8:]), Size: e.Size(), Checksum: e.computeChecksum()}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(rest[16:]) {
		return nil, NewKeyError(e.Key, ErrChecksum)
	}
	return e, nil
}

// cutField takes a length(4) and as many bytes off b.
func cutField(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint32(b))
	return b[4 : 4+n], b[4+n:], true
}
