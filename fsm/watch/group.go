package watch

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// maxNotes is the maximum number of notes of a group.
const maxNotes = 8

// group has the watchers of one span.
type group struct {
	span    kv.Span
	members int // guarded by Hub.mu
	// several is set once there were several members.
	several atomic.Bool
	// rest is when the watchers may be woken again; it belongs to the goroutine that wakes.
	rest time.Time

	mu      sync.Mutex // guards the fields below, and the place and next of watchers that wait
	unnoted uint64     // up to this revision there may be changes without a note
	notes   []uint64   // revisions above unnoted at which something changed, ascending
	quiet   quiet
	waiting []*Watch
	round   uint64 // the number of times that waiting was taken
	queued  bool   // the waker will take waiting
}

// note notes that something in the span changed at a revision. It returns true if watchers
// must be woken, and the caller has to queue the group.
func (g *group) note(revision uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.notes)
	if revision <= g.unnoted || n > 0 && g.notes[n-1] == revision {
		return false // nobody waits for it
	}
	if n == maxNotes {
		g.unnoted = g.notes[0]
		g.notes = append(g.notes[:0], g.notes[1:]...)
	}
	g.notes = append(g.notes, revision)
	return g.queueLocked()
}

// unsure notes that anything up to a revision may have changed. The result is that of note.
func (g *group) unsure(revision uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unnoted = max(g.unnoted, revision)
	for len(g.notes) > 0 && g.notes[0] <= g.unnoted {
		g.notes = append(g.notes[:0], g.notes[1:]...)
	}
	return g.queueLocked()
}

// quiet are revisions of the store before the last Replace without changes in the span, up
// to one at which all were noted.
type quiet struct{ first, last uint64 }

// forget begins the notes again on a store at another revision. There are notes of all changes
// up to revision before. The result is that of note.
func (g *group) forget(before, revision uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	noted := g.unnoted
	if n := len(g.notes); n > 0 {
		noted = g.notes[n-1]
	}
	g.quiet = quiet{noted + 1, before}
	g.unnoted, g.notes = revision, g.notes[:0]
	return g.queueLocked()
}

// firstLocked returns the first revision at or after next at which something may have
// changed, and whether there is one.
func (g *group) firstLocked(next uint64) (uint64, bool) {
	if g.quiet.first <= next && next <= g.quiet.last {
		next = g.quiet.last + 1
	}
	if next <= g.unnoted {
		return next, true
	}
	i, _ := slices.BinarySearch(g.notes, next)
	if i == len(g.notes) {
		return next, false
	}
	return g.notes[i], true
}

// place is where a watcher waits.
type place struct {
	round uint64 // it waits if this is the group's
	at    int    // its position in group.waiting
}

// nowhere is the place of a watcher that never waited.
var nowhere = place{round: math.MaxUint64}

// parkLocked adds a watcher to those that wait.
func (g *group) parkLocked(w *Watch) {
	w.place = place{g.round, len(g.waiting)}
	g.waiting = append(g.waiting, w)
}

// unpark ends the waiting of a watcher. It returns false if the watcher does not wait: it
// was woken.
func (g *group) unpark(w *Watch) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.place.round != g.round {
		return false
	}
	last := len(g.waiting) - 1
	g.waiting[w.place.at] = g.waiting[last]
	g.waiting[w.place.at].place.at = w.place.at
	g.waiting[last] = nil
	g.waiting = g.waiting[:last]
	w.place = nowhere
	return true
}

// advance moves all watchers that wait to what they have to look at next.
func (g *group) advance() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.waiting {
		w.advanceLocked()
	}
}

// letGo makes watchers that wait forget the store.
func (g *group) letGo() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.waiting {
		w.reader = reader{}
	}
}

// queueLocked reports whether watchers wait and the group is not queued yet, and notes that
// it is.
func (g *group) queueLocked() bool {
	queues := len(g.waiting) > 0 && !g.queued
	g.queued = g.queued || queues
	return queues
}

// queue is queueLocked.
func (g *group) queue() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.queueLocked()
}

// take returns the watchers that wait, who must be woken then. The group gets an empty slice
// for those who will wait.
func (g *group) take(empty []*Watch) []*Watch {
	g.mu.Lock()
	defer g.mu.Unlock()
	taken := g.waiting
	g.waiting, g.queued = empty, false
	g.round++
	return taken
}
