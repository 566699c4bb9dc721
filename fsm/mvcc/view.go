package mvcc

import (
	"errors"
	"iter"
	"sync/atomic"

	"github.com/kvorum/kvorum/kv"
)

// ErrViewClosed is returned by View.Err if an iteration ended early because the view was
// closed meanwhile.
var ErrViewClosed = errors.New("the view is closed")

// View shows all keys as they were at one revision. It never changes, and is safe for
// concurrent use. It delays no writer. While it is open, the versions that it shows stay in
// memory, so it must be closed. Items alias the store's memory, and stay valid after Close.
type View struct {
	s         *Store
	tree      tree
	revision  uint64
	compacted uint64
	clock     int64  // the cluster clock in milliseconds
	hidden    int64  // keys with deadlines up to it are not shown; 0 if all are
	shows     bool   // see ShowHidden
	pin       uint64 // versions that were superseded at or after it stay

	closed atomic.Bool
	cut    atomic.Bool // an iteration ended early

	// Guarded by Store.mu.
	number         uint64 // views are numbered in the order in which they were opened
	previous, next *View  // open ones, in that order
}

// views are the open views.
type views struct {
	first, last *View
	count       int
	opened      uint64 // number of the newest one
}

// View returns a view of a revision; 0 means the newest. A view of the newest revision shows no
// key whose deadline the clock has reached. It waits until a clone of a tree's
// root is made, not for the end of an entry. The error is a *kv.CompactedError or a
// *kv.FutureError.
func (s *Store) View(revision uint64) (*View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := s.revision.Load()
	if revision == 0 {
		revision = newest
	} else if err := s.check(revision, newest); err != nil {
		return nil, err
	}
	v := s.viewLocked(revision, revision)
	if next := s.deadlines.next.Load(); revision == newest && next != 0 && next <= v.clock {
		v.hidden = v.clock
	}
	return v, nil
}

// viewLocked opens a view of a revision, which shows keys that have expired too.
func (s *Store) viewLocked(revision, pin uint64) *View {
	vs := &s.views
	vs.opened++
	vs.count++
	v := &View{
		s: s, tree: s.tree.clone(), revision: revision, compacted: s.compacted.Load(), clock: s.clock.Load(), pin: pin,
		number: vs.opened, previous: vs.last,
	}
	if vs.last == nil {
		vs.first = v
	} else {
		vs.last.next = v
	}
	vs.last = v
	return v
}

// remove takes an open view out of the list.
func (vs *views) remove(v *View) {
	vs.count--
	if v.previous == nil {
		vs.first = v.next
	} else {
		v.previous.next = v.next
	}
	if v.next == nil {
		vs.last = v.previous
	} else {
		v.next.previous = v.previous
	}
	v.previous, v.next = nil, nil
}

// lowest returns the lowest pin of the open views, limit if none is below it.
func (vs *views) lowest(limit uint64) uint64 {
	for v := vs.first; v != nil; v = v.next {
		limit = min(limit, v.pin)
	}
	return limit
}

// Close lets go of the view's versions. Iterations that are under way end early, and Get
// finds nothing any more. Close is idempotent, and returns nil.
func (v *View) Close() error {
	if v.closed.Swap(true) {
		return nil
	}
	s := v.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.views.remove(v)
	s.reclaimReleasedLocked()
	return nil
}

// Err returns ErrViewClosed if the view was closed before an iteration or a Get ended.
func (v *View) Err() error {
	if v.cut.Load() {
		return ErrViewClosed
	}
	return nil
}

// Revision returns the one that the view shows.
func (v *View) Revision() uint64 { return v.revision }

// CompactRevision returns the oldest revision that the store could read when the view was
// opened.
func (v *View) CompactRevision() uint64 { return v.compacted }

// Clock returns the cluster clock when the view was opened, in milliseconds since the Unix
// epoch.
func (v *View) Clock() int64 { return v.clock }

// ShowHidden makes the view show the keys that it says to hide. It is for simulations of a
// fault, and is called before the view is used.
func (v *View) ShowHidden() { v.shows = true }

// hides returns the time up to which the deadlines of keys that are not shown are.
func (v *View) hides() int64 {
	if v.shows {
		return 0
	}
	return v.hidden
}

// Hidden returns the time of the cluster clock, in milliseconds since the Unix epoch, up to
// which the deadlines of keys that are not shown are; 0 if all keys are shown.
func (v *View) Hidden() int64 { return v.hidden }

// ended reports whether the view is closed, and what was read may be wrong.
func (v *View) ended() bool {
	if !v.closed.Load() {
		return false
	}
	v.cut.Store(true)
	return true
}

// Get returns the item of key and whether there is one.
func (v *View) Get(key string) (it kv.Item, found bool) {
	slot, rec, _ := v.s.table.get(hashOf(key), key)
	rec = v.s.keys.arena.atRevision(rec, v.revision)
	if v.ended() {
		return kv.Item{}, false
	}
	if !rec.existsAt(v.hides()) {
		return kv.Item{}, false
	}
	v.s.noteRead(slot)
	return rec.item(), true
}

