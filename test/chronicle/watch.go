package chronicle

import (
	"fmt"
	"slices"

	"github.com/kvorum/kvorum/kv"
)

// Watch records one watch, which may continue on other nodes. One goroutine at a time uses
// it.
type Watch struct {
	c       *Chronicle
	who     string
	options kv.WatchOptions
	auditor bool // what it is told is what others are compared with

	call     Call
	begun    bool
	after    uint64     // changes after this revision were to be delivered
	position uint64     // guarded by c.mu; all changes up to it were delivered
	told     uint64     // the revision of the last batch with changes
	parts    []kv.Event // of the revision of which only parts were delivered
	partsOf  uint64     // that revision, 0 for none

	snapshot  uint64 // revision of the state with which it began, 0 for none
	whole     bool   // the whole state was delivered
	items     []kv.Item
	revisions []uint64     // of the batches
	events    [][]kv.Event // of each, unless it is an auditor
}

// Watch begins the record of a watch with these options: call is the moment before it was
// asked for.
func (c *Chronicle) Watch(call Call, who string, options kv.WatchOptions) *Watch {
	return &Watch{c: c, who: who, options: options, call: call}
}

// Auditor begins the record of a watch of all keys, from a snapshot on and with previous
// items. Its options are returned by Options.
func (c *Chronicle) Auditor(who string) *Watch {
	w := c.Watch(c.Call(), who, kv.WatchOptions{Span: kv.All(), Snapshot: true, PrevItems: true})
	w.auditor = true
	return w
}

// Options returns those with which the watch is to be opened, or to be continued on another
// node.
func (w *Watch) Options() kv.WatchOptions {
	options := w.options
	if w.begun {
		options.From, options.Snapshot = w.Position()+1, false
		options.Level, options.MinRevision = "", 0
	}
	return options
}

// Position returns the revision up to which all changes were delivered.
func (w *Watch) Position() uint64 {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	return w.position
}

// Opened records that the watch was opened, or continued, and that all changes up to
// revision count as delivered. For a snapshot that is not delivered yet revision is 0.
func (w *Watch) Opened(revision uint64) error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	w.parts, w.partsOf = nil, 0
	if w.begun {
		return w.reachedLocked(revision)
	}
	if w.options.Snapshot {
		w.snapshot, w.whole, w.items = 0, false, nil // its beginning may be tried again
		return nil
	}
	w.beginLocked(revision)
	if from := w.options.From; from != 0 {
		w.after, w.position = from-1, max(from-1, revision)
		return nil
	}
	return w.c.sawLocked(w.call, "the beginning of a watch of "+w.who, revision)
}

func (w *Watch) beginLocked(revision uint64) {
	w.begun, w.after, w.position, w.told = true, revision, revision, revision
	w.c.watches = append(w.c.watches, w)
}

// Again records that the watch, which has not begun, is asked for again.
func (w *Watch) Again(who string) {
	if !w.begun {
		w.call = w.c.Call()
	}
	w.who = who
}

// Reached records that the node says all changes up to a revision were delivered. newest is
// the revision of the node's store, later.
func (w *Watch) Reached(revision, newest uint64) error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if !w.begun {
		return nil
	}
	if revision > max(newest, w.position) {
		return fmt.Errorf("the watch of %s is at revision %d, and the store at %d", w.who, revision, newest)
	}
	return w.reachedLocked(revision)
}

func (w *Watch) reachedLocked(revision uint64) error {
	if revision < w.position {
		return fmt.Errorf("the watch of %s is at revision %d after %d", w.who, revision, w.position)
	}
	w.position = revision
	return nil
}

// Received records a batch. A progress mark is to be given to Reached, too.
func (w *Watch) Received(b kv.WatchBatch) error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if b.Kind == kv.WatchState || b.Kind == kv.WatchSynced {
		return w.stateLocked(b)
	}
	if !w.begun {
		return fmt.Errorf("the watch of %s delivers changes of revision %d before its snapshot", w.who, b.Revision)
	}
	switch {
	case b.Kind == kv.WatchProgress:
		return w.reachedLocked(b.Revision)
	case b.Kind == kv.WatchWaiting && b.Revision > w.position:
		return fmt.Errorf("the watch of %s waits at revision %d, and is to deliver what follows %d", w.who, b.Revision, w.position)
	case b.Kind == kv.WatchWaiting:
		return nil
	}
	return w.changesLocked(b)
}

// changesLocked records changes of a revision. A part of them counts when the last one is there.
func (w *Watch) changesLocked(b kv.WatchBatch) error {
	switch {
	case w.partsOf != 0 && w.partsOf != b.Revision:
		return fmt.Errorf("the watch of %s delivers revision %d after a part of %d", w.who, b.Revision, w.partsOf)
	case b.Revision == w.told && len(w.revisions) > 0:
		return fmt.Errorf("the watch of %s delivers revision %d in two parts, as if each were all", w.who, b.Revision)
	case b.Revision <= w.position:
		return fmt.Errorf("the watch of %s delivers revision %d after it was at %d", w.who, b.Revision, w.position)
	case len(b.Events) == 0:
		return fmt.Errorf("the watch of %s delivers revision %d without changes", w.who, b.Revision)
	}
	events := append(w.parts, briefEvents(b.Events)...)
	if b.Partial {
		w.parts, w.partsOf = events, b.Revision
		return nil
	}
	w.parts, w.partsOf = nil, 0
	w.position, w.told = b.Revision, b.Revision
	w.c.newest = max(w.c.newest, b.Revision)
	w.revisions = append(w.revisions, b.Revision)
	if w.auditor {
		return w.c.changedLocked(w.who, b.Revision, events)
	}
	w.events = append(w.events, events)
	return nil
}

// stateLocked records a part of a snapshot, or its end.
func (w *Watch) stateLocked(b kv.WatchBatch) error {
	if w.begun || w.snapshot != 0 && w.snapshot != b.Revision {
		return fmt.Errorf("the watch of %s delivers a state of revision %d after one of %d", w.who, b.Revision, w.snapshot)
	}
	w.snapshot = b.Revision
	w.items = append(w.items, briefItems(b.Items)...)
	if b.Kind == kv.WatchState {
		return nil
	}
	w.whole = true
	w.beginLocked(b.Revision)
	if !slices.IsSortedFunc(w.items, byKeys) {
		return fmt.Errorf("the watch of %s delivers a state that is not in order", w.who)
	}
	if w.auditor {
		if _, ok := w.c.bases[b.Revision]; !ok {
			w.c.bases[b.Revision] = w.items
		}
	}
	return w.c.sawLocked(w.call, "the snapshot of a watch of "+w.who, b.Revision)
}

// Lost records that the watch can't be continued, because changes that it has not delivered
// are compacted. after is the compact revision of the node, later.
func (w *Watch) Lost(err *kv.CompactedError, after uint64) error {
	next := w.options.From
	if w.begun {
		next = w.Position() + 1
	}
	return w.c.Compacted(w.who, next, err, after)
}
