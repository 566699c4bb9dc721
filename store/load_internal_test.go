package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// An index that is built of records in order is one that could have come about
// record by record, whatever their number, and takes changes.
func TestIndex_Build(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := []int{0, 1, nodeMin, nodeFill, nodeFill + 1, nodeItems, nodeItems + 1, roomAbove(nodeFill), roomAbove(nodeFill) + 1, 5000}
	for range 50 {
		sizes = append(sizes, rng.IntN(4*roomAbove(nodeFill)))
	}
	sizes = append(sizes, roomAbove(roomAbove(nodeFill)), roomAbove(roomAbove(nodeFill))+1)
	for _, size := range sizes {
		want := make(map[string]record, size)
		var sorted []headed
		for i := range size {
			r := newRecord(Item{Key: fmt.Sprintf("key/%09d", 3*i)})
			want[r.key()] = r
			sorted = append(sorted, headed{record: r})
		}
		x := buildIndex(sorted)
		checkIndex(t, x, want)
		for range 200 {
			r := newRecord(Item{Key: fmt.Sprintf("key/%09d", rng.IntN(3*size+3))})
			if rng.IntN(2) == 0 {
				x.set(r)
				want[r.key()] = r
			} else {
				x.delete(r)
				delete(want, r.key())
			}
		}
		checkIndex(t, x, want)
	}
}

// A map whose order is deferred, and that several loaders fill while others
// change it, has in the end what an ordered one would have.
func TestShardedMap_DeferOrder(t *testing.T) {
	for _, late := range []bool{false, true} {
		m := NewShardedMap(8)
		m.DeferOrder()
		const keys, loaders = 4000, 4
		key := func(i int) string { return strings.Repeat("p", i%3) + fmt.Sprintf("%06d", i) }
		var wg sync.WaitGroup
		for i := range loaders {
			wg.Go(func() {
				l := m.NewLoader()
				for k := i; k < keys; k += loaders {
					l.Add(Item{Key: key(k), Value: []byte(key(k)), Version: 1})
				}
				l.Flush()
			})
		}
		if !late {
			wg.Go(m.Order) // it may come at any time
		}
		wg.Wait()
		var want []string
		var size int64
		for k := range keys {
			switch k % 4 {
			case 0:
				m.Delete(key(k))
				continue
			case 1:
				m.Set(Item{Key: key(k), Value: []byte("new"), Version: 2})
				size += int64(len(key(k))) + 3
			default:
				size += 2 * int64(len(key(k)))
			}
			want = append(want, key(k))
		}
		slices.Sort(want)
		var got []string
		v := m.View()
		for it := range v.All("", "") {
			got = append(got, it.Key)
			if current, ok := m.Get(it.Key); !ok || string(current.Value) != string(it.Value) || current.Version != it.Version {
				t.Fatalf("%q: the list shows %q, a read %q", it.Key, it.Value, current.Value)
			}
		}
		if !slices.Equal(got, want) || v.Len() != len(want) || v.Size() != size {
			t.Fatalf("late %v: got %d keys of %d bytes, want %d of %d", late, len(got), v.Size(), len(want), size)
		}
		for _, s := range m.shards {
			if s.index == nil || s.index.count != s.data.count {
				t.Fatal("a shard has no index, or another one than its table")
			}
		}
	}
}

// A step that clears a map whose order is deferred leaves it deferred.
func TestShardedMap_ClearWhileDeferred(t *testing.T) {
	m := NewShardedMap(1)
	m.DeferOrder()
	m.Set(Item{Key: "a"})
	m.shards[0].mu.Lock()
	m.shards[0].clearLocked()
	m.shards[0].mu.Unlock()
	m.Set(Item{Key: "b"})
	for it := range m.View().All("", "") {
		if it.Key != "b" {
			t.Errorf("got %q", it.Key)
		}
	}
}
