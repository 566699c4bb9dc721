package kv

import (
	"context"
	"sync"
	"time"
)

// EventKind says what happened to a key.
type EventKind uint8

// Kinds of events. Their text is their name in the API.
const (
	EventPut    EventKind = iota // the key has a new value, or new attributes
	EventDelete                  // a request deleted the key
	EventExpire                  // the key was deleted because its deadline has passed, or its lease has run out
	EventEvict                   // the key was deleted to make room; see Quota

	eventKinds // the number of kinds
)

// eventNames are the texts of the kinds.
var eventNames = [eventKinds]string{"put", "delete", "expire", "evict"}

// String returns the kind's name in the API.
func (k EventKind) String() string {
	if k >= eventKinds {
		return "unknown"
	}
	return eventNames[k]
}

// EventKindOf returns the kind with a name, and whether there is one.
func EventKindOf(name string) (EventKind, bool) {
	for k, text := range eventNames {
		if text == name {
			return EventKind(k), true
		}
	}
	return 0, false
}

// EventKinds is a set of kinds of events. The zero value means all of them.
type EventKinds uint8

// Kinds returns the set of these kinds.
func Kinds(kinds ...EventKind) EventKinds {
	var set EventKinds
	for _, k := range kinds {
		set |= 1 << k
	}
	return set
}

// Has reports whether a kind is in the set.
func (s EventKinds) Has(k EventKind) bool { return s == 0 || s&(1<<k) != 0 }

// Event is one change of a key.
type Event struct {
	Kind EventKind
	// Item is the key's item after the change. If the key was deleted, it has the Key, and
	// the ModRevision of the deletion.
	Item Item
	// Prev is the key's item before the revision of the change, nil if there was none, or
	// if WatchOptions.PrevItems is not set.
	Prev *Item
}

// WatchOptions say what a watch returns.
type WatchOptions struct {
	// Span has the keys that are watched.
	Span Span
	// From is the revision of the first changes. 0 means that the watch begins with the
	// first change after the state that a read with Level and MinRevision would see. A
	// watch from a future revision waits until the store has reached it.
	From uint64
	// Snapshot makes the watch return that state first, and then every change after it.
	// From must be 0.
	Snapshot bool
	// PrevItems asks for Event.Prev.
	PrevItems bool
	// Kinds are the kinds of events that are returned.
	Kinds EventKinds
	// Progress is the time without any changes after which the watch returns a batch that
	// has none; 0 means that it returns no such batch.
	Progress time.Duration
	// Level is the guarantee of the state with which the watch begins, and MinRevision its
	// lowest revision, as in ReadOptions. If From is not 0, they mean nothing.
	Level       Consistency
	MinRevision uint64
}

// MinWatchProgress is the minimum of WatchOptions.Progress.
const MinWatchProgress = 100 * time.Millisecond

// Validate returns a *ValidationError if the options contradict each other.
func (o *WatchOptions) Validate() error {
	switch {
	case o.Span.Empty():
		return invalidf("span", "has no keys")
	case o.Snapshot && o.From != 0:
		return invalidf("from_revision", "and snapshot exclude each other")
	case o.Progress != 0 && o.Progress < MinWatchProgress:
		return invalidf("progress", "must be at least %v", MinWatchProgress)
	}
	return nil
}

// WatchKind says what a WatchBatch has.
type WatchKind uint8

// Kinds of batches.
const (
	// WatchChanges is the kind of a batch with changes of one revision, in the order in
	// which they were made: all that the watch wants, or a part of them. The batches after a
	// part have the other parts, in order; the last of them has no Partial.
	WatchChanges WatchKind = iota
	// WatchState is the kind of a batch with a part of the state at Revision. Parts come in
	// byte order of their keys, and another batch of the state follows.
	WatchState
	// WatchSynced is the kind of the batch after the state, which has no items. Changes
	// after Revision follow.
	WatchSynced
	// WatchProgress is the kind of a batch without changes: all changes up to Revision were
	// returned.
	WatchProgress
	// WatchWaiting is the kind of a batch without changes of a watch from a future revision:
	// the store has only reached Revision, which is before the first changes of the watch.
	WatchWaiting
)

// Maximum size of a part of a revision, and of a part of the state.
const (
	// MaxWatchEvents is the maximum number of events of a batch, and of items of a part of
	// the state.
	MaxWatchEvents = 256
	// MaxWatchBytes is the maximum number of bytes of keys, values and previous values of a
	// batch, not counting its last event or item.
	MaxWatchBytes = 64 << 10
)

// WatchBatch is what a watch returns at once. Its items are immutable.
type WatchBatch struct {
	Kind     WatchKind
	Revision uint64
	Events   []Event // of WatchChanges, at least one
	// Partial says that the revision has more changes, and that the next batch has them.
	// Until a batch without it, the user has only a part of the revision, and
	// Watch.Revision is that of the one before.
	Partial bool
	Items   []Item // of WatchState, at least one
	// Forms are the encodings of the batch, nil if no other watch returns it.
	Forms *BatchForms
}

// BatchForms keeps the encodings of a batch that several watches return, so that each is made
// once for all of them. The zero value is empty. It is safe for concurrent use.
type BatchForms struct {
	mu    sync.Mutex
	forms map[string][]byte
}

// Get returns the encoding with a name, which the first caller makes. It must not be modified.
func (f *BatchForms) Get(name string, encode func() []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	form, made := f.forms[name]
	if !made {
		if form = encode(); f.forms == nil {
			f.forms = make(map[string][]byte)
		}
		f.forms[name] = form
	}
	return form
}

// Watch returns the changes of keys, each once and in the order of their revisions. It has
// no buffer: it reads the history when Next is called, and a revision with many changes in
// parts. So a slow user delays nobody. If the history that it has not read is compacted,
// Next returns a *CompactedError. That may happen between two parts of a revision. The user
// then has what Watch.Revision says, and the parts count for nothing.
type Watch interface {
	// Next returns the next batch and waits until there is one. If ctx has ended before, it
	// does not wait: it returns a batch if there is one, and otherwise the error of ctx. One
	// goroutine at a time may call it. The watch continues after an error of ctx, and after no
	// other error. Other errors are a *CompactedError, ErrBehind if the node's state was
	// replaced before the whole state of a snapshot was returned, so that the user has to
	// begin again, ErrClosed when the node stops, and an error after Close.
	Next(ctx context.Context) (WatchBatch, error)
	// Revision returns one up to which Next has returned all changes. A watch from the
	// revision after it, on any node, continues this one. A part of a revision does not
	// count. Before the whole state of a snapshot was returned it is 0. It may be called by
	// the goroutine that calls Next.
	Revision() uint64
	// Close ends the watch, and a Next that waits. It is idempotent and returns nil.
	Close() error
}
