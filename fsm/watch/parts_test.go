package watch_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/kvorum/kvorum/kv"
)

// manyKeys is a number of keys whose changes at one revision come in several parts.
const manyKeys = 10 * kv.MaxWatchEvents

// change returns a request that changes many keys to a value; "" deletes them.
func change(value string) request {
	var r request
	for i := range manyKeys {
		r = append(r, op{fmt.Sprintf("k%05d", i), value})
	}
	return r
}

// parts reads the changes of a revision part by part, and calls between after each part but
// the last. Each key must come once, in order, with the previous value that is given.
func parts(t *testing.T, w kv.Watch, revision uint64, previous string, between func()) {
	t.Helper()
	for got, partial := 0, true; partial; {
		b := mustNext(t, w)
		if b.Kind != kv.WatchChanges || b.Revision != revision || len(b.Events) > kv.MaxWatchEvents {
			t.Fatalf("after %d keys: got kind %d, revision %d, %d events", got, b.Kind, b.Revision, len(b.Events))
		}
		for _, e := range b.Events {
			if want := fmt.Sprintf("k%05d", got); e.Item.Key != want || (e.Prev != nil) != (previous != "") || e.Prev != nil && string(e.Prev.Value) != previous {
				t.Fatalf("got %+v, want %q, which was %q", e, want, previous)
			}
			got++
		}
		if partial = b.Partial; partial != (got < manyKeys) {
			t.Fatalf("after %d keys: partial is %v", got, partial)
		}
		if !partial {
			if w.Revision() < revision {
				t.Fatalf("revision is %d behind revision %d", w.Revision(), revision)
			}
			return
		}
		if w.Revision() != revision-1 {
			t.Fatalf("revision is %d inside revision %d", w.Revision(), revision)
		}
		between()
	}
}

// TestWatch_RevisionInParts shows that the changes of a large revision come in parts, that a
// watch is not moved past the rest of it by later changes, and that a watch which waits for
// the revision is woken once.
func TestWatch_RevisionInParts(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		w := m.mustWatch(t, kv.WatchOptions{Span: kv.Prefix("k"), PrevItems: true})
		m.apply(change("1"), change(""))
		later := func() { m.apply(request{{"other", "x"}}) }
		parts(t, w, 2, "", later)
		parts(t, w, 3, "1", later)
		mustWait(t, w)
	})
}

// TestWatch_PartsAcrossReplace replaces the store between the parts of a revision, by a later
// one and by an older one. No change may come twice or be left out.
func TestWatch_PartsAcrossReplace(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		w := m.mustWatch(t, kv.WatchOptions{Span: kv.Prefix("k"), PrevItems: true})
		m.apply(change("1"))
		older := copyOf(t, m.store)
		m.apply(change("2"))
		replaced := 0
		parts(t, w, 2, "", func() {
			m.replace(t, func(m *machine) { m.apply(request{{"other", "x"}}) })
			replaced++
		})
		parts(t, w, 3, "1", func() {
			if replaced++; older != nil {
				m.hub.Suspend()
				_ = m.store.Close()
				m.store, older = older, nil
				m.hub.Replace(m.store)
				mustWait(t, w)
				m.apply(change("2"))
			}
		})
		if replaced < 2*(manyKeys/kv.MaxWatchEvents-1) {
			t.Errorf("replaced %d times", replaced)
		}
	})
}

// TestWatch_CompactedBetweenParts compacts a revision of which a part was returned. The watch
// must say so, and its revision must be the one before. Compacting up to that revision keeps
// its changes, with their previous values.
func TestWatch_CompactedBetweenParts(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		w := m.mustWatch(t, kv.WatchOptions{Span: kv.Prefix("k"), PrevItems: true})
		m.apply(change("1"), change("2"), request{{"other", "x"}})
		parts(t, w, 2, "", func() {})
		parts(t, w, 3, "1", func() { m.compact(3) })
		m.apply(change("3"))
		if b := mustNext(t, w); !b.Partial {
			t.Fatalf("got a revision of %d events as a whole", len(b.Events))
		}
		m.compact(m.store.Revision())
		m.apply(request{{"other", "y"}})
		m.compact(m.store.Revision())
		var compacted *kv.CompactedError
		if b, err := w.Next(t.Context()); !errors.As(err, &compacted) || w.Revision() != 4 {
			t.Errorf("got %d events and %v at %d", len(b.Events), err, w.Revision())
		}
	})
}

// TestWatch_KindsInParts selects kinds of which the rest of a revision has none: the part that
// is full is the last.
func TestWatch_KindsInParts(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		w := m.mustWatch(t, kv.WatchOptions{Kinds: kv.Kinds(kv.EventPut)})
		m.apply(change("1"))
		parts(t, w, 2, "", func() {})
		mixed := change("")
		for i := range kv.MaxWatchEvents {
			mixed[i].value = "2"
		}
		m.apply(mixed)
		if b := mustNext(t, w); b.Partial || len(b.Events) != kv.MaxWatchEvents {
			t.Errorf("got %d events, partial is %v", len(b.Events), b.Partial)
		}
	})
}
