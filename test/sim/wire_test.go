package sim

import (
	"sync"
	"time"
)

const (
	// packet is the least that a narrow link sends at once, in bytes.
	packet = 1500
	// turn is how long one connection has a narrow link to itself while others wait, where
	// that is more than a packet.
	turn = 2 * time.Millisecond
)

// wire is a narrow link, or the narrow way out of a host, at work: what the
// connections on it have written leaves one after the other, at the link's rate. They take turns, as on a host whose queue is
// fair; each has a buffer of its own before that, as in a kernel. Safe for concurrent
// use.
type wire struct {
	net *network

	mu      sync.Mutex
	waiting []*pipe // guarded by mu; those with bytes that have not left, in the order of their turns
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

// rate returns how many bytes per second a link carries, 0 for no bound.
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

// next takes the pipe whose turn it is, nil if there is none: run ends then.
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

// run sends what waits, until nothing does.
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
