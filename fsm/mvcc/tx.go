package mvcc

import (
	"fmt"

	"github.com/kvorum/kvorum/kv"
)

// Tx makes the changes of one log entry. Readers see none of them before Commit, and all of
// them after it. A Tx belongs to one goroutine, and there is one at a time. It cannot be
// undone: its user checks a request before the request's first change.
//
// An entry consists of requests, each of which begins with NextRequest. The changes of one
// request have one revision, and are ordered in it.
type Tx struct {
	s *Store

	revision uint64 // of the newest change
	changed  bool   // the present request has changed something
	order    uint32 // of the request's next change
	before   uint64 // the newest revision before the present request

	clock         int64  // the cluster clock in milliseconds, after Commit
	length, bytes int64  // of the store after the changes
	compact       uint64 // the compact revision after Commit
}

// Begin begins the changes of an entry. It waits until the previous Tx is committed.
func (s *Store) Begin() *Tx {
	s.reclaimer.waiting.Add(1)
	s.reclaimer.turn.Lock()
	s.reclaimer.waiting.Add(-1)
	t := &s.tx
	*t = Tx{
		s: s, revision: s.revision.Load(), compact: s.compacted.Load(), clock: s.clock.Load(),
		length: s.length.Load(), bytes: s.bytes.Load(),
	}
	return t
}

// SetClock moves the cluster clock, in milliseconds since the Unix epoch, unless it is later
// already. It is called before the first request.
func (t *Tx) SetClock(clock int64) { t.clock = max(t.clock, clock) }

// NextRequest begins a request of the entry.
func (t *Tx) NextRequest() {
	t.before = t.revision
	t.NextRevision()
}

// NextRevision gives the further changes of the present request a revision of their own, if
// there are any.
func (t *Tx) NextRevision() { t.changed, t.order = false, 0 }

// Revision returns that of the newest change, those of the Tx included.
func (t *Tx) Revision() uint64 { return t.revision }

// CompactRevision returns the oldest revision that can be read after Commit.
func (t *Tx) CompactRevision() uint64 { return t.compact }

// Changed reports whether the present request has changed something.
func (t *Tx) Changed() bool { return t.changed }

// Len returns the number of keys, with the changes of the Tx.
func (t *Tx) Len() int { return int(t.length) }

// Bytes returns the number of bytes of all items, with the changes of the Tx; see the function
// Bytes.
func (t *Tx) Bytes() int64 { return t.bytes }

// Get returns the item of key after the changes of the Tx, and whether there is one. A key
// whose deadline the clock has reached counts as absent. The item aliases the store's memory.
func (t *Tx) Get(key string) (it kv.Item, found bool) {
	_, rec, _ := t.s.table.get(hashOf(key), key)
	if !rec.existsAt(t.clock) {
		return kv.Item{}, false
	}
	return rec.item(), true
}

// GetAt returns the item that key had at a revision, which may be one of the Tx, whether or not
// it has expired. Errors are those of Store.GetAt.
func (t *Tx) GetAt(key string, revision uint64) (it kv.Item, found bool, err error) {
	if err := t.check(revision); err != nil {
		return kv.Item{}, false, err
	}
	rec, _ := t.s.find(hashOf(key), key, revision)
	return rec.item(), rec.exists(), nil
}

