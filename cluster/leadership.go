package cluster

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// leadership is what a replica knows of who leads. It is level-triggered: who
// waits on changed looks again at current, so that nothing is lost when
// changes follow each other quickly. Safe for concurrent use.
type leadership struct {
	mu      sync.Mutex
	state   leaderState   // guarded by mu
	changed chan struct{} // guarded by mu; closed and replaced at every change
}

// leaderState is one observation of leadership.
type leaderState struct {
	leader raft.ServerID // empty while none is known
	term   *termStart    // set while this node leads and has begun its term
}

// termStart is the leader's clock of one term. Stamps are base plus elapsed
// monotonic time, so a jump of the wall clock within a term moves nothing.
type termStart struct {
	term uint64
	base int64 // nanoseconds since the Unix epoch: the cluster clock when the term began
	at   time.Time
}

func newLeadership() *leadership { return &leadership{changed: make(chan struct{})} }

// stamp returns the cluster clock's reading now.
func (t *termStart) stamp() int64 { return t.base + int64(time.Since(t.at)) }

// current returns the newest observation, and a channel that is closed when it changes.
func (l *leadership) current() (leaderState, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state, l.changed
}

// setLeader records who leads, and in which term. A term that this node has begun
// as the leader ends with another leader, and with another term of its own: its
// change from the one to the other may have been too quick to be observed.
func (l *leadership) setLeader(leader, self raft.ServerID, term uint64) {
	l.update(func(s *leaderState) {
		s.leader = leader
		if leader != self || (s.term != nil && s.term.term != term) {
			s.term = nil
		}
	})
}

// setTerm records that this node, as the leader, has begun its term.
func (l *leadership) setTerm(t *termStart) {
	l.update(func(s *leaderState) { s.term = t })
}

func (l *leadership) update(change func(*leaderState)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.state
	change(&l.state)
	if l.state != before {
		close(l.changed)
		l.changed = make(chan struct{})
	}
}
