package omap_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/internal/omap"
)

// TestMap_ApplyInOrder shows that Apply makes changes of one key in their order, and that the
// removal of a key that does not exist changes nothing.
func TestMap_ApplyInOrder(t *testing.T) {
	m := omap.New(4)
	put := func(key, value string) omap.Change {
		return omap.Put(omap.NewRecord(omap.Item{Key: key, Value: []byte(value)}))
	}
	m.Apply([]omap.Change{put("a", "old"), omap.Removal("none")})
	m.Apply([]omap.Change{put("a", "1"), omap.Removal("a"), put("b", "22"), put("a", "333"), put("c", "4"), omap.Removal("c")})
	for key, want := range map[string]string{"a": "333", "b": "22", "c": ""} {
		if it, ok := m.Get(key); string(it.Value) != want || ok != (want != "") {
			t.Errorf("%s: got %q, %t, want %q", key, it.Value, ok, want)
		}
	}
	if v := m.View(); m.Len() != 2 || m.Size() != 7 || v.Len() != 2 || v.Size() != 7 {
		t.Errorf("got %d keys of %d bytes, view of %d of %d, want 2 of 7", m.Len(), m.Size(), v.Len(), v.Size())
	}
	c := put("key", "value")
	if c.Key() != "key" || string(c.Record().Value()) != "value" {
		t.Errorf("put: got %q, %q", c.Key(), c.Record().Value())
	}
	if c := omap.Removal("key"); c.Key() != "key" || !c.Record().IsZero() {
		t.Errorf("removal: got %q, a record: %t", c.Key(), !c.Record().IsZero())
	}
}

// TestMap_ApplyIsOneStep changes two keys of different shards together: reads one after the
// other never see only one of the changes.
func TestMap_ApplyIsOneStep(t *testing.T) {
	m := omap.New(16)
	keys := []string{"a", "b", "c", "d"}
	step := func(version uint64) {
		changes := make([]omap.Change, len(keys))
		for i, k := range keys {
			changes[i] = omap.Put(omap.NewRecord(omap.Item{Key: k, Version: version}))
		}
		m.Apply(changes)
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

// TestShard_AccountingAddsUp shows that the shards' figures add up to the map's and to a
// view's, that every shard gets keys, and that Clear leaves none.
func TestShard_AccountingAddsUp(t *testing.T) {
	m := omap.New(8)
	for i := range 1000 {
		m.Set(omap.Item{Key: fmt.Sprint(i), Value: make([]byte, i), Deadline: int64(i % 2)})
	}
	n, size := 0, int64(0)
	for i, s := range m.Shards() {
		if s.Len() == 0 {
			t.Errorf("shard %d is empty", i)
		}
		n += s.Len()
		size += s.Size()
	}
	if n != m.Len() || size != m.Size() || n != len(keysOf(m.View().All("", ""))) {
		t.Errorf("shards add up to %d keys of %d bytes, map has %d of %d", n, size, m.Len(), m.Size())
	}
	before := m.Shards()[m.ShardOf("0")].Len()
	m.Delete("0")
	if got := m.Shards()[m.ShardOf("0")].Len(); got != before-1 {
		t.Errorf("the key's shard has %d keys without it, %d with it", got, before)
	}
	m.Clear()
	if _, ok := m.NextDeadline(); m.Len() != 0 || m.Size() != 0 || ok || keysOf(m.View().All("", "")) != nil || !m.Record("1").IsZero() {
		t.Errorf("%d keys of %d bytes are left", m.Len(), m.Size())
	}
}
