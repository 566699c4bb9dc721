package transport

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// lane is one of the connections by which this node reaches a peer: its link while
// there is one, the dial in progress, and when to dial again after a failure.
type lane struct {
	p    *peer
	kind streamKind

	// mu guards the fields below. It is not held across I/O or callbacks.
	mu      sync.Mutex
	link    *link    // the newest; may have ended
	dial    *dialing // the newest in progress, or nil
	dials   int      // in progress, those to addresses from before included
	backoff time.Duration
	retryAt time.Time // no dial to failure.addr before
	failure dialing   // the newest failed dial, if retryAt is set
}

// dialing is one attempt to reach a peer, shared by all calls that wait for it.
type dialing struct {
	addr string
	done chan struct{} // closed when link and err are set
	link *link
	err  error
}

func (n *lane) init(p *peer, kind streamKind) { n.p, n.kind = p, kind }

// connect returns the link, dialing addr at need. It waits for a dial until ctx ends or the
// time end has come, where that is not zero.
func (n *lane) connect(ctx context.Context, end time.Time, addr string) (*link, error) {
	l, d, err := n.find(addr)
	if l != nil || err != nil {
		return l, err
	}
	late, stop := timerAt(end)
	defer stop()
	select {
	case <-d.done:
		return d.link, d.err
	case <-late:
		return nil, context.DeadlineExceeded
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// find returns the link if there is one, or else the dial of addr to wait for, or
// why there is neither. A link to another address is used until the peer has been
// reached at addr: addresses are hints, and this one may be a lie.
func (n *lane) find(addr string) (*link, *dialing, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	usable := n.link != nil && n.link.usable()
	if usable && (n.link.addr == addr || n.dial != nil) {
		return n.link, nil, nil
	}
	d, err := n.dialLocked(addr)
	if usable {
		return n.link, nil, nil
	}
	return nil, d, err
}

// dialLocked returns the dial of addr in progress, having begun it at need, or
// why there is none. A peer whose address changes all the time is not dialed
// everywhere at once. The caller holds n.mu.
func (n *lane) dialLocked(addr string) (*dialing, error) {
	if n.dial != nil && (n.dial.addr == addr || n.dials >= maxDials) {
		return n.dial, nil
	}
	if n.failure.addr == addr && time.Now().Before(n.retryAt) {
		return nil, fmt.Errorf("not dialed again so soon: %w", n.failure.err)
	}
	d := &dialing{addr: addr, done: make(chan struct{})}
	if !n.p.t.spawn(func() { n.run(d) }) {
		return nil, ErrClosed
	}
	n.dial = d
	n.dials++
	return d, nil
}

// run dials, for as long as the transport allows, even if no caller waits any more.
func (n *lane) run(d *dialing) {
	t := n.p.t
	d.link, d.err = t.openLink(t.root, d.addr, n.kind, n.p.id)
	if d.err != nil && n.kind == streamUrgent && t.cfg.Unreached != nil {
		t.cfg.Unreached(n.p.id, d.addr) // where a bulk connection fails, the address is right
	}
	n.mu.Lock()
	n.dials--
	superseded := n.dial != d // the peer moved meanwhile
	unwanted := d.link
	if !superseded {
		n.dial = nil
		unwanted = n.settleLocked(d)
	}
	n.mu.Unlock()
	close(d.done)
	if !superseded {
		n.report(d)
	}
	if unwanted != nil {
		unwanted.retire()
	}
	if d.link == nil {
		return
	}
	if n.p.forgotten() {
		d.link.retire() // nobody would find it, or close it
		return
	}
	if n.kind == streamUrgent {
		t.raft.tellSoon(n.p.id, &n.p.traffic)
	}
}

// settleLocked records how a dial ended, and returns the link that is not to be
// used any more, if any. The caller holds n.mu.
func (n *lane) settleLocked(d *dialing) (before *link) {
	if d.err == nil {
		if n.kind == streamUrgent {
			n.p.traffic.carried.Store(nil) // another process may answer, which was told nothing
		}
		before = n.link
		n.link, n.failure, n.backoff, n.retryAt = d.link, dialing{}, 0, time.Time{}
		return before
	}
	n.failure = *d
	n.backoff = min(max(2*n.backoff, n.p.t.limits.minBackoff), n.p.t.limits.maxBackoff)
	n.retryAt = time.Now().Add(n.backoff)
	return nil
}

// report logs that a peer can't be reached, at growing intervals, and once when it
// can again.
func (n *lane) report(d *dialing) {
	t, id := n.p.t, string(n.p.id)
	about, is, isNot := "peer "+id, "peer can be reached again", "peer can't be reached"
	if n.kind == streamBulk {
		about, is, isNot = "bulk "+id, "peer takes appends again", "peer takes no connection for appends"
	}
	if d.err == nil {
		t.lines.Over(about, is, "peer", id, "addr", d.addr)
		return
	}
	n.mu.Lock()
	lost := n.link == nil || !n.link.usable()
	n.mu.Unlock()
	if lost && t.root.Err() == nil {
		t.lines.Log(slog.LevelWarn, about, isNot, "peer", id, "addr", d.addr, "err", d.err)
	}
}

// hurry ends the waiting after a failed dial.
func (n *lane) hurry() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.backoff, n.retryAt = 0, time.Time{}
}

// connected reports whether a link is open.
func (n *lane) connected() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.link != nil && n.link.usable()
}
