package httpapi

import (
	"math/rand/v2"
	"sync"
	"time"
)

// stopGrace is the maximum time for the rest of an answer to a read after the server stops,
// or after the answer begins if that is later. Then the connection is broken: a list may
// take much longer.
const stopGrace = time.Second

// answers holds the answers to reads in flight, so that a server that stops can limit their
// time. Each is in one of several lists, so that requests seldom wait for each other.
type answers [16]answerList

// answerList is a part of the answers.
type answerList struct {
	mu       sync.Mutex
	first    *response // guarded by mu, as the links of the responses are
	stopping bool      // guarded by mu
}

// add adds an answer until remove is called.
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

// remove removes an answer.
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

// stop limits the time of all answers to reads, also of later ones.
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
