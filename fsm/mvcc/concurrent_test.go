package mvcc_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

// An entry of the concurrent test sets all keys of a group to its number, or deletes them
// all. Keys of group 0 are in every entry.
const (
	raceGroups  = 8
	raceKeys    = 12
	raceEntries = 4000
)

func raceKey(group, i int) string { return fmt.Sprintf("group-%d/key-%03d", group, i) }

// raceStore is a store with one writer, whose readers check that they see whole entries.
type raceStore struct {
	*mvcc.Store
	t    *testing.T
	done chan struct{}
}

// TestStore_ReadersSeeWholeEntries reads in all ways while entries are made and compacted, so
// that chunks are dropped and records moved all the time. Readers that share the processors
// with few others meet more of the short moments in which they could be wrong.
func TestStore_ReadersSeeWholeEntries(t *testing.T) {
	present := []func(*raceStore){(*raceStore).readPoint, (*raceStore).readPoints, (*raceStore).readView, (*raceStore).readAt}
	for _, tt := range []struct {
		name    string
		history bool
		readers []func(*raceStore)
	}{
		{"without history", false, present},
		{"with history", true, append(present, (*raceStore).readSnapshot, (*raceStore).readOldest, (*raceStore).watch)},
		{"points", false, present[:1]},
		{"changes", true, []func(*raceStore){(*raceStore).watch}},
		{"oldest changes", true, []func(*raceStore){(*raceStore).readOldest}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &raceStore{Store: mvcc.New(mvcc.Options{ChunkBytes: 2048}), t: t, done: make(chan struct{})}
			defer r.Close()
			if tt.history {
				tx := r.Begin()
				tx.KeepHistory()
				tx.Commit(nil)
			}
			r.write(0, 1)
			var readers sync.WaitGroup
			for _, read := range tt.readers {
				readers.Go(func() { r.until(read) })
			}
			r.write(1, raceEntries)
			close(r.done)
			readers.Wait()
			r.Settle()
		})
	}
}

// until calls read until the writer has ended.
func (r *raceStore) until(read func(*raceStore)) {
	for !r.t.Failed() {
		select {
		case <-r.done:
			return
		default:
			read(r)
		}
	}
}

// write makes the entries from one number to another. The first request of an entry sets the
// keys of group 0, the second changes another group, both to the entry's number.
func (r *raceStore) write(from, to int) {
	for n := from; n < to; n++ {
		tx := r.Begin()
		value := binary.BigEndian.AppendUint64(make([]byte, 0, 100), uint64(n))[:8+rand.IntN(90)]
		for _, group := range []int{0, 1 + n%(raceGroups-1)} {
			tx.NextRequest()
			for i := range raceKeys {
				if group > 0 && n/raceGroups%2 == 1 {
					tx.Delete(raceKey(group, i), 0)
				} else {
					tx.Put(kv.Item{Key: raceKey(group, i), Value: value})
				}
			}
		}
		if revision := tx.Revision(); n%3 == 0 && revision > 50 && tx.History() {
			if err := tx.Compact(revision - uint64(rand.IntN(50))); err != nil && !errors.Is(err, kv.ErrCompacted) {
				r.t.Error(err)
			}
		}
		tx.Commit(nil)
	}
}

func numberOf(it kv.Item) uint64 { return binary.BigEndian.Uint64(it.Value) }

// readPoint reads one key several times, which never goes back.
func (r *raceStore) readPoint() {
	key := raceKey(0, rand.IntN(raceKeys))
	var last, lastRevision uint64
	for range 20 {
		it, revision, found := r.Get(key)
		if !found {
			r.t.Errorf("%s is gone at %d", key, revision)
			return
		}
		if n := numberOf(it); n < last || revision < lastRevision || it.ModRevision > revision {
			r.t.Errorf("%s: %d at %d after %d at %d", key, n, revision, last, lastRevision)
		}
		last, lastRevision = numberOf(it), revision
	}
}

// readPoints reads two keys of an entry: the second is not older than the first.
func (r *raceStore) readPoints() {
	a, _, found := r.Get(raceKey(0, rand.IntN(raceKeys)))
	b, _, foundB := r.Get(raceKey(0, rand.IntN(raceKeys)))
	if !found || !foundB || numberOf(b) < numberOf(a) {
		r.t.Errorf("read %v after %v", b, a)
	}
}

// readView reads a view, in which each group has all keys of one entry, or none.
func (r *raceStore) readView() {
	v, err := r.View(0)
	if err != nil {
		r.t.Error(err)
		return
	}
	defer v.Close()
	r.checkItems(v)
	r.checkItems(v)
}

