package fsm

import (
	"slices"
	"sync"
)

// MaxRetired is the maximum number of retired ids that the state remembers. If there would
// be more, the one that was retired first is forgotten, on every replica at the same entry.
//
// Invariant: while fewer than MaxRetired ids are remembered, none was forgotten, so an id
// that is not among them was never retired. With MaxRetired ids this is not certain (see
// RetiredFull), and the admission of a member needs further checks.
const MaxRetired = 10_000

// retiredIDs are ids that may never be members again. They are safe for concurrent use, but
// only one goroutine at a time may add ids.
type retiredIDs struct {
	mu    sync.RWMutex        // guards the fields below
	order []string            // the order in which they were retired
	known map[string]struct{} // the same ids
}

func newRetiredIDs(order []string) *retiredIDs {
	known := make(map[string]struct{}, len(order))
	for _, id := range order {
		known[id] = struct{}{}
	}
	return &retiredIDs{order: order, known: known}
}

func (r *retiredIDs) has(id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.known[id]
	return ok
}

func (r *retiredIDs) len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.order)
}

// all returns a copy, in the order in which the ids were retired.
func (r *retiredIDs) all() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.order)
}

// add adds id, which must not be among the ids, and returns the ids that are forgotten for
// it.
func (r *retiredIDs) add(id string) (forgotten []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	drop := max(0, len(r.order)+1-MaxRetired)
	forgotten = slices.Clone(r.order[:drop])
	for _, old := range forgotten {
		delete(r.known, old)
	}
	clear(r.order[:drop])
	r.order = append(r.order[drop:], id)
	r.known[id] = struct{}{}
	return forgotten
}

// retire makes id one of the retired ones.
func (s *state) retire(id string) {
	if s.retired.has(id) {
		return
	}
	s.hash.items += retiredHash(id)
	for _, old := range s.retired.add(id) {
		s.hash.items -= retiredHash(old)
	}
}

// Retired reports whether id is a remembered retired id; see MaxRetired.
func (f *FSM) Retired(id string) bool { return f.state.Load().retired.has(id) }

// RetiredCount returns the number of retired ids that are remembered.
func (f *FSM) RetiredCount() int { return f.state.Load().retired.len() }

// RetiredFull reports whether retired ids may have been forgotten, so that Retired returns
// false for some of them.
func (f *FSM) RetiredFull() bool { return f.RetiredCount() >= MaxRetired }
