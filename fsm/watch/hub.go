package watch

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

const (
	// manyWatchers is the number of watchers of a group from which on it rests after it was
	// woken: watcherRest for each that was, up to maxRest.
	manyWatchers = 64
	watcherRest  = 10 * time.Microsecond
	maxRest      = 10 * time.Millisecond
)

// Hub wakes watchers when keys change that they watch.
type Hub struct {
	// store is what watchers read, nil while the state is being replaced.
	store atomic.Pointer[mvcc.Store]
	// matched is the revision up to which the groups have notes of all changes.
	matched atomic.Uint64
	closed  atomic.Bool
	entry   Entry
	shared  shared // parts of revisions of store

	mu     sync.Mutex // guards the fields below, and is held while notes are made
	groups index
	queue  []*group // whose watchers must be woken
	begun  bool     // the goroutine that wakes them runs
	// states are the states that watches have not returned as a whole.
	states map[*state]struct{}
	// compacted is the compact revision at which watchers that wait were last moved.
	compacted uint64

	queued chan struct{} // receives when the queue is not empty
	stop   chan struct{} // closed by Close
	waker  sync.WaitGroup
}

// New returns a Hub of the watchers of a store. It has a goroutine from the first watch until
// Close.
func New(store *mvcc.Store) *Hub {
	h := &Hub{states: make(map[*state]struct{}), queued: make(chan struct{}, 1), stop: make(chan struct{})}
	h.groups.init()
	h.entry.h = h
	h.store.Store(store)
	h.matched.Store(store.Revision())
	return h
}

// Watch begins a watch with the present state of the store. Level and MinRevision of the
// options are for the caller. The store must keep its history. The error is a
// *kv.ValidationError, a *kv.CompactedError, kv.ErrBehind while the store is being replaced,
// and kv.ErrClosed.
func (h *Hub) Watch(options kv.WatchOptions) (*Watch, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	w := &Watch{h: h, options: options, wake: make(chan struct{}, 1), place: nowhere}
	if err := w.begin(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed.Load() {
		h.dropStateLocked(w.snapshot)
		return nil, kv.ErrClosed
	}
	if s := w.snapshot; s != nil {
		h.states[s] = struct{}{}
		if s.store != h.store.Load() { // it was replaced before the hub knew of the state
			s.drop()
		}
	}
	w.group = h.groups.group(options.Span, h.matched.Load())
	if w.group.members++; w.group.members > 1 {
		w.group.several.Store(true)
	}
	if !h.begun {
		h.begun = true
		h.waker.Go(h.wake)
	}
	return w, nil
}

// leave removes a watcher from its group, and the group with its last watcher. It may be
// called by any goroutine.
func (h *Hub) leave(w *Watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropStateLocked(w.snapshot)
	if w.group.members--; w.group.members == 0 {
		h.groups.remove(w.group)
	}
}

// stateRead forgets the state of a watch, which has been returned as a whole.
func (h *Hub) stateRead(s *state) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropStateLocked(s)
}

// dropStateLocked ends a state; nil is none.
func (h *Hub) dropStateLocked(s *state) {
	if s != nil {
		s.close()
		delete(h.states, s)
	}
}

// Len returns the number of watchers.
func (h *Hub) Len() (watchers int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for g := range h.groups.all() {
		watchers += g.members
	}
	return watchers
}

// Entry has the changes of a log entry.
type Entry struct {
	h         *Hub
	collected bool // changes has all changes
	changes   []change
}

// change is a key that changed at a revision.
type change struct {
	key      string
	revision uint64
}

// maxKept is the maximum number of changes of an entry whose memory is used again.
const maxKept = 4096

// Begin returns the entry to which the changes are added that are made next. Published must
// be called after they are visible in the store.
func (h *Hub) Begin() *Entry {
	h.entry.collected = h.groups.len.Load() > 0
	return &h.entry
}

// Changed notes a change. The key must stay valid until Published.
func (e *Entry) Changed(key string, revision uint64) {
	if e.collected {
		e.changes = append(e.changes, change{key, revision})
	}
}

// Published wakes those who watch the entry's keys. The revision is that of the store, which
// shows the whole entry.
func (e *Entry) Published(revision uint64) {
	h := e.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.collected {
		for _, c := range e.changes {
			h.groups.match(c.key, func(g *group) { h.queueLocked(g, g.note(c.revision)) })
		}
	} else { // these groups were made meanwhile
		for g := range h.groups.all() {
			h.queueLocked(g, g.unsure(revision))
		}
	}
	h.matched.Store(revision)
	h.compactedLocked()
	h.wakeLocked()
	if clear(e.changes); cap(e.changes) > maxKept {
		e.changes = nil
	}
	e.changes = e.changes[:0]
}

