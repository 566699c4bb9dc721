package omap_test

import (
	"reflect"
	"testing"

	"github.com/kvorum/kvorum/internal/omap"
)

// TestRecord_HoldsItsItem shows that a Record returns the Item that it was made of, with the
// lowest and the highest value of each number.
func TestRecord_HoldsItsItem(t *testing.T) {
	for name, it := range map[string]omap.Item{
		"empty":    {Value: []byte{}},
		"small":    {Key: "k", Value: []byte("v"), CreateRevision: 1, ModRevision: 2, Version: 3, Deadline: 4, Created: 5, Updated: 6},
		"greatest": {Key: "k", Value: []byte("v"), CreateRevision: 1, ModRevision: 1<<64 - 1, Version: 1<<64 - 1, Deadline: 1<<63 - 1, Created: 1<<63 - 1, Updated: 1<<63 - 1},
		"backward": {Key: "k", Value: []byte("v"), CreateRevision: 1 << 63, ModRevision: 1, Deadline: -1, Created: 7, Updated: -7},
	} {
		r := omap.NewRecord(it)
		if got := r.Item(); !reflect.DeepEqual(got, it) {
			t.Errorf("%s: got %+v, want %+v", name, got, it)
		}
		if r.IsZero() || r.Key() != it.Key || string(r.KeyBytes()) != it.Key || string(r.Value()) != string(it.Value) ||
			r.Size() != int64(len(it.Key)+len(it.Value)) || r.Deadline() != it.Deadline || r.Expires() != (it.Deadline != 0) {
			t.Errorf("%s: the record's methods differ from its item", name)
		}
	}
	if none := (omap.Record{}); !none.IsZero() || !reflect.DeepEqual(none.Item(), omap.Item{}) {
		t.Error("the zero record is one")
	}
}

// TestRecord_ExpiresAtItsDeadline shows that an Item and its Record expire at their deadline,
// and not before it.
func TestRecord_ExpiresAtItsDeadline(t *testing.T) {
	for _, tt := range []struct {
		deadline, now int64
		want          bool
	}{{0, 1 << 62, false}, {10, 9, false}, {10, 10, true}, {10, 11, true}, {-5, 0, true}} {
		it := omap.Item{Key: "k", Deadline: tt.deadline}
		if got := omap.NewRecord(it).Expired(tt.now); got != tt.want || it.Expired(tt.now) != tt.want {
			t.Errorf("deadline %d at %d: got %t, %t, want %t", tt.deadline, tt.now, got, it.Expired(tt.now), tt.want)
		}
	}
}

// TestRecord_WordStaysWithTheKey shows that the Word of a key is 0 at first, stays when the
// key changes, and is lost when the key is removed.
func TestRecord_WordStaysWithTheKey(t *testing.T) {
	m := omap.New(1)
	m.Set(omap.Item{Key: "k"})
	if got := m.Record("k").Word().Add(7); got != 7 {
		t.Errorf("got %d, want 7", got)
	}
	m.Set(omap.Item{Key: "k", Value: []byte("next")})
	old := m.Put(omap.NewRecord(omap.Item{Key: "k", Value: []byte("last")}))
	if string(old.Value()) != "next" || old.Word().Load() != 7 || m.Record("k").Word().Load() != 7 {
		t.Errorf("after Set and Put: got %q, %d, %d", old.Value(), old.Word().Load(), m.Record("k").Word().Load())
	}
	m.Delete("k")
	m.Set(omap.Item{Key: "k"})
	if got := m.Record("k").Word().Load(); got != 0 {
		t.Errorf("after Delete: got %d, want 0", got)
	}
}
