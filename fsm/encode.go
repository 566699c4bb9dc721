package fsm

import (
	"encoding/binary"
	"slices"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Encode appends a request to those that to has, with what is known of it, and returns
// them. It does not fail: the request must be one that kv.Request.Validate accepts. The
// values are copied.
func Encode(to wire.Requests, r kv.Request) wire.Requests {
	size := 0
	to.Version = max(to.Version, versionOf(&r))
	for i := range r.If {
		size += partSize(sizeOfCompare(&r.If[i]))
	}
	for i := range r.Then {
		o := &r.Then[i]
		known := encoder.operations[o.Kind]
		size += partSize(known.size(o))
		to.Version = max(to.Version, known.since)
		if known.fills {
			to.Puts++
			to.PutBytes += int64(len(o.Key) + len(o.Value))
		}
	}
	to.Count++
	dst := slices.Grow(to.Data, wire.UvarintLen(uint64(size))+size)
	dst = binary.AppendUvarint(dst, uint64(size))
	for i := range r.If {
		c := &r.If[i]
		dst = append(dst, comparisonTags+byte(c.Kind))
		dst = binary.AppendUvarint(dst, uint64(sizeOfCompare(c)))
		dst = encodeCompare(dst, c)
	}
	for i := range r.Then {
		dst = appendOp(dst, encoder.operations[r.Then[i].Kind], &r.Then[i])
	}
	to.Data = dst
	return to
}

// versionOf returns the command version that has requests of r's form.
func versionOf(r *kv.Request) byte {
	sameKey := len(r.If) > 0 && r.If[0].Key == r.Then[0].Key
	return formVersion(len(r.If), len(r.Then), sameKey)
}

// formVersion returns the command version that has requests with so many compares and
// operations. In sameKey the first ones are of one key.
func formVersion(compares, ops int, sameKey bool) byte {
	if ops > 1 || compares > 1 || compares == 1 && !sameKey {
		return multiVersion
	}
	return 1
}

// partSize returns how many bytes a part of a request takes whose payload has n.
func partSize(n int) int { return 1 + wire.UvarintLen(uint64(n)) + n }

// appendOp appends one operation: its tag, the payload's length, and the payload.
func appendOp(dst []byte, known *operation, o *kv.Op) []byte {
	dst = append(dst, known.tag)
	dst = binary.AppendUvarint(dst, uint64(known.size(o)))
	return known.encode(dst, o)
}

// ClockRequest returns the request that does nothing but carry an entry's clock.
func ClockRequest() wire.Requests { return internalRequest(tagClock, "") }

// RetireRequest returns the request by which id never may be a member again.
func RetireRequest(id string) wire.Requests { return internalRequest(tagRetire, id) }

// CheckpointRequest returns the request that has each replica note its state hash.
func CheckpointRequest() wire.Requests { return internalRequest(tagCheckpoint, "") }

// internalRequest returns a request of the leader's own.
func internalRequest(tag byte, key string) wire.Requests {
	known, o := encoder.operations[tag], kv.Op{Key: key}
	return wire.Requests{
		Data: wire.AppendBytes(nil, appendOp(nil, known, &o)), Count: 1, Version: known.since, Internal: true,
	}
}

// entryFormat is the first byte of a log entry.
const entryFormat = 2

// AppendEntry appends a log entry to dst and returns it: the clock in nanoseconds since
// the Unix epoch, and count requests, which are parts one after the other. A reader must
// understand version. The result has no room that is not used.
func AppendEntry(dst []byte, clock int64, version byte, count int, parts ...[]byte) []byte {
	size := 1 + 1 + 8 + wire.UvarintLen(uint64(count))
	for _, part := range parts {
		size += len(part)
	}
	dst = slices.Grow(dst, size)
	dst = append(dst, entryFormat, version)
	dst = binary.BigEndian.AppendUint64(dst, uint64(clock))
	dst = binary.AppendUvarint(dst, uint64(count))
	for _, part := range parts {
		dst = append(dst, part...)
	}
	return dst
}
