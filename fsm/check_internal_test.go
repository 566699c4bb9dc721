package fsm

import (
	"errors"
	"testing"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// TestEncode_VersionOfEachRow shows that a request needs the version of each operation and
// comparison that it has. If it said less, members that lack one would stop at the entry.
func TestEncode_VersionOfEachRow(t *testing.T) {
	const newer = 9
	for i := range comparisons {
		row := &comparisons[i]
		before := row.since
		row.since = newer
		got := Encode(wire.Requests{}, kv.Put("k", nil, kv.Compare{Kind: row.kind, Key: "k"}))
		row.since = before
		if got.Version != newer {
			t.Errorf("comparison %s of version %d: the request says version %d", row.name, newer, got.Version)
		}
	}
	for i := range operations {
		row := &operations[i]
		if row.internal {
			continue
		}
		before := row.since
		row.since = newer
		got := Encode(wire.Requests{}, kv.Request{Then: []kv.Op{{Kind: kv.OpKind(row.tag), Key: "k"}}})
		row.since = before
		if got.Version != newer {
			t.Errorf("operation %s of version %d: the request says version %d", row.name, newer, got.Version)
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
