package mvcc_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

// key returns a key of 16 bytes.
func key(i int) string { return fmt.Sprintf("key-%012d", i) }

// newStore returns a store that keeps history.
func newStore(t testing.TB, options mvcc.Options) *mvcc.Store {
	s := mvcc.New(options)
	tx := s.Begin()
	tx.KeepHistory()
	tx.Commit(nil)
	t.Cleanup(func() { s.Close() })
	return s
}

// put sets keys to a value, each in a request of its own.
func put(s *mvcc.Store, value string, keys ...string) {
	tx := s.Begin()
	for _, k := range keys {
		tx.NextRequest()
		tx.Put(kv.Item{Key: k, Value: []byte(value)})
	}
	tx.Commit(nil)
}

func compact(t testing.TB, s *mvcc.Store, revision uint64) {
	t.Helper()
	tx := s.Begin()
	defer tx.Commit(nil)
	if err := tx.Compact(revision); err != nil {
		t.Fatal(err)
	}
}

// TestTx_RevisionsOfRequests shows which revisions requests take: one for each that changes
// something. A store that keeps history from its beginning is at 1 first.
func TestTx_RevisionsOfRequests(t *testing.T) {
	s := newStore(t, mvcc.Options{})
	if s.Revision() != 1 || s.CompactRevision() != 0 {
		t.Fatalf("an empty store is at revision %d from %d on", s.Revision(), s.CompactRevision())
	}
	tx := s.Begin()
	tx.NextRequest()
	tx.Put(kv.Item{Key: "a"})
	tx.Put(kv.Item{Key: "b"})
	tx.NextRequest()
	if _, existed := tx.Delete("none", 0); existed || tx.Changed() || tx.Revision() != 2 {
		t.Errorf("deleting nothing took revision %d", tx.Revision())
	}
	tx.NextRequest()
	tx.Delete("a", 3)
	tx.Put(kv.Item{Key: "a", Value: []byte("new"), CreateRevision: 99, ModRevision: 99, Version: 99})
	tx.Commit(nil)
	for name, want := range map[string]kv.Item{
		"a": {Key: "a", Value: []byte("new"), CreateRevision: 3, ModRevision: 3, Version: 1},
		"b": {Key: "b", CreateRevision: 2, ModRevision: 2, Version: 1},
	} {
		if it, revision, found := s.Get(name); !found || revision != 3 || !sameItem(it, want) {
			t.Errorf("%s: got %v %t at %d, want %v", name, it, found, revision, want)
		}
	}
	c := s.Changes(mvcc.ChangesOptions{From: 3, Span: kv.One("a"), Previous: true})
	b, err := c.Next()
	if err != nil || len(b.Changes) != 2 || !b.Changes[0].Deleted || b.Changes[0].Cause != 3 {
		t.Fatalf("got %+v, %v", b, err)
	}
	for _, change := range b.Changes { // both have the item before the revision
		if !change.Existed || change.Previous.ModRevision != 2 {
			t.Errorf("got %+v", change)
		}
	}
}

// TestStore_KeepHistoryOfOldData shows that a store that begins to keep history takes a
// revision for that, below which nothing can be read.
func TestStore_KeepHistoryOfOldData(t *testing.T) {
	s := mvcc.New(mvcc.Options{})
	defer s.Close()
	put(s, "1", "a", "b", "a")
	if stats := s.Stats(); s.Revision() != 3 || s.CompactRevision() != 3 || stats.HistoryVersions != 0 {
		t.Errorf("at %d from %d, %+v", s.Revision(), s.CompactRevision(), stats)
	}
	if _, err := s.Changes(mvcc.ChangesOptions{From: 3}).Next(); !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("changes without history: %v", err)
	}
	for range 2 { // the second one does nothing
		tx := s.Begin()
		tx.KeepHistory()
		tx.Commit(nil)
	}
	put(s, "2", "a")
	if s.Revision() != 5 || s.CompactRevision() != 4 {
		t.Errorf("at %d from %d", s.Revision(), s.CompactRevision())
	}
	if it, found, err := s.GetAt("a", 4); err != nil || !found || it.ModRevision != 3 {
		t.Errorf("got %v %t %v", it, found, err)
	}
	b, err := s.Changes(mvcc.ChangesOptions{From: 4, Previous: true}).Next()
	if err != nil || b.Revision != 5 || len(b.Changes) != 1 || string(b.Changes[0].Previous.Value) != "1" {
		t.Errorf("got %+v, %v", b, err)
	}
}

