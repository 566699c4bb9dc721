package watch

import (
	"context"
	"fmt"
	"sync"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

// state is the rest of the state with which a watch begins. It is read from a view, which
// keeps replaced values in memory. When another store replaces the present one, the hub drops
// the view, and the rest is read from a view of the other store at the same revision.
type state struct {
	rest     kv.Span // belongs to the goroutine that calls Next
	revision uint64

	mu     sync.Mutex // guards the fields below
	store  *mvcc.Store
	view   *mvcc.View // of store; nil after drop
	closed bool       // there is no view any more
}

// drop lets go of the view and its store. Iterations over the view end early.
func (s *state) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked()
}

func (s *state) dropLocked() {
	if s.view != nil {
		_ = s.view.Close() // always nil
		s.store, s.view = nil, nil
	}
}

// close drops the view for ever. It is idempotent.
func (s *state) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.dropLocked()
}

// open returns a view of the state's revision, nil while h has no store. The error is
// errClosed, or kv.ErrBehind if the store has no such revision.
func (s *state) open(h *Hub) (*mvcc.View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	store := h.store.Load() // with mu held, so that a drop after a replacement finds this view
	switch {
	case s.closed:
		return nil, errClosed
	case s.view != nil || store == nil:
		return s.view, nil
	}
	view, err := store.View(s.revision)
	if err != nil {
		return nil, fmt.Errorf("%w: its state was replaced by one that has no revision %d any more, before all of that was returned: begin the watch again",
			kv.ErrBehind, s.revision)
	}
	s.store, s.view = store, view
	return view, nil
}

// nextState returns the next part of the state, or the batch after its end. It waits while the
// hub has no store.
func (w *Watch) nextState(ctx context.Context) (kv.WatchBatch, error) {
	for first := true; ; first = false {
		if err := w.ended(); err != nil {
			return kv.WatchBatch{}, err
		}
		if err := ctx.Err(); err != nil && !first {
			return kv.WatchBatch{}, err
		}
		view, err := w.state.open(w.h)
		if err != nil {
			return kv.WatchBatch{}, err
		}
		if view != nil {
			if b, whole := w.readState(view); whole {
				return b, nil
			}
		} else if !w.parkForStore() {
			w.sleep(ctx)
		}
	}
}

// parkForStore returns true if there is a store, or if the watch has ended. Otherwise it adds
// the watcher to those that wait.
func (w *Watch) parkForStore() (found bool) {
	w.group.mu.Lock()
	defer w.group.mu.Unlock()
	if w.h.store.Load() != nil || w.h.closed.Load() || w.closed.Load() {
		return true
	}
	w.group.parkLocked(w)
	return false
}

// readState reads the next part of the state from a view. It returns false if the view was
// dropped meanwhile.
func (w *Watch) readState(view *mvcc.View) (b kv.WatchBatch, whole bool) {
	b = kv.WatchBatch{Kind: kv.WatchState, Revision: w.state.revision}
	bytes := 0
	for it := range view.Ascend(w.state.rest) {
		b.Items = append(b.Items, it)
		if bytes += len(it.Key) + len(it.Value); bytes >= kv.MaxWatchBytes || len(b.Items) == kv.MaxWatchEvents {
			break
		}
	}
	if view.Err() != nil {
		return kv.WatchBatch{}, false
	}
	if n := len(b.Items); n > 0 {
		w.state.rest.Start = b.Items[n-1].Key + "\x00"
		return b, true
	}
	w.h.stateRead(w.state)
	w.state = nil
	b.Kind = kv.WatchSynced
	return b, true
}
