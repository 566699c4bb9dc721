package leadership

import (
	"sync"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/clock"
	"github.com/kvorum/kvorum/internal/nodeid"
)

// Tracker keeps the newest State of one node. It is level-triggered: a waiter that is woken
// looks at Current again, so that nothing is lost when changes follow each other quickly.
// All methods are safe for concurrent use.
type Tracker struct {
	mu      sync.Mutex
	state   State         // guarded by mu
	changed chan struct{} // guarded by mu; closed and replaced at every change
}

// State is one observation of leadership.
type State struct {
	Leader raft.ServerID // empty while none is known
	Term   *Term         // set while this node leads and has begun its term
}

// LeaderName returns the name part of the leader's server id, "" while none is known.
func (s State) LeaderName() string { return nodeid.NameOf(s.Leader) }

// Term is a term that this node, as the leader, has begun, and its cluster clock.
type Term struct {
	number uint64
	clock  *clock.Clock
}

// BeginTerm returns the term of that number, with its clock.
func BeginTerm(number uint64, c *clock.Clock) *Term { return &Term{number, c} }

// Number returns the term's number, as raft counts terms.
func (t *Term) Number() uint64 { return t.number }

// Clock returns the term's cluster clock.
func (t *Term) Clock() *clock.Clock { return t.clock }

// Stamp returns the cluster clock's reading now, in nanoseconds since the Unix epoch.
func (t *Term) Stamp() int64 { return t.clock.Stamp() }

// New returns a tracker that knows no leader.
func New() *Tracker { return &Tracker{changed: make(chan struct{})} }

// Current returns the newest observation, and a channel that is closed when it changes.
func (t *Tracker) Current() (State, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state, t.changed
}

// SetLeader records the leader, "" for none, and the term that raft is in. self is this
// node. A term that this node has begun as the leader ends with another leader, and with
// another term of its own: its change from the one to the other may have been too quick to
// be observed.
func (t *Tracker) SetLeader(leader, self raft.ServerID, term uint64) {
	t.update(func(s *State) {
		s.Leader = leader
		if leader != self || (s.Term != nil && s.Term.number != term) {
			s.Term = nil
		}
	})
}

// SetTerm records that this node, as the leader, has begun a term.
func (t *Tracker) SetTerm(term *Term) {
	t.update(func(s *State) { s.Term = term })
}

func (t *Tracker) update(change func(*State)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.state
	change(&t.state)
	if t.state != before {
		close(t.changed)
		t.changed = make(chan struct{})
	}
}
