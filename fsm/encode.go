package fsm

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Encode appends a request to the requests in to, adds the facts about it, and returns
// them. The request must be valid, see kv.Request.Validate; so Encode has no error. It
// copies the values.
func Encode(to wire.Requests, r kv.Request) wire.Requests {
	guess := guessBody(&r)
	to.Version = max(to.Version, versionOf(&r))
	to.Count++
	note(&to, &r)
	dst, field := wire.OpenField(slices.Grow(to.Data, guess+binary.MaxVarintLen64), guess)
	if r.IdempotencyKey == "" {
		dst = appendBody(dst, &r)
	} else {
		to.Keyed++
		dst = appendOnce(dst, &r)
	}
	to.Data = field.Close(dst)
	return to
}

// appendOnce appends a request with an idempotency key: the key with the fingerprint of all
// other parts, and these.
func appendOnce(dst []byte, r *kv.Request) []byte {
	var print fingerprint
	dst = binary.AppendUvarint(append(dst, tagOnce), uint64(len(print)+len(r.IdempotencyKey)))
	at := len(dst)
	dst = append(append(dst, print[:]...), r.IdempotencyKey...)
	parts := len(dst)
	dst = appendBody(dst, r)
	print = fingerprintOf(r, dst[parts:])
	copy(dst[at:], print[:])
	return dst
}

// note adds the puts of a request to the facts about it: those of both branches, because
// the state decides which one is done.
func note(to *wire.Requests, r *kv.Request) {
	for _, ops := range [...][]kv.Op{r.Then, r.Else} {
		for i := range ops {
			switch o := &ops[i]; o.Kind {
			case kv.OpPut, kv.OpAdd, kv.OpAppend, kv.OpTouch, kv.OpPersist:
				to.Puts++
				to.PutBytes += mvcc.Bytes(itemOf(o)) + int64(addedBytes(o))
				if rewrites(o) {
					to.Appends++
				}
			case kv.OpGrant:
				to.Puts++
				to.PutBytes += leaseBytes
			case kv.OpRequest:
				note(to, o.Nested)
			}
		}
	}
}

// maxNumberLen is the maximum length of the text of a number of 64 bits.
const maxNumberLen = 20

// maxDeadlineBytes is the maximum number of bytes that a deadline adds to an item.
const maxDeadlineBytes = 10

// itemOf returns the item that an operation on one key makes if the key does not exist,
// without its value. Its deadline takes as many bytes as any.
func itemOf(o *kv.Op) *kv.Item {
	it := &kv.Item{Key: o.Key, Lease: o.Lease, Flags: o.Flags, ContentType: o.ContentType}
	if o.TTL != 0 {
		it.Deadline = math.MaxInt64
	}
	return it
}

// rewrites reports whether an operation writes the value of a key again.
func rewrites(o *kv.Op) bool {
	return o.Kind == kv.OpAppend || o.Kind == kv.OpTouch || o.Kind == kv.OpPersist
}

// addedBytes returns the number of bytes that an operation on one key makes a value longer,
// if the key does not exist yet.
func addedBytes(o *kv.Op) int {
	if o.Kind == kv.OpAdd {
		return maxNumberLen
	}
	return len(o.Value)
}

// Command versions of forms of a request.
const (
	// multiVersion is the lowest one that has several operations or compares, and a compare
	// of another key than the operation's.
	multiVersion = 2
	// elseVersion is the lowest one that has two branches, a branch without an operation,
	// more than multiOps operations or compares, and two deletes of one key.
	elseVersion = 3

	multiOps = 128
)

// versionOf returns the lowest command version that has the request.
func versionOf(r *kv.Request) byte {
	needs := formVersion(r)
	if r.IdempotencyKey != "" {
		needs = answersVersion
	}
	for i := range r.If {
		needs = max(needs, encoder.comparisons[comparisonTag(&r.If[i])].since)
	}
	for _, ops := range [...][]kv.Op{r.Then, r.Else} {
		for i := range ops {
			o := &ops[i]
			needs = max(needs, encoder.operations[tagOf(o)].since)
			if o.Kind == kv.OpRequest {
				needs = max(needs, versionOf(o.Nested))
			}
		}
	}
	return needs
}

