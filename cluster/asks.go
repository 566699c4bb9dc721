package cluster

import (
	"sync"

	"github.com/hashicorp/raft"
)

// asks are questions to raft that are answered once an entry is committed and
// applied. Raft forgets some of them when it is shut down: what its state machine's
// goroutine has not taken by then is answered to nobody, and who asked would wait
// for ever. So raft is shut down when all have been answered, and not before: with
// a quorum they soon are, and a leader that is cut off from its peers, which close
// sees to, gives up within its lease.
type asks struct {
	mu     sync.Mutex
	closed bool           // guarded by mu: no question is asked any more
	open   sync.WaitGroup // grows only while closed is false
}

// ask returns what question does, or raft.ErrNotLeader without asking it once
// close was called.
func (a *asks) ask(question func() error) error {
	a.mu.Lock()
	closed := a.closed
	if !closed {
		a.open.Add(1)
	}
	a.mu.Unlock()
	if closed {
		return raft.ErrNotLeader
	}
	defer a.open.Done()
	return question()
}

// close refuses further questions, and returns what is closed when all that were
// asked are answered.
func (a *asks) close() (answered <-chan struct{}) {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.open.Wait()
	}()
	return done
}
