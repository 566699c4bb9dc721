package httpapi

import (
	"math/rand/v2"
	"sync"
	"time"
)

// stopGrace is how long a client may still take an answer to a read once the
// server stops, or once the answer has begun if that is later. What it has not
// taken then is broken off: a list may be longer than anybody wants to wait.
const stopGrace = time.Second

// answers holds the answers to reads that are under way, so that a server that
// stops can bound them. Each is in one of many lists, so that requests seldom wait
// for each other.
type answers [16]answerList

// answerList is a part of the answers.
type answerList struct {
	mu       sync.Mutex
	first    *response // guarded by mu, as the links of the responses are
	stopping bool      // guarded by mu
}

// add notes an answer until remove is called.
func (a *answers) add(w *response) {
	l := &a[rand.IntN(len(a))]
	l.mu.Lock()
	defer l.mu.Unlock()
	w.list, w.next = l, l.first
	if w.next != nil {
		w.next.prev = w
	}
	l.first = w
	if l.stopping {
		w.stop()
	}
}

// remove forgets an answer.
func (a *answers) remove(w *response) {
	l := w.list
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
}

// stop bounds all answers to reads, also those that are still to come.
func (a *answers) stop() {
	for i := range a {
		a[i].stop()
	}
}

func (l *answerList) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = true
	for w := l.first; w != nil; w = w.next {
		w.stop()
	}
}
