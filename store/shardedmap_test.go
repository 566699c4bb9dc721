package store_test

import (
	"slices"
	"testing"

	"github.com/kvorum/kvorum/store"
)

// A ShardedMap passes each call on to its map: the keys, their bytes, and a view in order.
func TestShardedMap_IsAMap(t *testing.T) {
	m := store.NewShardedMap(4)
	for _, key := range []string{"b", "a", "c"} {
		m.Set(store.Item{Key: key, Value: []byte("12")})
	}
	if old, existed := m.Delete("c"); !existed || old.Key != "c" {
		t.Errorf("Delete: got %+v, %t", old, existed)
	}
	var keys []string
	v := m.View()
	m.Delete("a") // the view keeps it
	for it := range v.All("", "") {
		keys = append(keys, it.Key)
	}
	if !slices.Equal(keys, []string{"a", "b"}) || m.Len() != 1 || m.Size() != 3 {
		t.Errorf("got %q, then %d keys of %d bytes", keys, m.Len(), m.Size())
	}
	if it, ok := m.Get("b"); !ok || string(it.Value) != "12" {
		t.Errorf("Get: got %+v, %t", it, ok)
	}
}

// A shard knows only its own keys, and an entry that is set in a wrong one is found in
// the right one.
func TestShard_KnowsItsOwnKeys(t *testing.T) {
	m := store.NewShardedMap(8)
	right := m.Shard("k")
	i := slices.Index(m.Shards(), right)
	if i < 0 {
		t.Fatal("the key's shard is not one of the map's")
	}
	wrong := m.Shards()[(i+1)%8]
	if old := wrong.Set(store.NewEntry("k", []byte("value"))); old != nil {
		t.Errorf("got old entry %+v", old)
	}
	if e, ok := wrong.Get("k"); ok {
		t.Errorf("the wrong shard has %+v", e)
	}
	if e, ok := right.Get("k"); !ok || string(e.Value) != "value" {
		t.Errorf("the right shard has %+v", e)
	}
	if right.Len() != 1 || right.Size() != 6 || wrong.Len() != 0 {
		t.Errorf("got %d keys of %d bytes, and %d in the wrong shard", right.Len(), right.Size(), wrong.Len())
	}
}

// An entry that was replaced still says how often it was read.
func TestShard_SetReturnsTheOldEntry(t *testing.T) {
	m := store.NewShardedMap(1)
	s := m.Shard("k")
	s.Set(store.NewEntry("k", []byte("one")))
	for range 3 {
		s.Get("k")
	}
	old := s.Set(store.NewEntry("k", []byte("two")))
	if old == nil || string(old.Value) != "one" || old.Metadata.AccessCount.Load() != 3 {
		t.Fatalf("got %+v", old)
	}
	if e, _ := s.Get("k"); e.Metadata.AccessCount.Load() != 4 {
		t.Errorf("the new entry was read %d times, want 4 with the old one's", e.Metadata.AccessCount.Load())
	}
}
