package fsm

import (
	"slices"
	"sync"
)

// MaxRetired is the maximum number of retired ids that the state remembers. Where
// there would be more, the one retired first is forgotten, on every replica at the
// same entry.
//
// Invariant: while fewer than MaxRetired ids are remembered, none was forgotten, so
// an id that is not among them was never retired. From then on that is not known,
// see RetiredFull, and who admits members has to ask for more.
const MaxRetired = 10_000

// retiredIDs are ids that never may be members again. It is safe for concurrent use;
// one goroutine at a time adds to it.
type retiredIDs struct {
	mu    sync.RWMutex        // guards the fields below
	order []string            // in which they were retired
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

// add adds id, which must not be there, and returns the ids that are forgotten for that.
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
	s.hash += retiredHash(id)
	for _, old := range s.retired.add(id) {
		s.hash -= retiredHash(old)
	}
}

// Retired reports whether an applied RetireRequest named id, and it is remembered; see
// MaxRetired.
func (f *FSM) Retired(id string) bool { return f.state.Load().retired.has(id) }

// RetiredCount returns the number of retired ids that are remembered.
func (f *FSM) RetiredCount() int { return f.state.Load().retired.len() }

// RetiredFull reports whether retired ids may have been forgotten, so that
// Retired returns false of some of them.
func (f *FSM) RetiredFull() bool { return f.RetiredCount() >= MaxRetired }
