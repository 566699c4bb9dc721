package fsm

import (
	"encoding/binary"
	"time"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Payloads of operations; doc.go has the format. Each pair of functions writes and reads
// one. What is read aliases the payload.

func encodePut(dst []byte, o *kv.Op) []byte {
	return append(wire.AppendBytes(dst, o.Key), o.Value...)
}

func decodePut(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	o.Key, o.Value = alias(r.Bytes()), r.Rest()
	return r
}

func encodeDelete(dst []byte, o *kv.Op) []byte { return append(dst, o.Span.Start...) }

func decodeDelete(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	o.Span = kv.One(alias(r.Rest()))
	return r
}

// encodeKey and decodeKey are those of the leader's own operations.
func encodeKey(dst []byte, o *kv.Op) []byte { return append(dst, o.Key...) }

func decodeKey(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	o.Key = alias(r.Rest())
	return r
}

func decodeNothing(_ *decoding, r wire.Reader, _ *kv.Op) wire.Reader { return r }

// Bits of an operation's options, the first byte or number of its payload.
const (
	wantPrev = 1 << 0 // of put, delete, add and append

	withFlags       = 1 << 1 // of put
	withContentType = 1 << 2

	reverse       = 1 << 0 // of range
	keysOnly      = 1 << 1
	countOnly     = 1 << 2
	withLimit     = 1 << 3
	withRevision  = 1 << 4
	withMinMod    = 1 << 5
	withMaxMod    = 1 << 6
	withMinCreate = 1 << 7
	withMaxCreate = 1 << 8
)

// bit returns b if set is set.
func bit(set bool, b uint64) uint64 {
	if set {
		return b
	}
	return 0
}

// readOptions reads an operation's options. It fails if they have a bit that is not in
// known.
func readOptions(r *wire.Reader, known uint64) uint64 {
	options := r.Uvarint()
	if options&^known != 0 {
		r.Malformed("unknown options of an operation")
		return 0
	}
	return options
}

func encodePutMore(dst []byte, o *kv.Op) []byte {
	options := bit(o.WantPrev, wantPrev) | bit(o.Flags != 0, withFlags) | bit(o.ContentType != "", withContentType)
	dst = binary.AppendUvarint(dst, options)
	dst = wire.AppendBytes(dst, o.Key)
	if o.Flags != 0 {
		dst = binary.AppendUvarint(dst, uint64(o.Flags))
	}
	if o.ContentType != "" {
		dst = wire.AppendBytes(dst, o.ContentType)
	}
	return append(dst, o.Value...)
}

func decodePutMore(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	options := readOptions(&r, wantPrev|withFlags|withContentType)
	o.WantPrev = options&wantPrev != 0
	o.Key = alias(r.Bytes())
	if options&withFlags != 0 {
		o.Flags = readFlags(&r)
	}
	if options&withContentType != 0 {
		o.ContentType = readContentType(&r)
	}
	o.Value = r.Rest()
	return r
}

func encodeDeleteAll(dst []byte, o *kv.Op) []byte {
	return appendSpan(binary.AppendUvarint(dst, bit(o.WantPrev, wantPrev)), o.Span)
}

func decodeDeleteAll(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	o.WantPrev = readOptions(&r, wantPrev) != 0
	o.Span = readSpan(&r)
	return r
}

// rangeNumbers returns the numbers of a range that may be 0, in the order of their bits.
func rangeNumbers(o *kv.RangeOptions) [6]uint64 {
	return [...]uint64{
		uint64(o.Limit), o.Revision, o.MinModRevision, o.MaxModRevision, o.MinCreateRevision, o.MaxCreateRevision,
	}
}

func encodeRange(dst []byte, o *kv.Op) []byte {
	var how kv.RangeOptions
	if o.Range != nil {
		how = *o.Range
	}
	options := bit(how.Reverse, reverse) | bit(how.KeysOnly, keysOnly) | bit(how.CountOnly, countOnly)
	numbers := rangeNumbers(&how)
	for i, n := range numbers {
		options |= bit(n != 0, withLimit<<i)
	}
	dst = appendSpan(binary.AppendUvarint(dst, options), o.Span)
	for _, n := range numbers {
		if n != 0 {
			dst = binary.AppendUvarint(dst, n)
		}
	}
	return dst
}

func decodeRange(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	options := readOptions(&r, 2*withMaxCreate-1)
	o.Span = readSpan(&r)
	if options == 0 {
		return r
	}
	var numbers [6]uint64
	for i := range numbers {
		if options&(withLimit<<i) != 0 {
			numbers[i] = r.Uvarint()
		}
	}
	o.Range = &kv.RangeOptions{
		Limit: int(numbers[0]), Revision: numbers[1],
		Reverse: options&reverse != 0, KeysOnly: options&keysOnly != 0, CountOnly: options&countOnly != 0,
		MinModRevision: numbers[2], MaxModRevision: numbers[3], MinCreateRevision: numbers[4], MaxCreateRevision: numbers[5],
	}
	if o.Range.Limit < 0 {
		r.Malformed("limit is out of range")
	}
	return r
}

func encodeAdd(dst []byte, o *kv.Op) []byte {
	dst = wire.AppendBytes(binary.AppendUvarint(dst, bit(o.WantPrev, wantPrev)), o.Key)
	return binary.AppendVarint(dst, o.Delta)
}

func decodeAdd(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	o.WantPrev = readOptions(&r, wantPrev) != 0
	o.Key, o.Delta = alias(r.Bytes()), r.Varint()
	return r
}

func encodeAppend(dst []byte, o *kv.Op) []byte {
	dst = wire.AppendBytes(binary.AppendUvarint(dst, bit(o.WantPrev, wantPrev)), o.Key)
	return append(binary.AppendUvarint(dst, uint64(o.MaxBytes)), o.Value...)
}

func decodeAppend(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	o.WantPrev = readOptions(&r, wantPrev) != 0
	o.Key = alias(r.Bytes())
	most := r.Uvarint()
	if o.MaxBytes = int(most); most > kv.LimitMaxValueBytes {
		r.Malformed("limit of an append is out of range")
	}
	o.Value = r.Rest()
	return r
}

// The time to live of an operation is the first field of its payload, in milliseconds. What
// follows is the payload of the operation without one.

func appendTTL(dst []byte, o *kv.Op) []byte {
	return binary.AppendUvarint(dst, uint64(o.TTL.Milliseconds()))
}

func readTTL(r *wire.Reader, o *kv.Op) {
	n := r.Uvarint()
	if n < 1 || n > uint64(kv.MaxTTL.Milliseconds()) {
		r.Malformed("time to live is out of range")
		return
	}
	o.TTL = time.Duration(n) * time.Millisecond
}

func encodePutTTL(dst []byte, o *kv.Op) []byte { return encodePutMore(appendTTL(dst, o), o) }

func decodePutTTL(d *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	readTTL(&r, o)
	return decodePutMore(d, r, o)
}

func encodeAddTTL(dst []byte, o *kv.Op) []byte { return encodeAdd(appendTTL(dst, o), o) }

func decodeAddTTL(d *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	readTTL(&r, o)
	return decodeAdd(d, r, o)
}

func encodeAppendTTL(dst []byte, o *kv.Op) []byte { return encodeAppend(appendTTL(dst, o), o) }

func decodeAppendTTL(d *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	readTTL(&r, o)
	return decodeAppend(d, r, o)
}

func encodeTouch(dst []byte, o *kv.Op) []byte { return encodePersist(appendTTL(dst, o), o) }

func decodeTouch(d *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	readTTL(&r, o)
	return decodePersist(d, r, o)
}

func encodePersist(dst []byte, o *kv.Op) []byte {
	return append(binary.AppendUvarint(dst, bit(o.WantPrev, wantPrev)), o.Key...)
}

func decodePersist(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	o.WantPrev = readOptions(&r, wantPrev) != 0
	o.Key = alias(r.Rest())
	return r
}

// The lease of a put is the first field of its payload, and the second one is the time to live
// in milliseconds, 0 for none.

func encodePutLease(dst []byte, o *kv.Op) []byte {
	return encodePutMore(appendTTL(appendLease(dst, o), o), o)
}

func decodePutLease(d *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	if readLease(&r, o); o.Lease == 0 {
		r.Malformed("put without a lease")
	}
	ttl := r.Uvarint()
	if ttl > uint64(kv.MaxTTL.Milliseconds()) {
		r.Malformed("time to live is out of range")
		return r
	}
	o.TTL = time.Duration(ttl) * time.Millisecond
	return decodePutMore(d, r, o)
}

func appendLease(dst []byte, o *kv.Op) []byte { return binary.AppendVarint(dst, int64(o.Lease)) }

func readLease(r *wire.Reader, o *kv.Op) { o.Lease = kv.LeaseID(r.Varint()) }

func encodeGrant(dst []byte, o *kv.Op) []byte { return appendTTL(appendLease(dst, o), o) }

func decodeGrant(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	readLease(&r, o)
	ttl := r.Uvarint()
	if ttl < 1 || ttl > uint64(kv.MaxLeaseTTL.Milliseconds()) {
		r.Malformed("time to live is out of range")
		return r
	}
	o.TTL = time.Duration(ttl) * time.Millisecond
	return r
}

func encodeRevoke(dst []byte, o *kv.Op) []byte { return appendLease(dst, o) }

func decodeRevoke(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	if readLease(&r, o); o.Lease == 0 {
		r.Malformed("revoke without a lease")
	}
	return r
}

func encodeNested(dst []byte, o *kv.Op) []byte { return appendBody(dst, o.Nested) }

func decodeNested(d *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	o.Nested = d.nested(&r)
	return r
}

// Forms of a span: the first byte of its encoding.
const (
	spanOne     byte = 0 // of one key
	spanBetween byte = 1
	spanFrom    byte = 2 // without an end
)

// appendSpan appends a span: its form, its start, and its end if it is a spanBetween.
func appendSpan(dst []byte, s kv.Span) []byte {
	_, one := s.Key()
	switch {
	case one:
		return wire.AppendBytes(append(dst, spanOne), s.Start)
	case s.End == "":
		return wire.AppendBytes(append(dst, spanFrom), s.Start)
	}
	return wire.AppendBytes(wire.AppendBytes(append(dst, spanBetween), s.Start), s.End)
}

func readSpan(r *wire.Reader) kv.Span {
	form := r.Byte()
	s := kv.Span{Start: alias(r.Bytes())}
	switch form {
	case spanOne:
		s = kv.One(s.Start)
	case spanBetween:
		s.End = alias(r.Bytes())
	case spanFrom:
	default:
		r.Malformed("unknown form of a span")
	}
	return s
}