// formVersion returns the lowest command version that has requests of r's form.
func formVersion(r *kv.Request) byte {
	compares, ops := len(r.If), len(r.Then)
	switch {
	case ops == 0 || len(r.Else) > 0 || max(compares, ops) > multiOps || changesTwice(r.Then):
		return elseVersion
	case ops > 1 || compares > 1 || compares == 1 && r.If[0].Span.Start != keyOf(&r.Then[0]):
		return multiVersion
	}
	return 1
}

// keyOf returns the key of an operation, or the first key of its span.
func keyOf(o *kv.Op) string {
	if o.Key != "" {
		return o.Key
	}
	return o.Span.Start
}

// changesTwice reports whether two operations have the same key.
func changesTwice(ops []kv.Op) bool {
	for i := range ops {
		for j := range i {
			if keyOf(&ops[i]) == keyOf(&ops[j]) {
				return true
			}
		}
	}
	return false
}

// guessBody returns about the number of bytes of a request's body.
func guessBody(r *kv.Request) int {
	n := 0
	if r.IdempotencyKey != "" {
		n = partSize(len(fingerprint{}) + len(r.IdempotencyKey))
	}
	for i := range r.If {
		n += partSize(guessCompare(&r.If[i]))
	}
	for _, ops := range [...][]kv.Op{r.Then, r.Else} {
		for i := range ops {
			n += partSize(guessOp(&ops[i]))
		}
	}
	return n
}

// guessCompare and guessOp return about the number of bytes of a payload.
func guessCompare(c *kv.Compare) int { return 1 + len(c.Span.Start) + len(c.Value) }

func guessOp(o *kv.Op) int {
	n := 1 + len(o.Key) + len(o.Span.Start) + len(o.ContentType) + len(o.Value)
	if o.Nested != nil {
		n += guessBody(o.Nested)
	}
	return n
}

// partSize returns the number of bytes of a part whose payload has n bytes.
func partSize(n int) int { return 1 + wire.UvarintLen(uint64(n)) + n }

// appendBody appends the parts of a request.
func appendBody(dst []byte, r *kv.Request) []byte {
	for i := range r.If {
		c := &r.If[i]
		tag := comparisonTag(c)
		payload, field := wire.OpenField(append(dst, tag), guessCompare(c))
		dst = field.Close(encoder.comparisons[tag].encode(payload, c))
	}
	for i := range r.Then {
		dst = appendOp(dst, tagOf(&r.Then[i]), &r.Then[i])
	}
	if len(r.Else) == 0 {
		return dst
	}
	dst, field := wire.OpenField(append(dst, tagElse), guessBody(&kv.Request{Else: r.Else}))
	for i := range r.Else {
		dst = appendOp(dst, tagOf(&r.Else[i]), &r.Else[i])
	}
	return field.Close(dst)
}

// appendOp appends one operation: its tag, the payload's length, and the payload.
func appendOp(dst []byte, tag byte, o *kv.Op) []byte {
	payload, field := wire.OpenField(append(dst, tag), guessOp(o))
	return field.Close(encoder.operations[tag].encode(payload, o))
}

// ClockRequest returns the request that changes nothing. Its entry carries the time to the
// replicas.
func ClockRequest() wire.Requests { return internalRequest(tagClock, kv.Op{}) }

// RetireRequest returns the request that makes id a retired one, which may never be a
// member again.
func RetireRequest(id string) wire.Requests { return internalRequest(tagRetire, kv.Op{Key: id}) }

// CheckpointRequest returns the request that makes each replica record its state hash.
func CheckpointRequest() wire.Requests { return internalRequest(tagCheckpoint, kv.Op{}) }

// HistoryRequest returns the request that begins the history, if there is none yet: a clock
// request of the command version that has it.
func HistoryRequest() wire.Requests {
	r := ClockRequest()
	r.Version = historyVersion
	return r
}

// internalRequest returns a request of the leader's own.
func internalRequest(tag byte, o kv.Op) wire.Requests {
	return wire.Requests{
		Data: wire.AppendBytes(nil, appendOp(nil, tag, &o)), Count: 1, Version: encoder.operations[tag].since, Internal: true,
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
