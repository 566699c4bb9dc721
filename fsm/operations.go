package fsm

import (
	"encoding/binary"
	"math"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Tags of the parts of a request. The values are part of the log's format.
const (
	tagPut       byte = 0x01
	tagDelete    byte = 0x02 // of one key
	tagPutMore   byte = 0x03 // with attributes, or for the Item before it
	tagDeleteAll byte = 0x04 // of a span, or for the Items before it
	tagRange     byte = 0x05
	tagAdd       byte = 0x06
	tagAppend    byte = 0x07
	tagRequest   byte = 0x08
	tagPutTTL    byte = 0x09 // with a time to live
	tagAddTTL    byte = 0x0a
	tagAppendTTL byte = 0x0b
	tagTouch     byte = 0x0c
	tagPersist   byte = 0x0d
	tagPutLease  byte = 0x0e // attached to a lease
	tagGrant     byte = 0x0f
	tagRevoke    byte = 0x10

	tagAbsent      byte = 0x41
	tagPresent     byte = 0x42
	tagModRevision byte = 0x43
	tagCompare     byte = 0x44 // all others

	tagElse byte = 0x50 // the operations of the branch Else; nothing follows it
	tagOnce byte = 0x60 // the idempotency key; nothing comes before it

	// Operations of the leader itself.
	tagClock        byte = 0x81
	tagRetire       byte = 0x82
	tagCheckpoint   byte = 0x83
	tagCompact      byte = 0x84
	tagSettings     byte = 0x85
	tagExpire       byte = 0x86
	tagEvict        byte = 0x8e
	tagExpireLeases byte = 0x88
)

// operation is one row of the table of operations.
type operation struct {
	tag      byte
	kind     kv.OpKind // of the decoded Op; an operation of the leader itself has its tag
	name     string
	since    byte // the lowest command version that has it
	internal bool // only the leader itself may write it, as a request of its own

	encode func(dst []byte, o *kv.Op) []byte                            // appends the payload
	decode func(d *decoding, payload wire.Reader, o *kv.Op) wire.Reader // reads the payload; remaining bytes are refused
}

// operations is the table of operations. Beside it, only tagOf and tx distinguish them.
var operations = []operation{
	{tag: tagPut, kind: kv.OpPut, name: "put", since: 1, encode: encodePut, decode: decodePut},
	{tag: tagDelete, kind: kv.OpDelete, name: "delete", since: 1, encode: encodeDelete, decode: decodeDelete},
	{tag: tagPutMore, kind: kv.OpPut, name: "put with attributes", since: 3, encode: encodePutMore, decode: decodePutMore},
	{tag: tagDeleteAll, kind: kv.OpDelete, name: "delete of a span", since: 3, encode: encodeDeleteAll, decode: decodeDeleteAll},
	{tag: tagRange, kind: kv.OpRange, name: "range", since: 3, encode: encodeRange, decode: decodeRange},
	{tag: tagAdd, kind: kv.OpAdd, name: "add", since: 3, encode: encodeAdd, decode: decodeAdd},
	{tag: tagAppend, kind: kv.OpAppend, name: "append", since: 3, encode: encodeAppend, decode: decodeAppend},
	{tag: tagRequest, kind: kv.OpRequest, name: "request", since: 3, encode: encodeNested, decode: decodeNested},

	{tag: tagPutTTL, kind: kv.OpPut, name: "put with a time to live", since: ttlVersion, encode: encodePutTTL, decode: decodePutTTL},
	{tag: tagAddTTL, kind: kv.OpAdd, name: "add with a time to live", since: ttlVersion, encode: encodeAddTTL, decode: decodeAddTTL},
	{tag: tagAppendTTL, kind: kv.OpAppend, name: "append with a time to live", since: ttlVersion, encode: encodeAppendTTL, decode: decodeAppendTTL},
	{tag: tagTouch, kind: kv.OpTouch, name: "touch", since: ttlVersion, encode: encodeTouch, decode: decodeTouch},
	{tag: tagPersist, kind: kv.OpPersist, name: "persist", since: ttlVersion, encode: encodePersist, decode: decodePersist},

	{tag: tagPutLease, kind: kv.OpPut, name: "put with a lease", since: leaseVersion, encode: encodePutLease, decode: decodePutLease},
	{tag: tagGrant, kind: kv.OpGrant, name: "grant", since: leaseVersion, encode: encodeGrant, decode: decodeGrant},
	{tag: tagRevoke, kind: kv.OpRevoke, name: "revoke", since: leaseVersion, encode: encodeRevoke, decode: decodeRevoke},

	// Changes nothing, carries the entry's clock: the first entry of every term.
	{tag: tagClock, kind: kv.OpKind(tagClock), name: "clock", since: 1, internal: true, encode: encodeKey, decode: decodeNothing},
	// The key is a raft ServerID that may never be a member again.
	{tag: tagRetire, kind: kv.OpKind(tagRetire), name: "retire", since: 1, internal: true, encode: encodeKey, decode: decodeKey},
	// Records the state hash after the entry; see Checkpoint.
	{tag: tagCheckpoint, kind: kv.OpKind(tagCheckpoint), name: "checkpoint", since: 2, internal: true, encode: encodeKey, decode: decodeNothing},
	// Compacts the history.
	{tag: tagCompact, kind: kv.OpKind(tagCompact), name: "compact", since: 3, internal: true, encode: encodeValue, decode: decodeCompact},
	// Replaces the cluster's settings.
	{tag: tagSettings, kind: kv.OpKind(tagSettings), name: "settings", since: 3, internal: true, encode: encodeValue, decode: decodeSettings},
	// Removes keys whose deadlines have passed.
	{tag: tagExpire, kind: kv.OpKind(tagExpire), name: "expire", since: ttlVersion, internal: true, encode: encodeValue, decode: decodeExpire},
	// Removes keys to make room.
	{tag: tagEvict, kind: kv.OpKind(tagEvict), name: "evict", since: quotaVersion, internal: true, encode: encodeValue, decode: decodeEvict},
	// Ends leases that have run out.
	{tag: tagExpireLeases, kind: kv.OpKind(tagExpireLeases), name: "expire leases", since: leaseVersion, internal: true, encode: encodeValue, decode: decodeExpireLeases},
}

// tagOf returns the tag of an operation of clients. If several rows have the operation, it
// is the one that the lowest command version has.
func tagOf(o *kv.Op) byte {
	switch o.Kind {
	case kv.OpPut:
		if o.Lease != 0 {
			return tagPutLease
		}
		if o.TTL != 0 {
			return tagPutTTL
		}
		if o.WantPrev || o.Flags != 0 || o.ContentType != "" {
			return tagPutMore
		}
		return tagPut
	case kv.OpDelete:
		if _, one := o.Span.Key(); !one || o.WantPrev {
			return tagDeleteAll
		}
		return tagDelete
	case kv.OpRange:
		return tagRange
	case kv.OpAdd:
		if o.TTL != 0 {
			return tagAddTTL
		}
		return tagAdd
	case kv.OpAppend:
		if o.TTL != 0 {
			return tagAppendTTL
		}
		return tagAppend
	case kv.OpTouch:
		return tagTouch
	case kv.OpPersist:
		return tagPersist
	case kv.OpGrant:
		return tagGrant
	case kv.OpRevoke:
		return tagRevoke
	}
	return tagRequest
}

// comparison is one row of the table of comparisons.
type comparison struct {
	tag    byte
	name   string
	since  byte                                                 // the lowest command version that has it
	encode func(dst []byte, c *kv.Compare) []byte               // appends the payload
	decode func(payload wire.Reader, c *kv.Compare) wire.Reader // reads the payload; remaining bytes are refused
}

// comparisons is the table of comparisons. Beside it, only comparisonTag distinguishes them.
var comparisons = []comparison{
	{tagAbsent, "absent", 1, encodeKeyCompare, func(payload wire.Reader, c *kv.Compare) wire.Reader {
		_, payload = keyCompare(payload, c)
		c.Target, c.Relation = kv.TargetVersion, kv.Equal
		return payload
	}},
	{tagPresent, "present", 1, encodeKeyCompare, func(payload wire.Reader, c *kv.Compare) wire.Reader {
		_, payload = keyCompare(payload, c)
		c.Target, c.Relation = kv.TargetVersion, kv.Greater
		return payload
	}},
	{tagModRevision, "mod revision", 1, encodeKeyCompare, decodeModRevision},
	{tagCompare, "compare", 3, encodeCompare, decodeCompare},
}

// comparisonTag returns the tag of a compare: if several rows have it, the one that the
// lowest command version has.
func comparisonTag(c *kv.Compare) byte {
	if _, one := c.Span.Key(); !one {
		return tagCompare
	}
	switch {
	case c.Target == kv.TargetVersion && c.Relation == kv.Equal && c.Number == 0:
		return tagAbsent
	case c.Target == kv.TargetVersion && c.Relation == kv.Greater && c.Number == 0:
		return tagPresent
	case c.Target == kv.TargetModRevision && c.Relation == kv.Equal && c.Number > 0:
		return tagModRevision
	}
	return tagCompare
}

// encodeKeyCompare appends a revision and a key, the payload of the comparisons of version 1.
func encodeKeyCompare(dst []byte, c *kv.Compare) []byte {
	return append(binary.AppendUvarint(dst, uint64(c.Number)), c.Span.Start...)
}

// keyCompare reads what encodeKeyCompare has written.
func keyCompare(payload wire.Reader, c *kv.Compare) (revision uint64, rest wire.Reader) {
	revision = payload.Uvarint()
	c.Span = kv.One(alias(payload.Rest()))
	return revision, payload
}

// decodeModRevision reads a comparison that holds if the key exists and has the revision.
func decodeModRevision(payload wire.Reader, c *kv.Compare) wire.Reader {
	revision, payload := keyCompare(payload, c)
	c.Target, c.Relation, c.Number = kv.TargetModRevision, kv.Equal, int64(revision)
	if revision == 0 || revision > math.MaxInt64 {
		c.Relation, c.Number = kv.Less, 0 // no key has it: never holds
	}
	return payload
}

func encodeCompare(dst []byte, c *kv.Compare) []byte {
	dst = append(dst, byte(c.Target), byte(c.Relation))
	dst = appendSpan(dst, c.Span)
	if c.Target == kv.TargetValue {
		return append(dst, c.Value...)
	}
	return binary.AppendVarint(dst, c.Number)
}

func decodeCompare(payload wire.Reader, c *kv.Compare) wire.Reader {
	c.Target, c.Relation = kv.Target(payload.Byte()), kv.Relation(payload.Byte())
	if c.Target < kv.TargetValue || c.Target > kv.TargetLease || c.Relation < kv.Equal || c.Relation > kv.Less {
		payload.Malformed("unknown target or relation")
		return payload
	}
	c.Span = readSpan(&payload)
	if c.Target == kv.TargetValue {
		c.Value = payload.Rest()
	} else {
		c.Number = payload.Varint()
	}
	return payload
}

// codec has the tables of a program that understands command versions up to version, by
// tag.
type codec struct {
	version     byte
	operations  [256]*operation
	comparisons [256]*comparison
}

// newCodec returns the tables of a program that understands versions up to version.
func newCodec(version byte) *codec {
	c := &codec{version: version}
	for i := range operations {
		if o := &operations[i]; o.since <= version {
			c.operations[o.tag] = o
		}
	}
	for i := range comparisons {
		if o := &comparisons[i]; o.since <= version {
			c.comparisons[o.tag] = o
		}
	}
	return c
}

// newest has the tables of this program. The encoder has all operations: the leader decides
// whether one may be written when it enters the log.
var newest, encoder *codec

func init() { // decoding of a nested request needs the tables
	newest, encoder = newCodec(Version), newCodec(255)
}
