package mvcc_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

// walked are stores with the same changes and the same compact revision, and their model.
type walked struct {
	stores []*mvcc.Store
	m      model
}

// TestView_WalkIsTheSameInAllStores shows that the number of keys that a walk visits, and so where
// it ends, does not depend on what a store has in memory besides its state. All replicas must
// agree on it. One store has reclaimed all that is compacted, one has nothing reclaimed because of
// an open view, and one is restored from a snapshot of one of these. The compaction is at the
// revision of a deletion, or beside it.
func TestView_WalkIsTheSameInAllStores(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reclaimed, viewed := mvcc.New(mvcc.Options{}), mvcc.New(mvcc.Options{})
		w := &walked{stores: []*mvcc.Store{reclaimed, viewed}, m: model{history: true, revision: 1}}
		defer w.close()
		for _, s := range w.stores {
			tx := s.Begin()
			tx.KeepHistory()
			tx.Commit(nil)
		}
		w.change(t, 1)
		view, err := viewed.View(rapid.Uint64Range(0, w.m.revision).Draw(t, "viewed"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = view.Close() }()
		viewed.HoldReclaimer()
		w.compact(t)
		reclaimed.Settle()
		w.restore(t, w.stores[rapid.IntRange(0, 1).Draw(t, "of")])
		w.check(t)
		w.change(t, 0)
		reclaimed.Settle()
		w.check(t)
	})
}

func (w *walked) close() {
	for _, s := range w.stores {
		_ = s.Close()
	}
}

// drawWalkedKey draws one of few keys, so that many are deleted and put again.
func drawWalkedKey(t *rapid.T) string {
	return rapid.SampledFrom(strings.Split("a aa ab abc b ba c", " ")).Draw(t, "key")
}

// change makes the same requests of one change each to all stores and to the model.
func (w *walked) change(t *rapid.T, least int) {
	for range rapid.IntRange(least, 20).Draw(t, "changes") {
		key, deletes := drawWalkedKey(t), rapid.Bool().Draw(t, "deletes")
		_, existed := w.m.at(key, w.m.revision)
		for _, s := range w.stores {
			tx := s.Begin()
			tx.NextRequest()
			if deletes {
				tx.Delete(key, 0)
			} else {
				tx.Put(kv.Item{Key: key})
			}
			tx.Commit(nil)
		}
		if existed || !deletes {
			w.m.revision++
			w.m.changes = append(w.m.changes, mvcc.Version{Item: kv.Item{Key: key, ModRevision: w.m.revision}, Deleted: deletes})
		}
	}
}

// compact compacts all stores at the revision of a deletion, or one below or above it.
func (w *walked) compact(t *rapid.T) {
	revision := uint64(rapid.IntRange(1, int(w.m.revision)).Draw(t, "compacted")) // if nothing is deleted
	var deletions []uint64
	for _, v := range w.m.changes {
		if v.Deleted {
			deletions = append(deletions, v.Item.ModRevision)
		}
	}
	if len(deletions) > 0 {
		revision = rapid.SampledFrom(deletions).Draw(t, "deletion") + 1 - uint64(rapid.IntRange(0, 2).Draw(t, "below"))
	}
	if revision = min(revision, w.m.revision); revision <= 1 {
		return
	}
	for _, s := range w.stores {
		tx := s.Begin()
		if err := tx.Compact(revision); err != nil {
			t.Fatal(err)
		}
		tx.Commit(nil)
	}
	w.m.compact = revision
}

// restore adds a store that is restored from a snapshot of another one.
func (w *walked) restore(t *rapid.T, from *mvcc.Store) {
	snapshot := from.Snapshot()
	defer func() { _ = snapshot.Close() }()
	l := mvcc.NewLoader(mvcc.LoadOptions{Revision: snapshot.Revision(), CompactRevision: snapshot.CompactRevision(), History: true})
	worker := l.Worker()
	worker.Block(0)
	for v := range snapshot.Versions() {
		if err := worker.Add(v); err != nil {
			t.Fatal(err)
		}
	}
	worker.Close()
	s, err := l.Finish()
	if err != nil {
		t.Fatal(err)
	}
	w.stores = append(w.stores, s)
}

// visited returns how many keys of a span a walk visits that does not end early: those whose
// newest version is not a deletion, or one that is not compacted.
func (m *model) visited(span kv.Span) (n int) {
	seen := map[string]bool{}
	for _, v := range slices.Backward(m.changes) {
		key := v.Item.Key
		if !seen[key] && span.Contains(key) && (!v.Deleted || v.Item.ModRevision > m.compact) {
			n++
		}
		seen[key] = true
	}
	return n
}

// check walks over views of all stores, and compares what each yields and visits.
func (w *walked) check(t *rapid.T) {
	span := rapid.OneOf(
		rapid.Just(kv.All()),
		rapid.Custom(func(t *rapid.T) kv.Span { return kv.One(drawWalkedKey(t)) }),
		rapid.Custom(func(t *rapid.T) kv.Span { return kv.Prefix(drawWalkedKey(t)) }),
		rapid.Custom(func(t *rapid.T) kv.Span { return kv.Span{Start: drawWalkedKey(t), End: drawWalkedKey(t)} }),
	).Draw(t, "span")
	revision := rapid.Uint64Range(max(w.m.compact, 1), w.m.revision).Draw(t, "revision")
	want := w.m.items(span, revision)
	for _, descending := range []bool{false, true} {
		for may := range w.m.visited(span) + 2 {
			first := ""
			for i, s := range w.stores {
				got, left := walk(t, s, revision, span, descending, may)
				if may >= w.m.visited(span) && (len(got) != len(want) || may-left != w.m.visited(span)) {
					t.Fatalf("store %d, %v at %d, with %d: got %q and %d visited, want %d keys and %d visited",
						i, span, revision, may, got, may-left, len(want), w.m.visited(span))
				}
				if may < w.m.visited(span) && left != -1 {
					t.Fatalf("store %d, %v at %d, with %d: %d are left", i, span, revision, may, left)
				}
				if text := strings.Join(got, " "); i == 0 {
					first = text
				} else if text != first {
					t.Fatalf("store %d, %v at %d, with %d: got %q, the first store has %q", i, span, revision, may, text, first)
				}
			}
		}
	}
}

// walk returns the keys that a walk over a store yields, and what is left of may.
func walk(t *rapid.T, s *mvcc.Store, revision uint64, span kv.Span, descending bool, may int) (keys []string, left int) {
	v, err := s.View(revision)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = v.Close() }()
	left = may
	for it := range v.Walk(span, descending, &left) {
		keys = append(keys, it.Key)
	}
	return keys, left
}
