package fsm

import (
	"sync"
	"unsafe"
)

// Await says that somebody waits for the responses to an entry whose Data is entry, that very
// slice, until done is called. An entry that raft has read from its log is another slice: on a
// follower, and on a leader that has lost its term, nobody waits. See Config.AnswerAwaited.
func (f *FSM) Await(entry []byte) (done func()) {
	first := unsafe.SliceData(entry)
	f.awaited.set(first, true)
	return func() { f.awaited.set(first, false) }
}

// awaited are the entries for whose responses somebody waits, by their first bytes. There are
// never more than a few.
type awaited struct {
	mu      sync.Mutex
	entries map[*byte]bool // guarded by mu
}

func (a *awaited) set(first *byte, waits bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !waits {
		delete(a.entries, first)
		return
	}
	if a.entries == nil {
		a.entries = make(map[*byte]bool)
	}
	a.entries[first] = true
}

// has reports whether somebody waits for the responses to an entry.
func (a *awaited) has(entry []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.entries[unsafe.SliceData(entry)]
}
