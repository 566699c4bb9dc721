package replica

import (
	"sync"

	"github.com/hashicorp/raft"
)

// asks are the questions to raft that are answered once an entry is committed and
// applied. Raft forgets some of them when it is shut down: those whose entries its state
// machine's goroutine has not taken by then. Their callers would wait for ever. So raft is
// shut down only when all have been answered. With a quorum that is soon. Without one it takes
// a lease: Close cuts a leader off from its peers, so that it leads no more.
type asks struct {
	mu     sync.Mutex
	closed bool           // guarded by mu: no question is asked any more
	open   sync.WaitGroup // grows only while closed is false
}

// ask returns the error of question. After close it returns raft.ErrNotLeader, and does not
// call question.
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

// close refuses further questions. The channel is closed when all earlier ones are answered.
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
