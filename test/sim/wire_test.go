package sim

import (
	"sync"
	"time"
)

const (
	// packet is the minimum number of bytes that a narrow link sends at once.
	packet = 1500
	// turn is the time for which one connection uses a narrow link while others wait,
	// unless a packet takes longer.
	turn = 2 * time.Millisecond
)

// wire is a narrow link, or the narrow outgoing link of a host. It sends the bytes of its
// connections at the link's rate. The connections take turns, as on a host with a fair
// queue. Each has a buffer of its own before the wire, as in a kernel. Safe for concurrent
// use.
type wire struct {
	net *network

	mu      sync.Mutex
	waiting []*pipe // guarded by mu; pipes with unsent bytes, in the order of their turns
	running bool    // guarded by mu
}

// wireOf returns the wire that a route is on.
func (n *network) wireOf(r route) *wire {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.linkLocked(r).shared {
		r.to = ""
	}
	w := n.wires[r]
	if w == nil {
		w = &wire{net: n}
		n.wires[r] = w
	}
	return w
}

// rate returns the bytes per second that a link carries, 0 for no limit.
func (n *network) rate(r route) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.linkLocked(r).rate
}

// enlist gives a pipe its turns.
func (w *wire) enlist(p *pipe) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, p)
	if !w.running {
		w.running = true
		go w.run()
	}
}

// next removes and returns the pipe whose turn it is. It returns nil if there is none: run
// ends then.
func (w *wire) next() *pipe {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		w.running = false
		return nil
	}
	p := w.waiting[0]
	w.waiting = w.waiting[1:]
	return p
}

// run sends the waiting bytes until there are none.
func (w *wire) run() {
	for p := w.next(); p != nil; p = w.next() {
		rate := w.net.rate(p.route)
		n := p.unsent()
		if rate > 0 {
			n = min(n, max(packet, int(rate*int64(turn)/int64(time.Second))))
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
		}
		if p.leave(n) {
			w.enlist(p)
		}
	}
}
