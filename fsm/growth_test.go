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
	mustApply(t, f, 1, 1, encode(put("there", 100)))
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