// Ascend yields the items whose keys are in span, in byte order of their keys. It may be
// ranged over several times, also concurrently.
func (v *View) Ascend(span kv.Span) iter.Seq[kv.Item] {
	return func(yield func(kv.Item) bool) {
		v.walk(span, false, func(rec record) bool { return yield(rec.item()) })
	}
}

// Descend is Ascend in descending order.
func (v *View) Descend(span kv.Span) iter.Seq[kv.Item] {
	return func(yield func(kv.Item) bool) {
		v.walk(span, true, func(rec record) bool { return yield(rec.item()) })
	}
}

// Walk is Ascend or Descend. It takes the number of keys that it visits from left, and ends
// when left is negative. Keys that do not exist at the revision count too if the store has
// later versions of them, or their deletion, and if they have expired. That number is the same in all stores with the
// same changes: deletions that are compacted, which stay for a while, are not counted.
func (v *View) Walk(span kv.Span, descending bool, left *int) iter.Seq[kv.Item] {
	return func(yield func(kv.Item) bool) {
		visit := func(rec record) bool {
			if h := rec.head(); !h.has(flagDeleted) || h.revision() > v.compacted {
				*left--
			}
			if *left < 0 {
				return false
			}
			rec = v.s.keys.arena.atRevision(rec, v.revision)
			exists := rec.existsAt(v.hides())
			return !v.ended() && (!exists || yield(rec.item()))
		}
		key, one := span.Key()
		if !one {
			v.slots(span, descending, false, visit)
		} else if _, rec, _ := v.s.table.get(hashOf(key), key); !rec.isZero() {
			visit(rec)
		}
	}
}

// Count returns the number of keys in span. Its cost grows with that number. If the view is
// closed meanwhile, the number is too low.
func (v *View) Count(span kv.Span) (n int) {
	v.walk(span, false, func(record) bool {
		n++
		return true
	})
	return n
}

// walk calls visit for the items in span, until it returns false.
func (v *View) walk(span kv.Span, descending bool, visit func(record) bool) {
	if key, one := span.Key(); one {
		rec, _ := v.s.find(hashOf(key), key, v.revision)
		if exists := rec.existsAt(v.hides()); !v.ended() && exists {
			visit(rec)
		}
		return
	}
	v.slots(span, descending, false, func(newest record) bool {
		rec := v.s.keys.arena.atRevision(newest, v.revision)
		exists := rec.existsAt(v.hides())
		return !v.ended() && (!exists || visit(rec))
	})
}

// slots calls visit with the newest version of each key in span, also of those that did not
// exist at the view's revision, until it returns false. versions says that visit reads older
// versions too.
func (v *View) slots(span kv.Span, descending, versions bool, visit func(newest record) bool) {
	if span.Empty() || v.ended() {
		return
	}
	var c cursor
	if descending {
		c.seekBefore(&v.tree, span.End)
	} else {
		c.seek(&v.tree, span.Start)
	}
	var some upcoming
	for size := 2; c.valid(); size = min(2*size, len(some.slots)) {
		some.collect(&c, descending, size)
		records := some.fetch(v.tree.keys)
		if versions {
			some.fetchPrevious(v.tree.keys)
		}
		for _, newest := range records {
			key := newest.key()
			if descending && key < span.Start || !descending && span.End != "" && key >= span.End || !visit(newest) {
				return
			}
		}
	}
}

// upcoming are the next keys of a walk. Their slots and records are anywhere in memory. If
// they are loaded for several keys at once, the processor waits for all of them together.
type upcoming struct {
	n       int
	slots   [16]uint32
	refs    [16]ref
	records [16]record
}

// collect takes up to size slots from a cursor.
func (u *upcoming) collect(c *cursor, descending bool, size int) {
	for u.n = 0; u.n < size && c.valid(); u.n++ {
		if u.slots[u.n] = c.slot(); descending {
			c.previous()
		} else {
			c.next()
		}
	}
}

// fetch returns the newest versions in the slots.
func (u *upcoming) fetch(k *keys) []record {
	for i, slot := range u.slots[:u.n] {
		u.refs[i] = ref(k.slots.at(slot).Load())
	}
	for i, r := range u.refs[:u.n] {
		if u.records[i] = k.arena.at(r); !u.records[i].isZero() {
			u.records[i].head() // brings the record into the cache
		}
	}
	for i := range u.records[:u.n] {
		if u.records[i].isZero() {
			u.records[i], _ = k.newest(u.slots[i])
		}
	}
	return u.records[:u.n]
}

// fetchPrevious brings the version before each newest one into the cache.
func (u *upcoming) fetchPrevious(k *keys) {
	for _, rec := range u.records[:u.n] {
		if rec.isZero() {
			continue
		}
		if previous := k.arena.at(rec.previous()); !previous.isZero() {
			previous.head()
		}
	}
}
