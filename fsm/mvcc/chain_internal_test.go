package mvcc

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/kvorum/kvorum/kv"
)

// versionsOf makes a store in which n revisions change two keys, one of which is deleted now
// and then.
func versionsOf(n int) *Store {
	s := New(Options{ChunkBytes: 4096})
	tx := s.Begin()
	tx.KeepHistory()
	tx.Commit(nil)
	for i := range n {
		tx := s.Begin()
		tx.NextRequest()
		tx.Put(kv.Item{Key: "hot", Value: fmt.Append(nil, i)})
		if i%5 == 4 {
			tx.Delete("gone", 0)
		} else {
			tx.Put(kv.Item{Key: "gone", Value: fmt.Append(nil, i)})
		}
		tx.Commit(nil)
	}
	return s
}

// stepsTo returns the number of records that a read of a key at a revision passes over.
func stepsTo(s *Store, key string, revision uint64) (steps int) {
	_, rec, _ := s.table.get(hashOf(key), key)
	for ; !rec.isZero() && rec.head().revision() > revision; steps++ {
		rec = s.keys.arena.older(rec, revision)
	}
	return steps
}

// checkChains reads both keys at every revision, and checks that the number of steps grows
// with the logarithm of the number of newer versions. gap is the maximum number of versions
// from one with a skip to the next.
func checkChains(t *testing.T, s *Store, gap int, name string) {
	t.Helper()
	newest := s.Revision()
	for revision := max(s.CompactRevision(), 2); revision <= newest; revision++ {
		i := int(revision) - 2
		hot, found, err := s.GetAt("hot", revision)
		if err != nil || !found || string(hot.Value) != fmt.Sprint(i) {
			t.Fatalf("%s: hot at %d: got %v %t %v", name, revision, hot, found, err)
		}
		gone, found, err := s.GetAt("gone", revision)
		if err != nil || found != (i%5 != 4) || found && string(gone.Value) != fmt.Sprint(i) {
			t.Fatalf("%s: gone at %d: got %v %t %v", name, revision, gone, found, err)
		}
		limit := (gap + 2) * (2 + bits.Len64((newest-revision)/skipEvery))
		for _, key := range []string{"hot", "gone"} {
			if steps := stepsTo(s, key, revision); steps > limit {
				t.Fatalf("%s: %d steps to %s at %d of %d, want at most %d", name, steps, key, revision, newest, limit)
			}
		}
	}
}

// reloaded returns a store of a store's versions, in blocks of size versions.
func reloaded(t *testing.T, s *Store, size int) *Store {
	t.Helper()
	snapshot := s.Snapshot()
	defer snapshot.Close()
	l := NewLoader(LoadOptions{
		Options: Options{ChunkBytes: 4096}, History: true, Revision: s.Revision(), CompactRevision: s.CompactRevision(),
	})
	workers, n := []*Worker{l.Worker(), l.Worker()}, 0
	for v := range snapshot.Versions() {
		w := workers[n/size%2]
		if n%size == 0 {
			w.Block(n / size)
		}
		if n++; w.Add(v) != nil {
			t.Fatal("a version is refused")
		}
	}
	for _, w := range workers {
		w.Close()
	}
	copied, err := l.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return copied
}

// TestChain_OldRevisions reads keys with many versions at every revision, in a store whose
// entries made them, before and after compactions, and in copies of it.
func TestChain_OldRevisions(t *testing.T) {
	const n = 3000
	s := versionsOf(n)
	defer s.Close()
	checkChains(t, s, skipEvery, "made")
	for _, size := range []int{1, 7, 100, 2*n + 1} {
		copied := reloaded(t, s, size)
		checkChains(t, copied, 2*skipEvery, fmt.Sprintf("blocks of %d", size))
		if err := copied.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, compact := range []uint64{uint64(rand.IntN(n/2)) + 2, n - 100, n + 1} {
		tx := s.Begin()
		if err := tx.Compact(compact); err != nil {
			t.Fatal(err)
		}
		tx.Commit(nil)
		s.Settle()
		checkChains(t, s, skipEvery, fmt.Sprintf("compacted at %d", compact))
	}
}

// TestChain_AfterCompaction makes versions while old ones are compacted. Skips to records
// that are gone do not lead wrong, and new ones are short.
func TestChain_AfterCompaction(t *testing.T) {
	s := versionsOf(1000)
	defer s.Close()
	for i := 1000; i < 6000; i++ {
		tx := s.Begin()
		tx.NextRequest()
		tx.Put(kv.Item{Key: "hot", Value: fmt.Append(nil, i)})
		if i%5 == 4 {
			tx.Delete("gone", 0)
		} else {
			tx.Put(kv.Item{Key: "gone", Value: fmt.Append(nil, i)})
		}
		if i%100 == 0 {
			if err := tx.Compact(tx.Revision() - 700); err != nil {
				t.Fatal(err)
			}
		}
		tx.Commit(nil)
		if i%100 == 0 {
			s.Settle()
		}
		if i%1000 == 500 {
			checkChains(t, s, skipEvery, fmt.Sprintf("after %d entries", i))
			checkChains(t, reloaded(t, s, 50), 2*skipEvery, fmt.Sprintf("copy after %d entries", i))
		}
	}
}
