package transport

import (
	"context"
	"sync"
)

// livesPing is set in the numbers of pings that lives sends; those that a link
// sends at intervals are without it.
const livesPing = 1 << 63

// pings are questions for a sign of life that wait for an answer. The zero value
// is ready.
type pings struct {
	// mu guards the fields below.
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan struct{} // closed with the answer
}

func (p *pings) begin() (number uint64, answered <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil {
		p.waiting = make(map[uint64]chan struct{})
	}
	p.last++
	ch := make(chan struct{})
	p.waiting[livesPing|p.last] = ch
	return livesPing | p.last, ch
}

// end settles a ping, if it still waits.
func (p *pings) end(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ch := p.waiting[number]; ch != nil {
		close(ch)
		delete(p.waiting, number)
	}
}

// lives asks the other end for a sign of life, and reports whether one came before
// ctx ended. It was sent after the call began: what was on its way before, from a
// process that has died since, does not count.
func (s *session) lives(ctx context.Context) bool {
	number, answered := s.pings.begin()
	defer s.pings.end(number)
	select {
	case s.urgent <- newOutgoing(appendFrame(nil, framePing, number, 0)):
	case <-s.done:
		return false
	case <-ctx.Done():
		return false
	}
	select {
	case <-answered:
		return true
	case <-s.done:
	case <-ctx.Done():
	}
	return false
}

// answered takes in a pong.
func (s *session) answered(number uint64) { s.pings.end(number) }
