package httpapi

import (
	"sync"
	"time"
)

// stopGrace is how long a client may still take an answer to a read once the
// server stops, or once the answer has begun if that is later. What it has not
// taken then is broken off: a list may be longer than anybody wants to wait.
const stopGrace = time.Second

// answers holds the answers to reads that are under way, so that a server that
// stops can bound them.
type answers struct {
	mu       sync.Mutex
	open     map[*response]struct{} // guarded by mu
	stopping bool                   // guarded by mu
}

// add notes an answer until the function that it returns is called.
func (a *answers) add(w *response) (done func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		a.open = make(map[*response]struct{})
	}
	a.open[w] = struct{}{}
	if a.stopping {
		w.stop()
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.open, w)
	}
}

// stop bounds all answers to reads, also those that are still to come.
func (a *answers) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopping = true
	for w := range a.open {
		w.stop()
	}
}
