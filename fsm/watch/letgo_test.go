package watch_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"weak"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/fsm/watch"
	"github.com/kvorum/kvorum/kv"
)

// wantCollected fails unless a store that was replaced is out of memory.
func wantCollected(t *testing.T, store weak.Pointer[mvcc.Store]) {
	t.Helper()
	for range 10 { // a cycle that had begun before may have seen the store
		if runtime.GC(); store.Value() == nil {
			return
		}
	}
	t.Error("the replaced store is still in memory")
}

// replaceOnly replaces the store by a copy while watchers have it, as a snapshot of the leader
// does, and returns the old one.
func (m *machine) replaceOnly(t *testing.T) weak.Pointer[mvcc.Store] {
	t.Helper()
	before := m.store
	m.store = copyOf(t, before)
	m.hub.Replace(m.store)
	_ = before.Close()
	return weak.Make(before)
}

// watchesThatRead returns n watches of all keys, each of which has read a change from the store.
// So each has the store: none got the change from another one.
func watchesThatRead(t *testing.T, m *machine, n int) (watches []*watch.Watch) {
	t.Helper()
	for i := range n {
		watches = append(watches, m.mustWatch(t, kv.WatchOptions{}))
		m.apply(request{{"a", "x"}})
		mustNext(t, watches[i])
	}
	for i, w := range watches {
		for range n - 1 - i {
			mustNext(t, w)
		}
	}
	return watches
}

// wait makes watches wait for changes, and returns when they do. The channel receives the result
// of each.
func wait(t *testing.T, watches []*watch.Watch) <-chan error {
	t.Helper()
	ended := make(chan error, len(watches))
	for _, w := range watches {
		go func() {
			_, err := w.Next(context.Background())
			ended <- err
		}()
	}
	synctest.Wait()
	return ended
}

// endAll closes the hub, which must end all watches that wait.
func endAll(t *testing.T, m *machine, ended <-chan error) {
	t.Helper()
	_ = m.hub.Close()
	for range cap(ended) {
		if err := <-ended; !errors.Is(err, kv.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

// TestHub_ReplacedStoreIsCollected_SharedChange replaces the store between two changes. One watch
// reads the second change from the new store, and the other gets it from that watch.
func TestHub_ReplacedStoreIsCollected_SharedChange(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		watches := watchesThatRead(t, m, 2)
		old := m.replaceOnly(t)
		m.apply(request{{"a", "y"}})
		first, second := mustNext(t, watches[0]), mustNext(t, watches[1])
		if first.Forms == nil || second.Forms != first.Forms {
			t.Fatal("the change is not shared")
		}
		wantCollected(t, old)
		runtime.KeepAlive(watches)
	})
}

// TestHub_ReplacedStoreIsCollected_Waiting replaces the store while watches wait, by a store
// without changes for them. There are so many that they rest: none is woken.
func TestHub_ReplacedStoreIsCollected_Waiting(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		const watchers = 100
		watches := watchesThatRead(t, m, watchers)
		woken := wait(t, watches)
		m.apply(request{{"a", "y"}})
		for range watchers {
			if err := <-woken; err != nil {
				t.Fatal(err)
			}
		}
		ended := wait(t, watches)
		old := m.replaceOnly(t)
		synctest.Wait()
		wantCollected(t, old)
		endAll(t, m, ended)
	})
}

// TestHub_ReplacedStoreIsCollected_WaitsLater replaces the store, or lets go of it, while no
// watch waits. Then they wait.
func TestHub_ReplacedStoreIsCollected_WaitsLater(t *testing.T) {
	for _, suspend := range []bool{false, true} {
		bubble(t, func(t *testing.T, m *machine) {
			watches := watchesThatRead(t, m, 2)
			if suspend {
				m.hub.Suspend()
				_ = m.store.Close()
				old := weak.Make(m.store)
				m.store = mvcc.New(mvcc.Options{})
				ended := wait(t, watches)
				wantCollected(t, old)
				endAll(t, m, ended)
				return
			}
			old := m.replaceOnly(t)
			ended := wait(t, watches)
			wantCollected(t, old)
			endAll(t, m, ended)
		})
	}
}
