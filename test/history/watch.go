package history

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
)

// Event is a change of a key, as a watch delivers it.
type Event struct {
	Key            string
	Deleted        bool
	Value          string // of a put
	CreateRevision uint64 // of a put
	Version        uint64 // of a put
	// Prev is the modify revision of the item before; 0 if there was none, or if the watch
	// did not ask for it.
	Prev uint64
}

// Watcher records what a watch of keys delivers. It belongs to one goroutine. It may consist
// of several streams: each continues after the revision of the previous one, or begins with a
// state. All revisions are those of the cluster.
type Watcher struct {
	h      *History
	name   string
	prefix string // of the keys that are watched, "" for all
	prev   bool   // it gets Prev

	// guarded by h.mu
	spans     []covered
	first     []int       // of each span: the index of its first delivery
	delivered []delivered // in the order of arrival
	broken    []string    // that are seen in this watch alone
	more      int         // number of further ones
}

// covered is a range of revisions all of whose changes were delivered: those above after,
// up to upTo.
type covered struct{ after, upTo uint64 }

// delivered is a message with the changes of a revision.
type delivered struct {
	revision uint64
	sum      uint64 // of the events
}

// change is the changes of one revision, as a watch of all keys has delivered them.
type change struct {
	events []Event // with short values
	sum    uint64
	from   *Watcher
}

// state is all keys with the history's prefix at a revision.
type state struct {
	from     string
	revision uint64
	items    int
	sum      uint64
	final    map[string]Item // the items, of a state of the end
}

// changes are the deliveries of all watches.
type changes struct {
	watchers []*Watcher
	at       map[uint64]*change
	states   []state // with which streams began, and those of Final
	bases    []base  // those of them from which changes are applied, in order; see keepLocked
	acked    []acked
	differ   []string // texts about revisions that two watches have delivered differently
}

// base is a state with its items.
type base struct {
	revision uint64
	items    map[string]Item // with short values
}

// acked is a change whose answer named its revision.
type acked struct {
	revision uint64
	event    Event // only Key, Deleted and a short Value
	whole    int   // number of changes of the revision, 0 if it is not known
}

// Watcher returns the record of a new watch of the keys that begin with prefix.
func (h *History) Watcher(name, prefix string, prev bool) *Watcher {
	w := &Watcher{h: h, name: name, prefix: prefix, prev: prev}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changes.watchers = append(h.changes.watchers, w)
	return w
}

// After returns the revision after which a new stream can continue, 0 if there is none.
func (w *Watcher) After() uint64 {
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	if len(w.spans) == 0 {
		return 0
	}
	return w.spans[len(w.spans)-1].upTo
}

// Begin records that a stream begins, with changes after a revision.
func (w *Watcher) Begin(revision uint64) {
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	w.spans = append(w.spans, covered{revision, revision})
	w.first = append(w.first, len(w.delivered))
}

// Continue records that a stream says it continues after a revision: that of After, which
// the client asked for, or a later one up to which there was no change of these keys.
func (w *Watcher) Continue(revision uint64) {
	w.reach(revision, false, "a stream begins after revision %d, and was to continue after %d")
}

// State records the state with which a stream of all keys begins. Changes after the revision
// follow.
func (w *Watcher) State(revision uint64, items []Item) {
	w.Begin(revision)
	w.h.addState(w.name, revision, items, false)
}

// Final records the state of a node at the end. It must be the result of all changes.
func (h *History) Final(name string, revision uint64, items []Item) {
	h.addState(name, revision, items, true)
}

