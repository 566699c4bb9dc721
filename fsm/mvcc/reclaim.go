package mvcc

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Limits of one step, during which writers wait. A step does an amount of work that does not
// depend on the size of the store: some hundred microseconds of processor time.
const (
	stepChanges = 256      // number of changes of the log
	stepBytes   = 32 << 10 // of a chunk whose records are moved
	// commitChanges is the number of changes that a Commit reclaims itself while the store
	// keeps no history.
	commitChanges = 4096
)

// reclaimer gives back the memory of history that is compacted, in small steps between
// entries. It walks over the revision log, up to the compact revision or to the lowest one
// that a view needs. It marks as dead what each change superseded, removes keys whose newest
// version is a deletion, and drops chunks without live records. It moves the records of a
// chunk that is mostly dead.
//
// What is dead, or moved, and may still be reached:
//
//   - A version that was superseded below the compact revision. A reader without a view may
//     meet it, or a place where it was. Then the reader finds that its revision is compacted.
//   - A deletion below the compact revision. The place where it was means the same: no item.
//   - A version that was superseded at the compact revision stays: it is what the changes of
//     that revision have as previous item. Without history it goes too.
//   - Only newest versions are moved, and only those before the compact revision, so that
//     neither the log nor another version refers to them. Slots are their only references.
//     The other records of the chunk were superseded later, and die with the next compactions.
//   - A key that was removed is in the trees of older views. Its slot keeps its last version,
//     from which they know the key, until they are closed.
type reclaimer struct {
	// turn is held while an entry changes the store, and during a step. It is taken before
	// Store.mu.
	turn sync.Mutex
	// waiting is the number of goroutines that wait for turn to change the store. Steps are
	// only made while there is none.
	waiting atomic.Int32

	running sync.WaitGroup // the goroutine that makes steps, while there is work

	// Guarded by Store.mu.
	active  bool // the goroutine runs
	closed  bool
	reached uint64       // versions that were superseded before this revision are dead
	removed removedSlots // slots of removed keys that a view may name, the oldest first
	chunk   uint32       // the one whose records are being moved; 0 for none
	offset  int          // of its next record
}

// removedSlot is the slot of a removed key.
type removedSlot struct {
	slot uint32
	last ref    // the version in the slot, a deletion
	view uint64 // number of the newest view that may name the slot
}

// removedSlots is a queue of removed slots. It consists of blocks, so that a push never copies
// a long queue.
type removedSlots struct {
	blocks [][]removedSlot
	next   int // the first one in the first block
}

// removedBlock is the number of removed slots of a block.
const removedBlock = 1024

// first returns the oldest one, nil if there is none.
func (q *removedSlots) first() *removedSlot {
	if len(q.blocks) == 0 {
		return nil
	}
	return &q.blocks[0][q.next]
}

// pop removes the oldest one.
func (q *removedSlots) pop() {
	if q.next++; q.next == len(q.blocks[0]) {
		q.blocks, q.next = q.blocks[1:], 0
	}
	if len(q.blocks) == 0 {
		q.blocks = nil
	}
}

func (q *removedSlots) push(gone removedSlot) {
	if n := len(q.blocks); n == 0 || len(q.blocks[n-1]) == removedBlock {
		q.blocks = append(q.blocks, make([]removedSlot, 0, removedBlock))
	}
	last := &q.blocks[len(q.blocks)-1]
	*last = append(*last, gone)
}

// reclaimCommittedLocked reclaims memory after a Commit has changed the compact revision.
func (s *Store) reclaimCommittedLocked() {
	if s.history {
		s.reclaimLocked()
		return
	}
	if s.walkLocked(commitChanges) || len(s.keys.arena.sparse) > 0 {
		s.reclaimLocked()
	}
}

// reclaimReleasedLocked reclaims memory after a view was closed.
func (s *Store) reclaimReleasedLocked() {
	if s.reclaimer.removed.first() != nil || s.reclaimer.reached < s.targetLocked() {
		s.reclaimLocked()
	}
}

// reclaimLocked starts the goroutine that makes steps, unless it runs.
func (s *Store) reclaimLocked() {
	if r := &s.reclaimer; !r.active && !r.closed {
		r.active = true
		r.running.Go(s.reclaim)
	}
}

// reclaim makes steps until there is no more work.
func (s *Store) reclaim() {
	for s.step() {
		runtime.Gosched()
		for s.reclaimer.waiting.Load() > 0 {
			runtime.Gosched()
		}
	}
}

// step makes one step and reports whether there may be more work.
func (s *Store) step() bool {
	s.reclaimer.turn.Lock()
	defer s.reclaimer.turn.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.reclaimer
	r.active = !r.closed && s.stepLocked()
	return r.active
}