// compactedLocked makes watchers that wait take in that nothing has changed for them, if the
// store was compacted. Otherwise those that wait for long would seem to need what is compacted,
// when notes give way to newer ones.
func (h *Hub) compactedLocked() {
	s := h.store.Load()
	if s == nil || s.CompactRevision() == h.compacted {
		return
	}
	h.compacted = s.CompactRevision()
	for g := range h.groups.all() {
		g.advance()
	}
}

// Suspend lets go of the store. Watchers wait until Replace. One that does not wait yet keeps
// the store until it does.
func (h *Hub) Suspend() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.store.Store(nil)
	h.dropStoreLocked()
}

// dropStoreLocked makes watchers that wait let go of a store that is no longer the hub's, and all
// watches read from another one what they have not returned of their states, and of parts of
// revisions.
func (h *Hub) dropStoreLocked() {
	for g := range h.groups.all() {
		g.letGo()
	}
	h.shared.clear()
	for s := range h.states {
		s.drop()
	}
}

// Replace makes all watchers continue on another store, which may have an older or a newer
// state. Those that wait let go of the present one, others when they wait or read again.
func (h *Hub) Replace(store *mvcc.Store) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, revision := h.matched.Load(), store.Revision()
	h.store.Store(store)
	for g := range h.groups.all() {
		h.queueLocked(g, g.forget(before, revision))
	}
	h.matched.Store(revision)
	h.dropStoreLocked()
	h.wakeLocked()
}

// Close ends all watches: Next returns kv.ErrClosed. It waits for the Hub's goroutine. It is
// idempotent and returns nil.
func (h *Hub) Close() error {
	h.close()
	h.waker.Wait()
	return nil
}

func (h *Hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed.Swap(true) {
		return
	}
	for g := range h.groups.all() {
		h.queueLocked(g, g.queue())
	}
	close(h.stop)
}

// queueLocked adds a group to the queue, if it must be.
func (h *Hub) queueLocked(g *group, must bool) {
	if must {
		h.queue = append(h.queue, g)
	}
}

// wakeLocked wakes the goroutine that wakes the watchers.
func (h *Hub) wakeLocked() {
	if len(h.queue) > 0 {
		select {
		case h.queued <- struct{}{}:
		default: // it has not looked at the queue since the last time
		}
	}
}

// wake wakes the watchers of the queued groups until Close.
func (h *Hub) wake() {
	var groups []*group
	var watchers []*Watch
	timer := time.NewTimer(0) // for groups that rest
	defer timer.Stop()
	for stopped := false; !stopped; {
		select {
		case <-h.queued:
		case <-timer.C:
		case <-h.stop:
			stopped = true
		}
		groups = h.take(groups)
		now := time.Now()
		resting := groups[:0]
		for _, g := range groups {
			if now.Before(g.rest) && !stopped {
				resting = append(resting, g)
				continue
			}
			watchers = g.take(watchers)
			for j, w := range watchers {
				w.wake <- struct{}{} // has room: a watcher that waits is taken once
				watchers[j] = nil
			}
			g.rest = now.Add(restAfter(len(watchers)))
			watchers = watchers[:0]
		}
		clear(groups[len(resting):])
		groups = resting
		if rest, some := shortest(resting, now); some {
			timer.Reset(rest)
		}
	}
}

// restAfter returns how long a group is not woken again after n of its watchers were. Each
// watcher that is woken costs some microseconds, also in what it sends. Many of them that were
// woken for each change would leave no time for anything else. So they get the changes of a few
// milliseconds at once. The first change after a rest is not delayed.
func restAfter(n int) time.Duration {
	if n < manyWatchers {
		return 0
	}
	return min(time.Duration(n)*watcherRest, maxRest)
}

// shortest returns how long the first of the groups still rests, and whether there is one.
func shortest(groups []*group, now time.Time) (rest time.Duration, some bool) {
	for _, g := range groups {
		if d := g.rest.Sub(now); !some || d < rest {
			rest, some = d, true
		}
	}
	return rest, some
}

// take empties the queue. It returns the groups with those of the queue behind them.
func (h *Hub) take(groups []*group) []*group {
	h.mu.Lock()
	defer h.mu.Unlock()
	groups = append(groups, h.queue...)
	clear(h.queue)
	h.queue = h.queue[:0]
	return groups
}

// source returns the store, or why there is none.
func (h *Hub) source() (*mvcc.Store, error) {
	if s := h.store.Load(); s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%w: its state is being replaced", kv.ErrBehind)
}