// addState records a state, without keys that do not have the history's prefix.
func (h *History) addState(name string, revision uint64, items []Item, final bool) {
	s := state{from: name, revision: revision}
	kept := map[string]Item{}
	for _, item := range items {
		if !strings.HasPrefix(item.Key, h.prefix) {
			continue
		}
		item.Value = digest(item.Value)
		kept[item.Key] = item
		s.items++
		s.sum += sumOf(item)
	}
	if final {
		s.final = kept
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changes.states = append(h.changes.states, s)
	if !final {
		h.changes.keepLocked(base{revision, kept})
	}
}

// keepLocked adds a state from which changes can be applied, and lets go of those that are the
// result of an earlier one and its changes. So one is left for each range of revisions that
// watches of all keys have covered without a gap.
func (c *changes) keepLocked(b base) {
	at, _ := slices.BinarySearchFunc(c.bases, b.revision, func(b base, revision uint64) int { return cmp.Compare(b.revision, revision) })
	c.bases = slices.Insert(c.bases, at, b)
	known, kept := c.known(), c.bases[:1]
	for _, b := range c.bases[1:] {
		before := kept[len(kept)-1].revision
		if !slices.ContainsFunc(known, func(k covered) bool { return k.after <= before && b.revision <= k.upTo }) {
			kept = append(kept, b)
		}
	}
	clear(c.bases[len(kept):])
	c.bases = kept
}

// known returns the revisions that watches of all keys cover together, in order.
func (c *changes) known() (known []covered) {
	var all []covered
	for _, w := range c.watchers {
		if w.prefix == "" {
			all = append(all, w.spans...)
		}
	}
	slices.SortFunc(all, func(a, b covered) int { return cmp.Compare(a.after, b.after) })
	for _, c := range all {
		if last := len(known) - 1; last >= 0 && c.after <= known[last].upTo {
			known[last].upTo = max(known[last].upTo, c.upTo)
		} else {
			known = append(known, c)
		}
	}
	return known
}

// Changes records a message with the changes of a revision.
func (w *Watcher) Changes(revision uint64, events []Event) {
	c := &change{events: make([]Event, len(events)), from: w}
	for i, e := range events {
		e.Value = digest(e.Value)
		c.events[i] = e
		c.sum = c.sum*31 + sumOfEvent(e)
		if !strings.HasPrefix(e.Key, w.prefix) {
			w.broke("it got a change of %s at revision %d, and watches %s", e.Key, revision, w.prefix)
		}
	}
	w.reach(revision, true, "changes of revision %d came after revision %d")
	h := w.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(events) == 0 {
		w.breakLocked("a message of revision %d has no changes", revision)
	}
	w.delivered = append(w.delivered, delivered{revision, c.sum})
	if w.prefix != "" {
		return
	}
	switch first := h.changes.at[revision]; {
	case first == nil:
		h.changes.at[revision] = c
	case first.sum != c.sum && len(h.changes.differ) < breachesKept:
		h.changes.differ = append(h.changes.differ, fmt.Sprintf("revision %d has the changes %v for the %s, and %v for the %s",
			revision, first.events, first.from.name, c.events, w.name))
	case !first.from.prev && w.prev:
		h.changes.at[revision] = c // it says more
	}
}

// Progress records a message that says that all changes up to a revision were delivered.
func (w *Watcher) Progress(revision uint64) {
	w.reach(revision, false, "progress up to revision %d came after revision %d")
}

// reach records that all up to a revision was delivered. It must be above the last one if
// there is more, and not below it otherwise.
func (w *Watcher) reach(revision uint64, more bool, otherwise string) {
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	last := &w.spans[len(w.spans)-1]
	if revision < last.upTo || more && revision == last.upTo {
		w.breakLocked(otherwise, revision, last.upTo)
	}
	last.upTo = max(last.upTo, revision)
}

// broke is breakLocked for a caller without the lock.
func (w *Watcher) broke(format string, args ...any) {
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	w.breakLocked(format, args...)
}

// breakLocked records an error of this watch.
func (w *Watcher) breakLocked(format string, args ...any) {
	if len(w.broken) == breachesKept {
		w.more++
		return
	}
	w.broken = append(w.broken, fmt.Sprintf("the %s: ", w.name)+fmt.Sprintf(format, args...))
}

// Changed records that a request was acknowledged with changes at a revision: it made
// these. whole is the number of all its changes, 0 if it is not known.
func (h *History) Changed(revision uint64, whole int, events ...Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		e.Value = digest(e.Value)
		h.changes.acked = append(h.changes.acked, acked{revision, e, whole})
	}
}

// digest returns a text that stands for a value, and is short.
func digest(value string) string {
	if len(value) <= 48 {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	return fmt.Sprintf("%.24s… %d bytes %x", short(value), len(value), sum[:8])
}

// sumSeed makes the sums of this process comparable.
var sumSeed = maphash.MakeSeed()

// sumOf returns a hash of an item.
func sumOf(item Item) uint64 { return maphash.Comparable(sumSeed, item) }

// sumOfEvent returns a hash of an event without Prev.
func sumOfEvent(e Event) uint64 {
	e.Prev = 0
	return maphash.Comparable(sumSeed, e)
}
