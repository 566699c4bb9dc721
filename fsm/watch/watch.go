package watch

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// errClosed is returned by Next after Close.
var errClosed = errors.New("the watch is closed")

// Watch implements kv.Watch.
type Watch struct {
	h       *Hub
	group   *group
	options kv.WatchOptions
	wake    chan struct{} // receives when those who wait were taken
	// snapshot is the state with which the watch begins, nil if it begins with changes.
	snapshot *state

	place  place // guarded by group.mu
	closed atomic.Bool

	// The following belong to the goroutine that calls Next. While it waits, they are
	// guarded by group.mu.
	next    uint64 // all changes before it were returned
	partial bool   // and those of it before order, which is an order in the revision
	order   uint32
	state   *state      // snapshot, nil once it was returned
	reader  reader      // of changes
	due     time.Time   // when to tell of progress
	timer   *time.Timer // for due, nil before the first use
}

var _ kv.Watch = (*Watch)(nil)

// begin sets where the watch begins.
func (w *Watch) begin() error {
	s, err := w.h.source()
	if err != nil {
		return err
	}
	switch from := w.options.From; {
	case w.options.Snapshot:
		view, err := s.View(0)
		if err != nil {
			return err
		}
		w.snapshot = &state{rest: w.options.Span, revision: view.Revision(), store: s, view: view}
		w.state, w.next = w.snapshot, view.Revision()+1
	case from == 0:
		w.next = s.Revision() + 1
	default:
		if oldest := s.CompactRevision(); from < oldest {
			return &kv.CompactedError{Revision: from, CompactRevision: oldest}
		}
		w.next = from
	}
	return nil
}

// Close implements kv.Watch.
func (w *Watch) Close() error {
	if w.closed.Swap(true) {
		return nil
	}
	w.h.leave(w)
	if w.group.unpark(w) {
		w.wake <- struct{}{}
	}
	return nil
}

// ended returns why the watch has ended.
func (w *Watch) ended() error {
	switch {
	case w.h.closed.Load():
		return kv.ErrClosed
	case w.closed.Load():
		return errClosed
	}
	return nil
}

// Revision implements kv.Watch.
func (w *Watch) Revision() uint64 {
	if w.state != nil {
		return 0
	}
	w.group.mu.Lock()
	defer w.group.mu.Unlock()
	w.advanceLocked()
	return w.next - 1
}

// advanceLocked moves next to the first revision at which something may have changed. It
// returns false if there is none, and then moves next behind the revisions that have their
// notes. Between the parts of a revision it stays there, because that revision is noted, or
// not above unnoted.
func (w *Watch) advanceLocked() bool {
	matched := w.h.matched.Load() // before the notes
	first, found := w.group.firstLocked(w.next)
	if !found {
		first = max(first, matched+1)
	}
	w.next = first
	return found
}

// Next implements kv.Watch.
func (w *Watch) Next(ctx context.Context) (kv.WatchBatch, error) {
	if w.state != nil {
		return w.nextState(ctx)
	}
	if w.options.Progress > 0 {
		w.due = time.Now().Add(w.options.Progress)
	}
	for first := true; ; first = false {
		if err := w.ended(); err != nil {
			return kv.WatchBatch{}, err
		}
		if err := ctx.Err(); err != nil && !first {
			return kv.WatchBatch{}, err
		}
		if w.park() {
			if b, err := w.read(); err != nil || len(b.Events) > 0 {
				return b, err
			}
		} else {
			w.sleep(ctx)
		}
		if b, told := w.progress(); told {
			return b, nil
		}
	}
}

// park returns true if there may be changes to read, or if the watch has ended. Otherwise it
// adds the watcher to those that wait for some. Such a watcher keeps no store but the hub's.
func (w *Watch) park() (found bool) {
	w.group.mu.Lock()
	defer w.group.mu.Unlock()
	if w.advanceLocked() && w.h.store.Load() != nil || w.h.closed.Load() || w.closed.Load() {
		return true
	}
	if w.reader.store != w.h.store.Load() {
		w.reader = reader{} // a store that is replaced later is dropped by group.letGo
	}
	w.group.parkLocked(w)
	return false
}

// sleep waits until the watcher is woken, ctx ends or there is progress to tell.
func (w *Watch) sleep(ctx context.Context) {
	var due <-chan time.Time
	if !w.due.IsZero() {
		if rest := time.Until(w.due); w.timer == nil {
			w.timer = time.NewTimer(rest)
		} else {
			w.timer.Reset(rest)
		}
		defer w.timer.Stop()
		due = w.timer.C
	}
	select {
	case <-w.wake:
		return
	case <-due:
	case <-ctx.Done():
	}
	if !w.group.unpark(w) {
		<-w.wake
	}
}

// progress returns a batch without changes if it is due: of progress, or of waiting before the
// store has reached the revision before From.
func (w *Watch) progress() (kv.WatchBatch, bool) {
	if w.due.IsZero() || time.Now().Before(w.due) {
		return kv.WatchBatch{}, false
	}
	w.due = time.Now().Add(w.options.Progress)
	b := kv.WatchBatch{Kind: kv.WatchProgress, Revision: w.Revision()}
	if matched := w.h.matched.Load(); b.Revision > matched {
		b = kv.WatchBatch{Kind: kv.WatchWaiting, Revision: matched}
	}
	return b, true
}