func (s *Store) stepLocked() bool {
	if s.forgetRemovedLocked() {
		return true
	}
	if s.walkLocked(stepChanges) {
		return true
	}
	return s.evacuateLocked()
}

// targetLocked returns the revision before which superseded versions are dead.
func (s *Store) targetLocked() uint64 {
	target := s.compacted.Load()
	if !s.history {
		target++
	}
	return s.views.lowest(target)
}

// walkLocked walks over up to limit changes of the log, and reports whether more remain.
func (s *Store) walkLocked(limit int) bool {
	target := s.targetLocked()
	if target <= s.reclaimer.reached {
		return false
	}
	for range limit {
		if s.log.len() == 0 {
			s.reclaimer.reached = target
			return false
		}
		r := s.log.at(s.log.first)
		rec := s.keys.arena.at(r)
		if rec.head().revision() >= target {
			s.reclaimer.reached = target
			return false
		}
		s.log.drop()
		s.killSupersededLocked(rec)
		if rec.head().has(flagDeleted) {
			s.killDeletionLocked(rec.key(), r)
		}
	}
	return true
}

// killSupersededLocked marks the version that rec superseded as dead, unless it was a
// deletion and is dead already.
func (s *Store) killSupersededLocked(rec record) {
	p := rec.previous()
	if old := s.keys.arena.at(p); !old.isZero() && !old.head().has(flagDead) {
		s.killLocked(p)
	}
}

// killLocked marks a version as dead that was superseded, or a deletion.
func (s *Store) killLocked(r ref) {
	s.versions--
	s.oldBytes -= int64(s.keys.arena.kill(r))
}

// killDeletionLocked marks a deletion as dead: a key without a version that can be read does
// not exist either. If it is the key's newest version, it removes the key.
func (s *Store) killDeletionLocked(key string, deletion ref) {
	hash := hashOf(key)
	slot, _, newest := s.table.get(hash, key)
	if newest == deletion {
		s.table.delete(hash, slot)
		s.tree.delete(key, slot)
		if s.views.count > 0 {
			s.reclaimer.removed.push(removedSlot{slot, deletion, s.views.opened})
			return
		}
		s.keys.slots.release(slot)
	}
	s.killLocked(deletion)
}

// forgetRemovedLocked frees the slots of removed keys that no view names any more. It reports
// whether it stopped before the last of them because a step ended.
func (s *Store) forgetRemovedLocked() bool {
	removed := &s.reclaimer.removed
	for range stepChanges {
		gone := removed.first()
		if gone == nil || s.views.first != nil && s.views.first.number <= gone.view {
			return false
		}
		s.keys.slots.release(gone.slot)
		s.killLocked(gone.last)
		removed.pop()
	}
	return true
}

// evacuateLocked moves some records of a chunk that is mostly dead. It reports whether there
// may be more to move.
func (s *Store) evacuateLocked() bool {
	r, a := &s.reclaimer, &s.keys.arena
	if r.chunk != 0 && a.dropped(r.chunk) {
		r.chunk = 0
	}
	if r.chunk == 0 {
		if r.chunk, r.offset = a.takeSparse(r.reached), 0; r.chunk == 0 {
			return false
		}
	}
	c := a.chunkOf(r.chunk)
	for budget := stepBytes; budget > 0 && r.offset < c.used; {
		at := newRef(r.chunk, r.offset)
		rec := a.at(at)
		size := rec.size()
		r.offset += size
		budget -= size
		if !rec.head().has(flagDead) && s.moveLocked(rec, at) {
			rec.setDead()
			c.live -= size
		}
	}
	if r.offset == c.used {
		c.evacuated = true
		a.settle(r.chunk)
		r.chunk = 0
	}
	return true
}

// moveLocked moves a record if it is the newest version of its key.
func (s *Store) moveLocked(rec record, from ref) bool {
	key := rec.key()
	slot, _, newest := s.table.get(hashOf(key), key)
	if newest != from {
		return false
	}
	s.keys.slots.at(slot).Store(uint64(s.keys.arena.move(from)))
	return true
}

// takeSparse returns a sparse chunk all of whose records are of revisions before limit, 0 if
// there is none.
func (a *arena) takeSparse(limit uint64) (found uint32) {
	kept := a.sparse[:0]
	for _, number := range a.sparse {
		switch {
		case a.dropped(number):
		case found == 0 && a.chunkOf(number).newest < limit:
			found = number
		default:
			kept = append(kept, number)
		}
	}
	a.sparse = kept
	return found
}
