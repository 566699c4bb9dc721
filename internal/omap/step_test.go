package omap_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kvorum/kvorum/internal/omap"
)

// Until Commit only the Step itself shows its changes. After it the map's tables, indexes and
// figures are the same as after the same changes without a Step. A Step of more than eight
// keys searches them in another way.
func TestStep_CommitMakesTheChanges(t *testing.T) {
	for _, keys := range []int{1, 8, 9, 100} {
		t.Run(fmt.Sprint(keys), func(t *testing.T) {
			m, want := omap.New(8), omap.New(8)
			st := m.NewStep()
			for round := range uint64(3) {
				before := slices.Collect(m.View().All("", ""))
				for change := range uint64(3 * keys) {
					key := fmt.Sprint("k", rand.IntN(keys))
					if rand.IntN(3) == 0 {
						st.Delete(key)
						want.Delete(key)
					} else {
						it := omap.Item{Key: key, Value: make([]byte, rand.IntN(50)), ModRevision: 1000*round + change}
						st.Set(it)
						want.Set(it)
					}
					wantItem, wantFound := want.Get(key)
					if it, found := st.Get(key); found != wantFound || it.ModRevision != wantItem.ModRevision {
						t.Fatalf("%s in the step: got %v %v, want %v %v", key, it, found, wantItem, wantFound)
					}
				}
				if now := slices.Collect(m.View().All("", "")); !slices.EqualFunc(now, before, sameItem) {
					t.Fatalf("before Commit the map changed from %v to %v", before, now)
				}
				published := 0
				st.Commit(func() { published++ })
				if published != 1 {
					t.Fatalf("publish was called %d times", published)
				}
				checkSameMap(t, m, want, keys)
			}
		})
	}
}

func sameItem(a, b omap.Item) bool {
	return a.Key == b.Key && a.ModRevision == b.ModRevision && len(a.Value) == len(b.Value)
}

func checkSameMap(t *testing.T, m, want *omap.Map, keys int) {
	t.Helper()
	if got, all := slices.Collect(m.View().All("", "")), slices.Collect(want.View().All("", "")); !slices.EqualFunc(got, all, sameItem) {
		t.Fatalf("got %v, want %v", got, all)
	}
	if m.Len() != want.Len() || m.Size() != want.Size() {
		t.Fatalf("got %d keys of %d bytes, want %d of %d", m.Len(), m.Size(), want.Len(), want.Size())
	}
	for i := range keys {
		key := fmt.Sprint("k", i)
		it, found := m.Get(key)
		if wantItem, wantFound := want.Get(key); found != wantFound || !sameItem(it, wantItem) {
			t.Fatalf("%s: got %v %v, want %v %v", key, it, found, wantItem, wantFound)
		}
	}
}

// Each step sets all keys, or deletes them, and publishes its number. The state of a key that
// a reader gets belongs to the number that it gets with the key, and no number is lower than
// the previous one.
func TestStep_IsSeenWhole(t *testing.T) {
	for _, keys := range []int{1, 2, 100} {
		t.Run(fmt.Sprint(keys), func(t *testing.T) {
			m := omap.New(16)
			var number atomic.Uint64
			done := make(chan struct{})
			var readers sync.WaitGroup
			for range 3 {
				readers.Go(func() { readSteps(t, m, &number, keys, done) })
			}
			st := m.NewStep()
			for n := uint64(1); n <= 3000; n++ {
				for i := range keys {
					if key := fmt.Sprint("k", i); n%2 == 1 {
						st.Set(omap.Item{Key: key, ModRevision: n})
					} else {
						st.Delete(key)
					}
				}
				st.Commit(func() { number.Store(n) })
			}
			close(done)
			readers.Wait()
		})
	}
}

func readSteps(t *testing.T, m *omap.Map, number *atomic.Uint64, keys int, done <-chan struct{}) {
	var last uint64
	for {
		select {
		case <-done:
			return
		default:
		}
		it, n, found := m.GetWith(fmt.Sprint("k", rand.IntN(keys)), number)
		if n < last || found != (n%2 == 1) || found && it.ModRevision != n {
			t.Errorf("after step %d: got an item of step %d (%v) beside step %d", last, it.ModRevision, found, n)
			return
		}
		last = n
		if it, found := m.Get(fmt.Sprint("k", rand.IntN(keys))); found && it.ModRevision < last {
			t.Errorf("after step %d: got an item of step %d", last, it.ModRevision)
			return
		}
	}
}
