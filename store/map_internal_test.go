package store

import (
	"hash/fnv"
	"testing"
)

func TestFNVHash(t *testing.T) {
	for _, key := range []string{"", "a", "user:1", "\x00\xff", "a longer key with more than a few bytes"} {
		h := fnv.New64a()
		h.Write([]byte(key))
		if got, want := fnvHash(key), h.Sum64(); got != want {
			t.Errorf("fnvHash(%q): got %x, want %x", key, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _ = fnvHash("user:1") }); n != 0 {
		t.Errorf("fnvHash allocates %v times, want 0", n)
	}
}

// The shards' accounting adds up to the map's, and every shard gets keys.
func TestShard_Accounting(t *testing.T) {
	m := NewShardedMap(8)
	for i := range 1000 {
		m.Set(Item{Key: string(rune('a'+i%26)) + string(rune('0'+i/26)), Value: make([]byte, i)})
	}
	n, size := 0, int64(0)
	for i, s := range m.Shards() {
		if s.Len() == 0 {
			t.Errorf("shard %d is empty", i)
		}
		if s.Len() != s.index.Len() {
			t.Errorf("shard %d: map has %d keys, index %d", i, s.Len(), s.index.Len())
		}
		n += s.Len()
		size += s.Size()
	}
	if n != m.Len() || size != m.Size() {
		t.Errorf("shards add up to %d keys of %d bytes, map has %d of %d", n, size, m.Len(), m.Size())
	}
}
