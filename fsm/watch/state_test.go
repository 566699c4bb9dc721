package watch_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/kvorum/kvorum/kv"
)

// stateKeys is a number of keys whose state comes in several parts.
const stateKeys = 4 * kv.MaxWatchEvents

// filled puts stateKeys keys at revision 2.
func filled(m *machine) {
	var r request
	for i := range stateKeys {
		r = append(r, op{fmt.Sprintf("k%05d", i), "v"})
	}
	m.apply(r)
}

// TestState_AcrossReplace replaces the store after each part of the state. The rest must be
// that of the same revision, the replaced stores must be let go of, and changes after the
// state must follow.
func TestState_AcrossReplace(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		filled(m)
		w := m.mustWatch(t, kv.WatchOptions{Snapshot: true, PrevItems: true})
		replaced := 0
		for got := 0; got < stateKeys; replaced++ {
			b := mustNext(t, w)
			if b.Kind != kv.WatchState || b.Revision != 2 {
				t.Fatalf("after %d keys: got kind %d at %d", got, b.Kind, b.Revision)
			}
			for _, it := range b.Items {
				if want := fmt.Sprintf("k%05d", got); it.Key != want || string(it.Value) != "v" {
					t.Fatalf("got %q=%q, want %q", it.Key, it.Value, want)
				}
				got++
			}
			before := m.store
			m.replace(t, func(m *machine) {
				m.apply(request{{"k00000", fmt.Sprint(replaced)}, {fmt.Sprintf("k%05d", stateKeys-1), "new"}})
			})
			if n := before.Stats().Views; n != 0 {
				t.Fatalf("a replaced store has %d views", n)
			}
		}
		wantNext(t, w, "synced 2")
		if b := mustNext(t, w); b.Revision != 3 || len(b.Events) != 2 || string(b.Events[0].Prev.Value) != "v" {
			t.Errorf("got %v", text(b))
		}
		if n := m.store.Stats().Views; n != 0 {
			t.Errorf("%d views are open", n)
		}
	})
}

// TestState_WaitsForTheStore suspends the hub inside the state. The watch must keep no view of
// the old store, wait, and continue.
func TestState_WaitsForTheStore(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		filled(m)
		w := m.mustWatch(t, kv.WatchOptions{Snapshot: true})
		mustNext(t, w)
		later := copyOf(t, m.store)
		m.hub.Suspend()
		if n := m.store.Stats().Views; n != 0 {
			t.Errorf("a store that was let go of has %d views", n)
		}
		mustWait(t, w)
		next := make(chan kv.WatchBatch)
		go func() { next <- mustNext(t, w) }()
		synctest.Wait()
		_ = m.store.Close()
		m.store = later
		m.hub.Replace(later)
		if b := <-next; b.Kind != kv.WatchState || b.Items[0].Key != fmt.Sprintf("k%05d", kv.MaxWatchEvents) {
			t.Errorf("got %v", text(b))
		}
	})
}

// TestState_ReplacedByACompactedOne replaces the store by one that has no longer the revision
// of the state. The error says that the watch must begin again, and is one after which a
// request may be sent again.
func TestState_ReplacedByACompactedOne(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		filled(m)
		w := m.mustWatch(t, kv.WatchOptions{Snapshot: true})
		mustNext(t, w)
		m.replace(t, func(m *machine) {
			m.apply(request{{"a", "x"}})
			m.compact(3)
		})
		for range 2 {
			b, err := w.Next(t.Context())
			if class := kv.Classify(err); !errors.Is(err, kv.ErrBehind) || !class.Retryable || w.Revision() != 0 {
				t.Errorf("got %v and %v at %d", text(b), err, w.Revision())
			}
		}
		if err := w.Close(); err != nil || m.hub.Len() != 0 {
			t.Errorf("close: %v, %d watchers", err, m.hub.Len())
		}
	})
}

// TestState_ClosedBesideNext closes a watch while its state is suspended and waited for.
func TestState_ClosedBesideNext(t *testing.T) {
	for _, hub := range []bool{false, true} {
		bubble(t, func(t *testing.T, m *machine) {
			filled(m)
			w := m.mustWatch(t, kv.WatchOptions{Snapshot: true})
			m.hub.Suspend()
			ended := make(chan error)
			go func() {
				_, err := w.Next(t.Context())
				ended <- err
			}()
			synctest.Wait()
			if hub {
				_ = m.hub.Close()
			} else {
				_ = w.Close()
			}
			if err := <-ended; err == nil || hub != errors.Is(err, kv.ErrClosed) {
				t.Errorf("hub %v: got %v", hub, err)
			}
		})
	}
}