// TestTx_IsSeenAsAWhole shows that nothing of an entry is seen before Commit, and that a view
// that was opened meanwhile does not show it afterwards.
func TestTx_IsSeenAsAWhole(t *testing.T) {
	s := newStore(t, mvcc.Options{})
	put(s, "old", "a", "c")
	tx := s.Begin()
	tx.NextRequest()
	tx.Put(kv.Item{Key: "a", Value: []byte("new")})
	tx.Put(kv.Item{Key: "b", Value: []byte("new")})
	tx.Delete("c", 0)
	v, err := s.View(0)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	check := func(when string) {
		var got []string
		for it := range v.Ascend(kv.All()) {
			got = append(got, it.Key+string(it.Value))
		}
		if !slices.Equal(got, []string{"aold", "cold"}) || v.Revision() != 3 {
			t.Errorf("%s: got %v at %d", when, got, v.Revision())
		}
	}
	check("before Commit")
	if it, _, found := s.Get("b"); found {
		t.Errorf("got %v", it)
	}
	if b, err := s.Changes(mvcc.ChangesOptions{From: 4}).Next(); err != nil || len(b.Changes) > 0 {
		t.Errorf("got %v, %v", b, err)
	}
	tx.Commit(nil)
	check("after Commit")
	if s.Len() != 2 || s.Bytes() != 8 {
		t.Errorf("got %d keys of %d bytes", s.Len(), s.Bytes())
	}
}

// TestView_CloseEndsIterations shows that a closed view yields nothing and says so.
func TestView_CloseEndsIterations(t *testing.T) {
	s := newStore(t, mvcc.Options{})
	put(s, "v", "a", "b", "c")
	v, _ := s.View(0)
	n := 0
	for range v.Ascend(kv.All()) {
		n++
		v.Close()
	}
	if n != 1 || !errors.Is(v.Err(), mvcc.ErrViewClosed) {
		t.Errorf("%d items, %v", n, v.Err())
	}
	if _, found := v.Get("a"); found || v.Count(kv.All()) != 0 || v.Count(kv.One("a")) != 0 || len(slices.Collect(v.Descend(kv.All()))) != 0 {
		t.Error("a closed view has items")
	}
	other, _ := s.View(0)
	for range other.Ascend(kv.All()) {
	}
	if other.Close(); other.Err() != nil {
		t.Errorf("an iteration that was complete: %v", other.Err())
	}
}

// TestChanges_OfManyRevisions shows that Next returns after some thousand changes outside its
// span, and that a Changes that knows nothing is overtaken by a compaction.
func TestChanges_OfManyRevisions(t *testing.T) {
	s := newStore(t, mvcc.Options{})
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = key(i)
	}
	put(s, "v", keys...)
	put(s, "v", "other")
	c := s.Changes(mvcc.ChangesOptions{From: 1, Span: kv.One("other")})
	calls := 0
	for last := uint64(0); ; calls++ {
		b, err := c.Next()
		if err != nil || b.Revision <= last {
			t.Fatalf("got %v after %d, %v", b, last, err)
		}
		if last = b.Revision; len(b.Changes) > 0 {
			if b.Revision != 10_002 || b.More {
				t.Errorf("got %+v", b)
			}
			break
		}
		if !b.More {
			t.Fatalf("got no changes and %+v", b)
		}
	}
	if calls < 2 {
		t.Errorf("%d calls", calls+1)
	}
	behind := s.Changes(mvcc.ChangesOptions{From: 5})
	if b, err := behind.Next(); err != nil || b.Revision != 5 || !b.More {
		t.Errorf("got %v, %v", b, err)
	}
	compact(t, s, 7)
	s.Settle()
	compacted := (*kv.CompactedError)(nil)
	if _, err := behind.Next(); !errors.As(err, &compacted) || compacted.Revision != 6 || compacted.CompactRevision != 7 {
		t.Errorf("got %v", err)
	}
	behind.Skip(7, 0)
	if b, err := behind.Next(); err != nil || b.Revision != 7 || b.Changes[0].Item.Key != key(5) {
		t.Errorf("got %v, %v", b, err)
	}
}

