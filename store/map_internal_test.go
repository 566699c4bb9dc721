package store

import (
	"fmt"
	"hash/fnv"
	"sync"
	"testing"
)

// BenchmarkHash compares the map's hash with the FNV-1a that small maps are
// often given, on keys of 16 and of 64 bytes.
func BenchmarkHash(b *testing.B) {
	for _, key := range []string{"key-000000001234", fmt.Sprintf("%064d", 1)} {
		b.Run(fmt.Sprintf("runtime/len=%d", len(key)), func(b *testing.B) {
			for b.Loop() {
				hashOf(key)
			}
		})
		b.Run(fmt.Sprintf("fnv-1a/len=%d", len(key)), func(b *testing.B) {
			bytes, h := []byte(key), fnv.New64a()
			for b.Loop() {
				h.Reset()
				h.Write(bytes)
				h.Sum64()
			}
		})
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
		if s.Len() != s.index.count {
			t.Errorf("shard %d: map has %d keys, index %d", i, s.Len(), s.index.count)
		}
		n += s.Len()
		size += s.Size()
	}
	if n != m.Len() || size != m.Size() {
		t.Errorf("shards add up to %d keys of %d bytes, map has %d of %d", n, size, m.Len(), m.Size())
	}
}

// Two keys that a step always changes together, in different shards, are never
// seen apart by reads one after the other.
func TestShardedMap_ApplyIsOneStep(t *testing.T) {
	m := NewShardedMap(16)
	keys := []string{"a", "b", "c", "d"}
	step := func(version uint64) {
		changes := make([]change, len(keys))
		for i, k := range keys {
			changes[i] = change{key: k, hash: hashOf(k), record: newRecord(Item{Key: k, Version: version})}
		}
		m.apply(changes)
	}
	step(1)
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for version := uint64(2); ; version++ {
			select {
			case <-done:
				return
			default:
				step(version)
			}
		}
	})
	defer writer.Wait()
	defer close(done)
	for range 20_000 {
		var last uint64
		for _, k := range keys {
			it, ok := m.Get(k)
			if !ok || it.Version < last {
				t.Fatalf("%s: got version %d (%v) after %d was seen", k, it.Version, ok, last)
			}
			last = it.Version
		}
	}
}