func (r *raceStore) checkItems(v *mvcc.View) {
	for group := range raceGroups {
		span := kv.Prefix(fmt.Sprintf("group-%d/", group))
		items := slices.Collect(v.Ascend(span))
		if n := len(items); n != 0 && n != raceKeys || v.Count(span) != n {
			r.t.Errorf("group %d has %d keys, count %d", group, n, v.Count(span))
		}
		for _, it := range items {
			if numberOf(it) != numberOf(items[0]) || it.ModRevision != items[0].ModRevision || it.ModRevision > v.Revision() {
				r.t.Errorf("group %d at %d has %v and %v", group, v.Revision(), it, items[0])
			}
		}
	}
}

// readAt reads two keys at one past revision.
func (r *raceStore) readAt() {
	revision := r.Revision() - uint64(rand.IntN(20))
	a, found, err := r.GetAt(raceKey(0, 0), revision)
	b, foundB, errB := r.GetAt(raceKey(0, 1), revision)
	for _, err := range []error{err, errB} {
		if err != nil && !errors.Is(err, kv.ErrCompacted) && !errors.Is(err, kv.ErrFuture) {
			r.t.Error(err)
		}
	}
	if err == nil && errB == nil && (found != foundB || found && (numberOf(a) != numberOf(b) || a.ModRevision > revision)) {
		r.t.Errorf("at %d: got %v and %v", revision, a, b)
	}
}

// readSnapshot checks that the versions of each key are in order, and reach back far enough.
func (r *raceStore) readSnapshot() {
	s := r.Snapshot()
	defer s.Close()
	var last mvcc.Version
	count := 0
	for v := range s.Versions() {
		if v.Item.Key < last.Item.Key || v.Item.Key == last.Item.Key && v.Item.ModRevision >= last.Item.ModRevision {
			r.t.Errorf("version %v after %v", v, last)
		}
		if v.Item.Key == raceKey(0, 0) {
			count++
		}
		last = v
	}
	// Each second revision changes group 0.
	if want := int(s.Revision()-s.CompactRevision()) / 2; count < want {
		r.t.Errorf("%d versions from %d to %d, want at least %d", count, s.CompactRevision(), s.Revision(), want)
	}
}

// watch reads all changes: none is left out unless it says so, and none comes after a batch
// without changes of its revision or a later one.
func (r *raceStore) watch() {
	next, progress := r.Revision()+1, uint64(0)
	c := r.Changes(mvcc.ChangesOptions{From: next, Previous: true})
	for !r.t.Failed() {
		b, err := c.Next()
		switch {
		case errors.Is(err, kv.ErrCompacted):
			next = r.Revision() + 1
			c = r.Changes(mvcc.ChangesOptions{From: next, Previous: true})
			continue
		case err != nil:
			r.t.Error(err)
			return
		case len(b.Changes) == 0:
			progress = b.Revision
			select {
			case <-r.done:
				return
			default:
				continue
			}
		}
		if b.Revision != next || b.Revision <= progress {
			r.t.Errorf("changes of %d, want %d, after progress to %d", b.Revision, next, progress)
		}
		r.checkChanges(b)
		next++
	}
}

// readOldest reads the oldest changes, which are compacted meanwhile: it gets all of them, or
// an error.
func (r *raceStore) readOldest() {
	from := max(r.CompactRevision(), 2)
	b, err := r.Changes(mvcc.ChangesOptions{From: from, Previous: true}).Next()
	switch {
	case errors.Is(err, kv.ErrCompacted):
	case err != nil:
		r.t.Error(err)
	case len(b.Changes) > 0:
		if b.Revision != from {
			r.t.Errorf("changes of %d, want %d", b.Revision, from)
		}
		r.checkChanges(b)
	case r.Revision() > from+1:
		r.t.Errorf("no changes from %d on, but %+v", from, b)
	}
}

// checkChanges checks one batch of changes.
func (r *raceStore) checkChanges(b mvcc.Batch) {
	if len(b.Changes) != raceKeys {
		r.t.Errorf("%d changes at %d", len(b.Changes), b.Revision)
	}
	for i, change := range b.Changes {
		created := !change.Deleted && change.Item.CreateRevision == b.Revision
		if change.Item.ModRevision != b.Revision || int(change.Order) != i || change.Existed == created {
			r.t.Errorf("change %d of %d: %+v", i, b.Revision, change)
		}
		if change.Existed && !change.Deleted && change.Previous.Version+1 != change.Item.Version {
			r.t.Errorf("version %d after %d", change.Item.Version, change.Previous.Version)
		}
	}
}
