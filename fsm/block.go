package fsm

import (
	"encoding/binary"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Bits of the options of a version in a snapshot of format 3, above those of an item.
const (
	versionOlder   = (itemOptions + 1) << iota // the version before it is a newer one of the same key
	versionDeleted                             // the version is the deletion of its key
	versionOrder                               // its order in its revision is not 0
	versionCause                               // the cause of the deletion is not 0

	versionOptions = 1<<8 - 1 // all of them
)

// appendItemV2 appends an item in format 2.
func appendItemV2(dst []byte, it *kv.Item) []byte {
	dst = wire.AppendBytes(dst, it.Key)
	dst = wire.AppendBytes(dst, it.Value)
	dst = binary.AppendUvarint(dst, it.CreateRevision)
	dst = binary.AppendUvarint(dst, it.ModRevision)
	return binary.AppendUvarint(dst, it.Version)
}

// readItemV2 reads what appendItemV2 has written. Key and value alias the reader's bytes.
func readItemV2(r *wire.Reader) (v mvcc.Version) {
	it := &v.Item
	it.Key, it.Value = alias(r.Bytes()), r.Bytes()
	it.CreateRevision, it.ModRevision, it.Version = r.Uvarint(), r.Uvarint(), r.Uvarint()
	return v
}

// appendVersion appends a version in format 3. older says that the version before it in the
// snapshot has the same key, and first that it is the first one of its block.
func appendVersion(dst []byte, v *mvcc.Version, older, first bool) []byte {
	it := &v.Item
	options := itemOptionsOf(it) | bit(older, versionOlder) | bit(v.Deleted, versionDeleted) |
		bit(v.Order != 0, versionOrder) | bit(v.Cause != 0, versionCause)
	dst = binary.AppendUvarint(dst, options)
	if !older || first {
		dst = wire.AppendBytes(dst, it.Key)
	}
	dst = binary.AppendUvarint(dst, it.ModRevision)
	if v.Order != 0 {
		dst = binary.AppendUvarint(dst, uint64(v.Order))
	}
	if v.Cause != 0 {
		dst = append(dst, v.Cause)
	}
	if v.Deleted {
		return dst
	}
	dst = binary.AppendUvarint(dst, it.ModRevision-it.CreateRevision)
	dst = binary.AppendUvarint(dst, it.Version)
	return appendAttributes(wire.AppendBytes(dst, it.Value), options, it)
}

// readVersion reads what appendVersion has written. Key, value and content type alias the
// reader's bytes. last is the key of the version before it in the block, "" if it is the
// first one.
func readVersion(r *wire.Reader, last string) (v mvcc.Version, older bool) {
	it := &v.Item
	options := readOptions(r, versionOptions)
	older = options&versionOlder != 0
	if it.Key = last; !older || last == "" {
		it.Key = alias(r.Bytes())
	}
	it.ModRevision = r.Uvarint()
	if options&versionOrder != 0 {
		order := r.Uvarint()
		if v.Order = uint32(order); uint64(v.Order) != order {
			r.Malformed("order has more than 32 bits")
		}
	}
	if options&versionCause != 0 {
		v.Cause = r.Byte()
	}
	if v.Deleted = options&versionDeleted != 0; v.Deleted {
		return v, older
	}
	since := r.Uvarint()
	if since > it.ModRevision {
		r.Malformed("revision out of range")
	}
	it.CreateRevision, it.Version = it.ModRevision-since, r.Uvarint()
	it.Value = r.Bytes()
	readAttributes(r, options, it)
	return v, older
}

// readBlock reads the versions of a block in one of the formats, until there are no more
// bytes or add returns false. older says that the version before it is a newer one of the
// same key.
type readBlock func(r *wire.Reader, add func(v *mvcc.Version, older bool) bool)

// readBlockV2 reads a block of format 2.
func readBlockV2(r *wire.Reader, add func(*mvcc.Version, bool) bool) {
	for r.Len() > 0 {
		v := readItemV2(r)
		if r.Err() != nil || !add(&v, false) {
			return
		}
	}
}

// readBlockV3 reads a block of format 3.
func readBlockV3(r *wire.Reader, add func(*mvcc.Version, bool) bool) {
	last := ""
	for r.Len() > 0 {
		v, older := readVersion(r, last)
		if r.Err() != nil || !add(&v, older) {
			return
		}
		last = v.Item.Key
	}
}