// View returns a view of a revision, which may be one of the Tx; 0 means the newest, with the
// changes that the present request has made so far. That one, and a view of the newest
// revision before the present request, show no key whose deadline the clock has reached.
// Errors are those of Store.GetAt. The caller closes the view.
func (t *Tx) View(revision uint64) (*View, error) {
	hides := revision == 0 || revision == t.before
	if revision == 0 {
		revision = t.revision
	} else if err := t.check(revision); err != nil {
		return nil, err
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	v := t.s.viewLocked(revision, revision)
	if v.clock = t.clock; hides {
		v.hidden = t.clock
	}
	return v, nil
}

// check returns an error if a revision can't be read.
func (t *Tx) check(revision uint64) error {
	if revision < t.compact {
		return &kv.CompactedError{Revision: revision, CompactRevision: t.compact}
	}
	if revision > t.revision {
		return &kv.FutureError{Revision: revision, Newest: t.revision}
	}
	return nil
}

// Put sets the key of it to a copy of its value, lease, deadline, flags and content type. Its
// revisions and its version are computed. Put returns the new item, which aliases it, and
// the item before, which aliases the store's memory, and whether there was one. It panics
// if the item exceeds MaxItemBytes or kv.MaxContentTypeBytes, and if the clock has reached the
// deadline of the key's item: Expire is to remove that first.
func (t *Tx) Put(it kv.Item) (stored, previous kv.Item, existed bool) {
	s, hash := t.s, hashOf(it.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	slot, old, oldRef := s.table.get(hash, it.Key)
	if existed = old.exists(); existed {
		if old.readItem(old.head(), &previous); previous.Deadline != 0 && previous.Deadline <= t.clock {
			panic(fmt.Sprintf("mvcc: put of a key that has expired, at revision %d", t.revision))
		}
	}
	it.ModRevision = t.nextRevision()
	it.CreateRevision, it.Version = it.ModRevision, 1
	bytes := t.bytes
	t.bytes += Bytes(&it)
	if existed {
		it.CreateRevision, it.Version = previous.CreateRevision, previous.Version+1
		t.bytes -= Bytes(&previous)
		s.versions++
		s.oldBytes += int64(old.size())
	} else {
		t.length++
	}
	v := Version{Item: it, Order: t.nextOrder()}
	var l link
	if oldRef != 0 {
		l = s.keys.arena.linkTo(oldRef)
	}
	r, _ := s.keys.arena.put(&s.keys.arena.fresh, &v, l)
	if slot != 0 {
		s.keys.slots.at(slot).Store(uint64(r))
	} else {
		slot = s.keys.slots.take(r)
		s.table.insert(hash, slot)
		s.tree.insert(it.Key, slot)
	}
	s.deadlines.change(slot, previous.Deadline, it.Deadline)
	s.noteWriteLocked(slot, it.Key, !existed, t.bytes-bytes)
	s.attachments.change(slot, previous.Lease, it.Lease)
	s.log.append(r)
	return it, previous, existed
}

// Delete deletes key. It returns the key's item, which aliases the store's memory, and
// whether there was one; without one it changes nothing, nor if the clock has reached the
// item's deadline. The cause is a number of the caller's, which Changes and Versions have.
func (t *Tx) Delete(key string, cause uint8) (previous kv.Item, existed bool) {
	return t.remove(key, cause, false)
}

// remove deletes a key that has expired, or one that has not.
func (t *Tx) remove(key string, cause uint8, expired bool) (previous kv.Item, existed bool) {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	slot, old, oldRef := s.table.get(hashOf(key), key)
	if !old.exists() || old.expired(t.clock) != expired {
		return kv.Item{}, false
	}
	old.readItem(old.head(), &previous)
	s.deadlines.change(slot, previous.Deadline, 0)
	s.noteDeleteLocked(slot, Bytes(&previous))
	s.attachments.change(slot, previous.Lease, 0)
	v := Version{Item: kv.Item{Key: key, ModRevision: t.nextRevision()}, Order: t.nextOrder(), Deleted: true, Cause: cause}
	r, size := s.keys.arena.put(&s.keys.arena.fresh, &v, s.keys.arena.linkTo(oldRef))
	s.keys.slots.at(slot).Store(uint64(r))
	s.log.append(r)
	t.length--
	t.bytes -= Bytes(&previous)
	s.versions += 2
	s.oldBytes += int64(old.size() + size)
	return previous, true
}

// nextRevision returns the revision of the request's next change.
func (t *Tx) nextRevision() uint64 {
	if !t.changed {
		t.changed = true
		t.revision++
	}
	return t.revision
}

// nextOrder returns the order of the request's next change.
func (t *Tx) nextOrder() uint32 {
	t.order++
	return t.order - 1
}

// Compact lets go of the history before a revision: with Commit it becomes the oldest one
// that can be read. The error is a *kv.CompactedError if it is not above the present compact
// revision, and a *kv.FutureError if the store has not reached it.
func (t *Tx) Compact(revision uint64) error {
	if revision <= t.compact {
		return &kv.CompactedError{Revision: revision, CompactRevision: t.compact}
	}
	if revision > t.revision {
		return &kv.FutureError{Revision: revision, Newest: t.revision}
	}
	t.compact = revision
	return nil
}

// CompactAll lets go of all history. It takes a revision for itself: what the changes of the
// compact revision superseded is kept, and a revision without changes has superseded nothing.
func (t *Tx) CompactAll() {
	t.revision++
	t.compact = t.revision
}

// History reports whether the store keeps superseded versions.
func (t *Tx) History() bool { return t.s.history }

// KeepHistory makes the store keep superseded versions from now on. It is called before the
// first change of a Tx. It takes a revision for itself, which becomes the compact revision
// unless the store never had a change: the versions that were superseded before are gone, so
// changes of an earlier revision can't be shown with what they superseded. If the store
// keeps history already, nothing happens.
func (t *Tx) KeepHistory() {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.history {
		return
	}
	if t.revision != s.revision.Load() {
		panic(fmt.Sprintf("mvcc: KeepHistory after changes of the Tx, at revision %d", t.revision))
	}
	s.history = true
	t.compact = 0
	if t.revision > 0 {
		t.compact = t.revision + 1
	}
	t.revision++
}

// Commit lets readers see the changes, and then calls publish, which may be nil. A view shows
// none of the changes, or its View returned after publish did. publish must be quick and
// must not use the Store.
func (t *Tx) Commit(publish func()) {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	oldestChange := t.compact
	if !s.history {
		t.compact = t.revision
		oldestChange = t.revision + 1
	}
	s.log.publish()
	s.length.Store(t.length)
	s.bytes.Store(t.bytes)
	s.deadlines.publish()
	s.clock.Store(t.clock)
	s.revision.Store(t.revision)
	before := s.compacted.Swap(t.compact)
	s.oldestChange.Store(oldestChange)
	if publish != nil {
		publish()
	}
	if t.compact != before {
		s.reclaimCommittedLocked()
	}
	s.reclaimer.turn.Unlock()
}
