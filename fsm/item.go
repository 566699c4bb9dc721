package fsm

import (
	"encoding/binary"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Bits of the options of an encoded item: the attributes that follow.
const (
	itemLease = 1 << iota
	itemDeadline
	itemFlags
	itemContentType

	itemOptions = 1<<iota - 1 // all of them
)

// itemOptionsOf returns the bits of the attributes that are not 0.
func itemOptionsOf(it *kv.Item) uint64 {
	return bit(it.Lease != 0, itemLease) | bit(it.Deadline != 0, itemDeadline) |
		bit(it.Flags != 0, itemFlags) | bit(it.ContentType != "", itemContentType)
}

// appendAttributes appends the attributes that options have.
func appendAttributes(dst []byte, options uint64, it *kv.Item) []byte {
	if options&itemLease != 0 {
		dst = binary.AppendVarint(dst, int64(it.Lease))
	}
	if options&itemDeadline != 0 {
		dst = binary.AppendVarint(dst, it.Deadline)
	}
	if options&itemFlags != 0 {
		dst = binary.AppendUvarint(dst, uint64(it.Flags))
	}
	if options&itemContentType != 0 {
		dst = wire.AppendBytes(dst, it.ContentType)
	}
	return dst
}

// readAttributes reads what appendAttributes has written. The content type aliases the
// reader's bytes.
func readAttributes(r *wire.Reader, options uint64, it *kv.Item) {
	if options&itemLease != 0 {
		it.Lease = kv.LeaseID(r.Varint())
	}
	if options&itemDeadline != 0 {
		it.Deadline = r.Varint()
	}
	if options&itemFlags != 0 {
		it.Flags = readFlags(r)
	}
	if options&itemContentType != 0 {
		it.ContentType = readContentType(r)
	}
}

func readFlags(r *wire.Reader) uint32 {
	flags := r.Uvarint()
	if uint64(uint32(flags)) != flags {
		r.Malformed("flags have more than 32 bits")
	}
	return uint32(flags)
}

func readContentType(r *wire.Reader) string {
	text := alias(r.Bytes())
	if len(text) > kv.MaxContentTypeBytes {
		r.Malformed("content type is too long")
	}
	return text
}

// appendItem appends an item of a response as a field.
func appendItem(dst []byte, it *kv.Item) []byte {
	guess := len(it.Key) + len(it.Value) + len(it.ContentType) + 12
	dst, field := wire.OpenField(dst, guess)
	options := itemOptionsOf(it)
	dst = binary.AppendUvarint(dst, options)
	dst = wire.AppendBytes(dst, it.Key)
	dst = wire.AppendBytes(dst, it.Value)
	dst = binary.AppendUvarint(dst, it.CreateRevision)
	dst = binary.AppendUvarint(dst, it.ModRevision)
	dst = binary.AppendUvarint(dst, it.Version)
	return field.Close(appendAttributes(dst, options, it))
}

// readItem reads what appendItem has written. The value aliases the reader's bytes. Bytes
// that a newer version may have added are skipped, and so are unknown options.
func readItem(r *wire.Reader) (it kv.Item) {
	body := wire.NewReader(r.Bytes())
	options := body.Uvarint()
	it.Key = string(body.Bytes())
	it.Value = body.Bytes()
	it.CreateRevision, it.ModRevision, it.Version = body.Uvarint(), body.Uvarint(), body.Uvarint()
	readAttributes(&body, options, &it)
	if err := body.Err(); err != nil {
		r.Fail(err)
	}
	return it
}
