package fsm

import (
	"errors"
	"testing"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// requestsOfRows has a request for each row that clients may use, by its tag. The versions
// of the rows are those of their requests.
var requestsOfRows = map[byte]kv.Request{
	tagPut:       kv.Put("k", nil),
	tagDelete:    kv.Delete("k"),
	tagPutMore:   {Then: []kv.Op{{Kind: kv.OpPut, Key: "k", Flags: 1}}},
	tagDeleteAll: {Then: []kv.Op{{Kind: kv.OpDelete, Span: kv.Prefix("k")}}},
	tagRange:     {Then: []kv.Op{{Kind: kv.OpRange}}},
	tagAdd:       {Then: []kv.Op{{Kind: kv.OpAdd, Key: "k"}}},
	tagAppend:    {Then: []kv.Op{{Kind: kv.OpAppend, Key: "k", MaxBytes: 1}}},
	tagRequest:   {Then: []kv.Op{{Kind: kv.OpRequest, Nested: &kv.Request{}}}},
	tagPutTTL:    kv.PutTTL("k", nil, kv.MinTTL),
	tagAddTTL:    {Then: []kv.Op{{Kind: kv.OpAdd, Key: "k", TTL: kv.MinTTL}}},
	tagAppendTTL: {Then: []kv.Op{{Kind: kv.OpAppend, Key: "k", MaxBytes: 1, TTL: kv.MinTTL}}},
	tagTouch:     kv.Touch("k", kv.MinTTL),
	tagPersist:   kv.Persist("k"),
	tagPutLease:  {Then: []kv.Op{{Kind: kv.OpPut, Key: "k", Lease: -1}}},
	tagGrant:     kv.Grant(0, kv.MinTTL),
	tagRevoke:    kv.Revoke(-1),

	tagAbsent:      kv.Put("k", nil, kv.Absent("k")),
	tagPresent:     kv.Put("k", nil, kv.Present("k")),
	tagModRevision: kv.Put("k", nil, kv.ModRevision("k", 1)),
	tagCompare:     kv.Put("k", nil, kv.Compare{Span: kv.One("k"), Target: kv.TargetLease, Relation: kv.Equal}),
}

// TestEncode_VersionOfEachRow shows that a request needs the version of each operation and
// comparison that it has. If it said less, members that lack one would stop at the entry.
func TestEncode_VersionOfEachRow(t *testing.T) {
	const newer = 9
	rows := map[byte]*byte{} // their versions
	for i := range operations {
		if !operations[i].internal {
			rows[operations[i].tag] = &operations[i].since
		}
	}
	for i := range comparisons {
		rows[comparisons[i].tag] = &comparisons[i].since
	}
	for tag, since := range rows {
		request, ok := requestsOfRows[tag]
		if !ok {
			t.Errorf("row %#x has no request", tag)
			continue
		}
		before := *since
		if got := Encode(wire.Requests{}, request); got.Version != before {
			t.Errorf("row %#x of version %d: the request says version %d", tag, before, got.Version)
		}
		*since = newer
		got := Encode(wire.Requests{}, request)
		*since = before
		if got.Version != newer {
			t.Errorf("row %#x of version %d: the request says version %d", tag, newer, got.Version)
		}
	}
}

// TestCheck_ValuesTogether shows that another node can't bring a request into the log whose
// values together are larger than one value may be.
func TestCheck_ValuesTogether(t *testing.T) {
	half := make([]byte, kv.LimitMaxValueBytes/2)
	two := func(second []byte) kv.Request {
		return kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "a", Value: half}, {Kind: kv.OpPut, Key: "b", Value: second}}}
	}
	for _, tt := range []struct {
		name     string
		requests wire.Requests
		ok       bool
	}{
		{"the limit", Encode(wire.Requests{}, two(half)), true},
		{"a byte more", Encode(wire.Requests{}, two(append(half, 0))), false},
		{"a byte more in two requests", Encode(Encode(wire.Requests{}, kv.Put("a", half)), kv.Put("b", append(half, 0))), true},
	} {
		_, err := newest.check(tt.requests.Version, tt.requests.Count, tt.requests.Data)
		invalid := (*kv.ValidationError)(nil)
		if tt.ok != (err == nil) || err != nil && !errors.As(err, &invalid) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}
