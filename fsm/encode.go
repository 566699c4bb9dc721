package fsm

import (
	"encoding/binary"
	"slices"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Encode appends a request to the requests in to, adds the facts about it, and returns
// them. The request must be valid, see kv.Request.Validate; so Encode has no error. It
// copies the values.
func Encode(to wire.Requests, r kv.Request) wire.Requests {
	size := 0
	to.Version = max(to.Version, versionOf(&r))
	for i := range r.If {
		c := &r.If[i]
		size += partSize(sizeOfCompare(c))
		to.Version = max(to.Version, encoder.comparisons[comparisonTags+byte(c.Kind)].since)
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

// versionOf returns the command version that requests of r's form need.
func versionOf(r *kv.Request) byte {
	sameKey := len(r.If) > 0 && r.If[0].Key == r.Then[0].Key
	return formVersion(len(r.If), len(r.Then), sameKey)
}

// formVersion returns the command version that requests with these numbers of compares and
// operations need. sameKey is set if the first compare and the first operation have the
// same key.
func formVersion(compares, ops int, sameKey bool) byte {
	if ops > 1 || compares > 1 || compares == 1 && !sameKey {
		return multiVersion
	}
	return 1
}

// partSize returns the number of bytes of a compare or an operation whose payload has n
// bytes.
func partSize(n int) int { return 1 + wire.UvarintLen(uint64(n)) + n }

// appendOp appends one operation: its tag, the payload's length, and the payload.
func appendOp(dst []byte, known *operation, o *kv.Op) []byte {
	dst = append(dst, known.tag)
	dst = binary.AppendUvarint(dst, uint64(known.size(o)))
	return known.encode(dst, o)
}

// ClockRequest returns the request that changes nothing. Its entry carries the time to the
// replicas.
func ClockRequest() wire.Requests { return internalRequest(tagClock, "") }

// RetireRequest returns the request that makes id a retired one, which may never be a
// member again.
func RetireRequest(id string) wire.Requests { return internalRequest(tagRetire, id) }

// CheckpointRequest returns the request that makes each replica record its state hash.
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

// AppendEntry appends a log entry to dst and returns the result, which has no spare
// capacity. The entry has the clock, in nanoseconds since the Unix epoch, and count
// requests, which are the concatenation of parts. A reader of the entry must understand
// version.
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
