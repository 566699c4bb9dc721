package omap_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/internal/omap"
)

// TestMap_DeferredOrderIsMadeLater fills a map whose order is deferred with several loaders:
// in the end it equals an ordered map, also if the order is made meanwhile.
func TestMap_DeferredOrderIsMadeLater(t *testing.T) {
	for _, late := range []bool{false, true} {
		m := omap.New(8)
		m.DeferOrder()
		const keys, loaders = 4000, 4
		key := func(i int) string { return strings.Repeat("p", i%3) + fmt.Sprintf("%06d", i) }
		var wg sync.WaitGroup
		for i := range loaders {
			wg.Go(func() {
				l := m.NewLoader()
				for k := i; k < keys; k += loaders {
					l.Add(omap.Item{Key: key(k), Value: []byte(key(k)), Version: 1})
				}
				l.Flush()
			})
		}
		if !late {
			wg.Go(m.Order) // at any time
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
				m.Set(omap.Item{Key: key(k), Value: []byte("new"), Version: 2})
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
	}
}

// TestMap_ClearKeepsTheOrderDeferred shows that a map that is cleared while its order is
// deferred gets its order later.
func TestMap_ClearKeepsTheOrderDeferred(t *testing.T) {
	m := omap.New(1)
	m.DeferOrder()
	m.Set(omap.Item{Key: "a"})
	m.Clear()
	m.Set(omap.Item{Key: "b"})
	if got := keysOf(m.View().All("", "")); !slices.Equal(got, []string{"b"}) {
		t.Errorf("got %q", got)
	}
}