// TestStore_CompactionGivesMemoryBack writes much more than a store keeps, with and without
// history. The memory stays in proportion to what is kept.
func TestStore_CompactionGivesMemoryBack(t *testing.T) {
	for _, history := range []bool{false, true} {
		t.Run(fmt.Sprintf("history=%t", history), func(t *testing.T) {
			s := mvcc.New(mvcc.Options{ChunkBytes: 16 << 10})
			defer s.Close()
			if history {
				s = newStore(t, mvcc.Options{ChunkBytes: 16 << 10})
			}
			value := strings.Repeat("v", 100)
			for i := range 300 {
				keys := make([]string, 0, 300)
				for j := range 200 {
					keys = append(keys, key(j)) // hot
				}
				for j := range 100 {
					keys = append(keys, key(1000+100*i+j)) // once
				}
				put(s, value, keys...)
				if history && s.Revision() > 1000 {
					compact(t, s, s.Revision()-500)
				}
			}
			s.Settle()
			stats := s.Stats()
			t.Logf("%+v", stats)
			if want := 30_200; stats.Len != want {
				t.Errorf("%d keys, want %d", stats.Len, want)
			}
			if limit := 2*stats.Bytes + 4<<20; stats.MemoryBytes > limit {
				t.Errorf("%d bytes for %d of data, the limit is %d", stats.MemoryBytes, stats.Bytes, limit)
			}
			if limit := 700; stats.HistoryVersions > limit {
				t.Errorf("%d versions of history, the limit is %d", stats.HistoryVersions, limit)
			}
			deleteAll(t, s)
			if after := s.Stats(); after.Len != 0 || after.HistoryVersions > 2 || after.MemoryBytes > 4<<20 {
				t.Errorf("without keys: %+v", after)
			}
		})
	}
}

// deleteAll deletes all keys and compacts.
func deleteAll(t *testing.T, s *mvcc.Store) {
	v, err := s.View(0)
	if err != nil {
		t.Fatal(err)
	}
	tx := s.Begin()
	for it := range v.Ascend(kv.All()) {
		tx.NextRequest()
		tx.Delete(it.Key, 0)
	}
	history := tx.History()
	tx.Commit(nil)
	v.Close()
	if history {
		compact(t, s, s.Revision())
	}
	s.Settle()
}

// TestStore_ViewKeepsItsVersions shows that an open view holds back the reclaiming of memory,
// and that closing it continues that without another commit.
func TestStore_ViewKeepsItsVersions(t *testing.T) {
	s := newStore(t, mvcc.Options{ChunkBytes: 1024})
	put(s, "1", "a", "b")
	v, _ := s.View(0)
	put(s, "2", "a", "a", "a")
	tx := s.Begin()
	tx.NextRequest()
	tx.Delete("b", 0)
	tx.Commit(nil)
	put(s, "3", "a")
	compact(t, s, s.Revision())
	s.Settle()
	if stats := s.Stats(); stats.Reclaimed != v.Revision() || stats.Views != 1 || stats.HistoryVersions != 6 {
		t.Errorf("beside a view of %d: %+v", v.Revision(), stats)
	}
	if got := slices.Collect(v.Ascend(kv.All())); len(got) != 2 || string(got[0].Value) != "1" || got[1].Key != "b" {
		t.Errorf("got %v", got)
	}
	v.Close()
	s.Settle()
	if stats := s.Stats(); stats.Reclaimed != s.Revision() || stats.HistoryVersions != 1 {
		t.Errorf("after the view: %+v", stats)
	}
}

