package fsm_test

import (
	"testing"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// TestFSM_Growth shows that requests make the data longer by the length of their puts,
// minus that of the replaced values. A key that occurs twice counts once, and a compare may
// not hold.
func TestFSM_Growth(t *testing.T) {
	const perKey = 191
	f := newFSM(t)
	put := func(key string, size int, compares ...kv.Compare) kv.Request {
		return kv.Put(key, make([]byte, size), compares...)
	}
	typed := func(key string, size int, compares ...kv.Compare) kv.Request {
		r := put(key, size, compares...)
		r.Then[0].ContentType, r.Then[0].Flags = "application/json", 300 // 1, 16 and 2 bytes
		return r
	}
	mustApply(t, f, 1, 1, encode(put("there", 100)), encode(typed("typed", 100)))
	if got := f.Size(); got != 105+105+19 {
		t.Errorf("got a size of %d bytes", got)
	}
	absent, present := kv.Absent("there"), kv.Present("k")
	for _, tt := range []struct {
		name     string
		requests []kv.Request
		want     int64 // bytes of keys and values
		keys     int64 // number of new keys
	}{
		{"new", []kv.Request{put("k", 10)}, 11, 1},
		{"new twice", []kv.Request{put("k", 10), put("k", 30)}, 31, 1},
		{"longer", []kv.Request{put("there", 150)}, 50, 0},
		{"shorter", []kv.Request{put("there", 50)}, -50, 0},
		{"shorter, if", []kv.Request{put("there", 50, absent)}, 0, 0},
		{"shorter, if, and longer", []kv.Request{put("there", 50, absent), put("there", 120)}, 20, 0},
		{"deleted and new", []kv.Request{kv.Delete("there"), put("k", 10, present)}, 11, 1},
		{"with attributes", []kv.Request{typed("k", 10)}, 11 + 19, 1},
		{"attributes", []kv.Request{typed("there", 100)}, 19, 0},
		{"attributes, if", []kv.Request{typed("there", 100, absent), typed("there", 100)}, 19, 0},
		{"without attributes", []kv.Request{put("typed", 100)}, -19, 0},
		{"append keeps attributes", []kv.Request{appendTo("typed", 5)}, 5, 0},
		{"two at once", []kv.Request{{Then: append(put("k", 10).Then, put("there", 90).Then...)}}, 1, 1},
		{"two at once, if", []kv.Request{{If: []kv.Compare{absent}, Then: append(put("k", 10).Then, put("there", 90).Then...)}}, 11, 1},
	} {
		var all wire.Requests
		for _, r := range tt.requests {
			all = fsm.Encode(all, r)
		}
		if got := f.Growth(all, 0); got != tt.want {
			t.Errorf("%s: got %d bytes, want %d", tt.name, got, tt.want)
		}
		if got := f.Growth(all, perKey); got != tt.want+tt.keys*perKey {
			t.Errorf("%s, in memory: got %d bytes, want %d", tt.name, got, tt.want+tt.keys*perKey)
		}
	}
}

// appendTo returns a request that appends size bytes to a key.
func appendTo(key string, size int) kv.Request {
	return kv.Request{Then: []kv.Op{{Kind: kv.OpAppend, Key: key, Value: make([]byte, size), MaxBytes: kv.LimitMaxValueBytes}}}
}

// TestFSM_Rewritten shows that each append counts for the item that it replaces, also for
// one that an earlier request of the batch makes, and that nothing else counts.
func TestFSM_Rewritten(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, 1, encode(kv.Put("k", make([]byte, 1000))))
	nested := kv.Request{If: []kv.Compare{kv.Absent("l")}, Else: []kv.Op{{Kind: kv.OpRequest, Nested: new(appendTo("k", 5))}}}
	for name, tt := range map[string]struct {
		requests []kv.Request
		want     int64
	}{
		"Put":    {[]kv.Request{kv.Put("k", make([]byte, 5)), kv.Delete("k")}, 0},
		"Absent": {[]kv.Request{appendTo("l", 5)}, 0},
		"Once":   {[]kv.Request{appendTo("k", 5)}, 1001},
		"Thrice": {[]kv.Request{appendTo("k", 5), appendTo("k", 7), appendTo("k", 5)}, 1001 + 1006 + 1013},
		"Made":   {[]kv.Request{kv.Put("l", make([]byte, 10)), appendTo("l", 5)}, 11},
		"Nested": {[]kv.Request{nested}, 1001},
	} {
		var all wire.Requests
		for _, r := range tt.requests {
			all = fsm.Encode(all, r)
		}
		if got := f.Rewritten(all); got != tt.want {
			t.Errorf("%s: got %d bytes, want %d", name, got, tt.want)
		}
	}
}
