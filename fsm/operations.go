package fsm

import (
	"encoding/binary"
	"strings"

	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Tags of the leader's own operations, and the distance of a comparison's tag from its
// kv.CompareKind. An operation of clients has its kv.OpKind as tag. The values are part
// of the log's format.
const (
	tagClock      byte = 0x81
	tagRetire     byte = 0x82
	tagCheckpoint byte = 0x83

	comparisonTags byte = 0x40
)

// operation is one row of the table of operations.
type operation struct {
	tag      byte
	name     string
	since    byte // the lowest command version that has it
	internal bool // only the leader itself may write it, as a request of its own
	fills    bool // it needs room on disk and in memory
	keyed    bool // it has a key of clients, and a result

	size   func(*kv.Op) int                           // number of bytes that encode appends
	encode func([]byte, *kv.Op) []byte                // appends the payload
	decode func(wire.Reader, *decodedOp) wire.Reader  // reads the payload; remaining bytes are refused
	apply  func(*tx, *decodedOp) (modRevision uint64) // returns that of the key afterwards
}

// operations is the table of operations. No other code distinguishes them.
var operations = []operation{
	{
		tag: byte(kv.OpPut), name: "put", since: 1, fills: true, keyed: true,
		size:   func(o *kv.Op) int { return wire.UvarintLen(uint64(len(o.Key))) + len(o.Key) + len(o.Value) },
		encode: func(dst []byte, o *kv.Op) []byte { return append(wire.AppendBytes(dst, o.Key), o.Value...) },
		decode: decodeItem,
		apply:  (*tx).put,
	},
	{
		tag: byte(kv.OpDelete), name: "delete", since: 1, keyed: true,
		size: sizeOfKey, encode: encodeKey, decode: decodeKey, apply: (*tx).delete,
	},
	{ // changes nothing, carries the entry's clock: the first entry of every term
		tag: tagClock, name: "clock", since: 1, internal: true,
		size: sizeOfKey, encode: encodeKey, decode: decodeNothing, apply: func(*tx, *decodedOp) uint64 { return 0 },
	},
	{ // the key is a raft ServerID that may never be a member again
		tag: tagRetire, name: "retire", since: 1, internal: true,
		size: sizeOfKey, encode: encodeKey, decode: decodeKey,
		apply: func(t *tx, o *decodedOp) uint64 { t.state.retire(strings.Clone(o.key)); return 0 },
	},
	{ // records the state hash after the entry; see Checkpoint
		tag: tagCheckpoint, name: "checkpoint", since: 2, internal: true,
		size: sizeOfKey, encode: encodeKey, decode: decodeNothing,
		apply: func(t *tx, _ *decodedOp) uint64 { t.checkpoint = true; return 0 },
	},
}

func sizeOfKey(o *kv.Op) int                { return len(o.Key) }
func encodeKey(dst []byte, o *kv.Op) []byte { return append(dst, o.Key...) }

func decodeItem(r wire.Reader, o *decodedOp) wire.Reader {
	o.key, o.value = alias(r.Bytes()), r.Rest()
	return r
}

func decodeKey(r wire.Reader, o *decodedOp) wire.Reader {
	o.key = alias(r.Rest())
	return r
}

func decodeNothing(r wire.Reader, _ *decodedOp) wire.Reader { return r }

// comparison is one row of the table of comparisons. All have the same payload, the
// revision, as a uvarint, and the key.
type comparison struct {
	kind  kv.CompareKind
	name  string
	since byte // the lowest command version that has it
	holds func(it omap.Item, exists bool, revision uint64) bool
}

// comparisons is the table of comparisons.
var comparisons = []comparison{
	{kv.IsAbsent, "absent", 1, func(_ omap.Item, exists bool, _ uint64) bool { return !exists }},
	{kv.IsPresent, "present", 1, func(_ omap.Item, exists bool, _ uint64) bool { return exists }},
	{kv.HasModRevision, "mod revision", 1, func(it omap.Item, exists bool, revision uint64) bool {
		return exists && it.ModRevision == revision
	}},
}

func sizeOfCompare(c *kv.Compare) int { return wire.UvarintLen(c.Revision) + len(c.Key) }

func encodeCompare(dst []byte, c *kv.Compare) []byte {
	return append(binary.AppendUvarint(dst, c.Revision), c.Key...)
}

// multiVersion is the lowest command version that has requests with several operations or
// compares, and requests with a compare of another key than the operation's.
const multiVersion = 2

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
			c.comparisons[comparisonTags+byte(o.kind)] = o
		}
	}
	return c
}

// newest has the tables of this program. The encoder has all operations: the leader decides
// whether one may be written when it enters the log.
var (
	newest  = newCodec(Version)
	encoder = newCodec(255)
)