// TestStore_SlotsOfRemovedKeys removes keys and makes others while a view is open whose tree
// names the removed keys' slots between those that it shows. If the other keys got these
// slots, walks would end early.
func TestStore_SlotsOfRemovedKeys(t *testing.T) {
	const n = 600
	for _, prefix := range []string{"a", "z"} {
		s := newStore(t, mvcc.Options{ChunkBytes: 1024})
		keys, others := make([]string, n), make([]string, n)
		for i := range keys {
			keys[i], others[i] = key(i), prefix+key(n-i)
		}
		put(s, "v", keys...)
		tx := s.Begin()
		for i := 0; i < n; i += 2 {
			tx.NextRequest()
			tx.Delete(keys[i], 0)
		}
		tx.Commit(nil)
		v, _ := s.View(0)
		put(s, "v", "last")
		compact(t, s, s.Revision())
		s.Settle()
		put(s, "v", others...)
		for i := 1; i < n; i += 2 {
			for _, span := range []kv.Span{{Start: keys[i-1], End: keys[i] + "x"}, {Start: keys[i-1] + "x", End: keys[i] + "x"}} {
				up, down := slices.Collect(v.Ascend(span)), slices.Collect(v.Descend(span))
				if len(up) != 1 || len(down) != 1 || up[0].Key != keys[i] || down[0].Key != keys[i] {
					t.Fatalf("%v: got %v and %v", span, up, down)
				}
			}
		}
		v.Close()
		s.Settle()
		put(s, "v", keys...)
		now, _ := s.View(0)
		if count := now.Count(kv.Prefix("key-")); count != n || s.Len() != 2*n+1 {
			t.Errorf("%d keys of %d", count, s.Len())
		}
		now.Close()
	}
}

// TestStore_CloseWaits shows that Close ends the reclaiming, and that reads remain possible.
func TestStore_CloseWaits(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := mvcc.New(mvcc.Options{})
	tx := s.Begin()
	tx.KeepHistory()
	tx.Commit(nil)
	for range 100 {
		put(s, "v", "a", "b")
	}
	compact(t, s, 100)
	s.Close()
	s.Close()
	if _, _, found := s.Get("a"); !found {
		t.Error("a is gone")
	}
}

// TestView_Walk shows that a walk yields what Ascend and Descend do, and counts the keys that
// it visits, also those whose deletion is not compacted. It ends when it has visited more than
// it may.
func TestView_Walk(t *testing.T) {
	s := mvcc.New(mvcc.Options{})
	defer func() { _ = s.Close() }()
	commit := func(change func(tx *mvcc.Tx)) {
		tx := s.Begin()
		change(tx)
		tx.Commit(nil)
	}
	put := func(key string) func(*mvcc.Tx) {
		return func(tx *mvcc.Tx) { tx.NextRequest(); tx.Put(kv.Item{Key: key}) }
	}
	commit(func(tx *mvcc.Tx) { tx.KeepHistory() }) // revision 1
	for _, key := range []string{"a", "b", "c", "b", "b"} {
		commit(put(key)) // up to revision 6
	}
	commit(func(tx *mvcc.Tx) { tx.NextRequest(); tx.Delete("c", 0) })
	check := func(what string, revision uint64, span kv.Span, want string, visited int) {
		t.Helper()
		v, err := s.View(revision)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = v.Close() }()
		for _, descending := range []bool{false, true} {
			for _, may := range []int{visited, 100, visited - 1} {
				left, got := may, ""
				for it := range v.Walk(span, descending, &left) {
					got += it.Key
				}
				if reversed := []byte(got); descending {
					slices.Reverse(reversed)
					got = string(reversed)
				}
				if may < visited {
					if left != -1 {
						t.Errorf("%s, with %d: %d are left", what, may, left)
					}
				} else if got != want || may-left != visited {
					t.Errorf("%s, with %d: got %q and %d visited, want %q and %d", what, may, got, may-left, want, visited)
				}
			}
		}
	}
	check("newest", 0, kv.All(), "ab", 3)
	check("past", 4, kv.All(), "abc", 3)
	check("older", 2, kv.All(), "a", 3)
	check("one key", 4, kv.One("b"), "b", 1)
	view, err := s.View(0) // keeps the deletion in memory
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = view.Close() }()
	commit(func(tx *mvcc.Tx) { tx.CompactAll() })
	check("compacted", 0, kv.All(), "ab", 2)
}
