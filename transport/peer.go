package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// peer is how this node reaches one other: its link while there is one, the
// dial in progress, and when to dial again after a failure.
type peer struct {
	t       *Transport
	id      raft.ServerID
	traffic traffic

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

// peerOf returns the record of a peer, making one at need.
func (t *Transport) peerOf(id raft.ServerID) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[id]
	if p == nil {
		p = &peer{t: t, id: id}
		t.peers[id] = p
	}
	return p
}

// Forget drops what is known of a peer, and closes all connections with it. The
// next call in either direction begins with nothing.
func (t *Transport) Forget(id raft.ServerID) {
	t.mu.Lock()
	delete(t.peers, id)
	var open []*conn
	for c := range t.conns {
		if c.opened && c.peer.ID == id {
			open = append(open, c)
		}
	}
	t.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

// forgotten reports whether the record is not the peer's any more.
func (p *peer) forgotten() bool {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	return p.t.peers[p.id] != p
}

// Call asks a peer, found by its id, and waits for the answer. Concurrent calls
// share one connection and overtake each other. The error wraps ErrNotSent or
// ErrNoAnswer, and with it ctx's error if that ended the call, or a
// *RemoteError; a *RefusedError is an ErrNotSent. After a failed dial, calls
// fail at once for 50 ms, growing to 1 s.
//
// payload may have up to Config.MaxFrameBytes bytes and must not change after
// Call was called, even when Call returned early.
func (t *Transport) Call(ctx context.Context, to raft.ServerID, kind Kind, payload []byte) ([]byte, error) {
	return t.CallWhen(ctx, to, kind, payload, nil)
}

// CallWhen is Call, and asks ready at the moment at which the request is to be written,
// when there is a connection and what was queued before is written. If ready returns
// false, nothing is sent, and the error wraps ErrNotSent; if it returns true, the peer
// may see the request. It is asked at most once, must be quick and
// must not block: all that goes to the peer waits for it. A nil ready is always ready.
func (t *Transport) CallWhen(ctx context.Context, to raft.ServerID, kind Kind, payload []byte, ready func() bool) ([]byte, error) {
	answer, err := t.call(ctx, to, kind, payload, ready)
	t.counts.called(err)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", to, err)
	}
	return answer, nil
}

func (t *Transport) call(ctx context.Context, to raft.ServerID, kind Kind, payload []byte, ready func() bool) ([]byte, error) {
	if err := t.checkPayload(payload); err != nil {
		return nil, err
	}
	// A link can be retired or break between being found and being used. The
	// second attempt finds another; a third is not worth it.
	for range 2 {
		l, err := t.peerOf(to).connect(ctx)
		if err != nil {
			return nil, notSent(err)
		}
		answer, err := l.call(ctx, kind, payload, ready)
		if !errors.Is(err, errStale) {
			return answer, err
		}
	}
	return nil, notSent(errStale)
}

// CallAddr asks the node that answers at addr, a host:port, over a connection of its
// own, and returns who that was; otherwise it is like Call. It is for finding
// out about nodes, before their ids are known.
func (t *Transport) CallAddr(ctx context.Context, addr string, kind Kind, payload []byte) (Identity, []byte, error) {
	who, answer, err := t.callAddr(ctx, addr, kind, payload)
	t.counts.called(err)
	if err != nil {
		return who, nil, fmt.Errorf("call %s: %w", addr, err)
	}
	return who, answer, nil
}

func (t *Transport) callAddr(ctx context.Context, addr string, kind Kind, payload []byte) (Identity, []byte, error) {
	if err := t.checkPayload(payload); err != nil {
		return Identity{}, nil, err
	}
	l, err := t.openLink(ctx, addr, "")
	if err != nil {
		return refusedPeer(err), nil, notSent(err)
	}
	defer l.retire()
	answer, err := l.call(ctx, kind, payload, nil)
	if errors.Is(err, errStale) {
		err = notSent(err)
	}
	return l.c.peer, answer, err
}

// Probe returns who answers at addr, a host:port, by a handshake and no more.
// If the handshake was refused, the error is a *RefusedError and the identity
// is that of the other side as far as it is known.
func (t *Transport) Probe(ctx context.Context, addr string) (Identity, error) {
	c, _, peer, err := t.dial(ctx, addr, streamRPC, "")
	if err != nil {
		return refusedPeer(err), fmt.Errorf("probe %s: %w", addr, notSent(err))
	}
	c.Close()
	return peer, nil
}

func refusedPeer(err error) Identity {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.Peer
	}
	return Identity{}
}

func (t *Transport) checkPayload(payload []byte) error {
	if len(payload) > t.cfg.MaxFrameBytes {
		return notSent(fmt.Errorf("request of %d bytes exceeds %d", len(payload), t.cfg.MaxFrameBytes))
	}
	return nil
}

// connect returns the link to the peer at its present address, dialing it at
// need.
func (p *peer) connect(ctx context.Context) (*link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	addr, ok := p.t.cfg.Resolver.ResolvePeer(p.id)
	if !ok {
		return nil, errNoAddress
	}
	l, d, err := p.find(addr)
	if l != nil || err != nil {
		return l, err
	}
	select {
	case <-d.done:
		return d.link, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// find returns the link if there is one, or else the dial of addr to wait for, or
// why there is neither. A link to another address is used until the peer has been
// reached at addr: addresses are hints, and this one may be a lie.
func (p *peer) find(addr string) (*link, *dialing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	usable := p.link != nil && p.link.usable()
	if usable && (p.link.addr == addr || p.dial != nil) {
		return p.link, nil, nil
	}
	d, err := p.dialLocked(addr)
	if usable {
		return p.link, nil, nil
	}
	return nil, d, err
}

// dialLocked returns the dial of addr in progress, having begun it at need, or
// why there is none. A peer whose address changes all the time is not dialed
// everywhere at once. The caller holds p.mu.
func (p *peer) dialLocked(addr string) (*dialing, error) {
	if p.dial != nil && (p.dial.addr == addr || p.dials >= maxDials) {
		return p.dial, nil
	}
	if p.failure.addr == addr && time.Now().Before(p.retryAt) {
		return nil, fmt.Errorf("not dialed again so soon: %w", p.failure.err)
	}
	d := &dialing{addr: addr, done: make(chan struct{})}
	if !p.t.spawn(func() { p.run(d) }) {
		return nil, ErrClosed
	}
	p.dial = d
	p.dials++
	return d, nil
}

// run dials, for as long as the transport allows, even if no caller waits any more.
func (p *peer) run(d *dialing) {
	d.link, d.err = p.t.openLink(p.t.root, d.addr, p.id)
	if d.err != nil && p.t.cfg.Unreached != nil {
		p.t.cfg.Unreached(p.id, d.addr)
	}
	p.mu.Lock()
	p.dials--
	superseded := p.dial != d // the peer moved meanwhile
	unwanted := d.link
	if !superseded {
		p.dial = nil
		unwanted = p.settleLocked(d)
	}
	p.mu.Unlock()
	close(d.done)
	if !superseded {
		p.report(d)
	}
	if unwanted != nil {
		unwanted.retire()
	}
	if d.link != nil && p.forgotten() {
		d.link.retire() // nobody would find it, or close it
	}
}

// settleLocked records how a dial ended, and returns the link that is not to be
// used any more, if any. The caller holds p.mu.
func (p *peer) settleLocked(d *dialing) (before *link) {
	if d.err == nil {
		before = p.link
		p.link, p.failure, p.backoff, p.retryAt = d.link, dialing{}, 0, time.Time{}
		return before
	}
	p.failure = *d
	p.backoff = min(max(2*p.backoff, p.t.limits.minBackoff), p.t.limits.maxBackoff)
	p.retryAt = time.Now().Add(p.backoff)
	return nil
}

// report logs that a peer can't be reached, at growing intervals, and once when it
// can again.
func (p *peer) report(d *dialing) {
	if d.err == nil {
		p.t.lines.Over("peer "+string(p.id), "peer can be reached again", "peer", string(p.id), "addr", d.addr)
		return
	}
	p.mu.Lock()
	lost := p.link == nil || !p.link.usable()
	p.mu.Unlock()
	if lost && p.t.root.Err() == nil {
		p.t.lines.Log(slog.LevelWarn, "peer "+string(p.id), "peer can't be reached", "peer", string(p.id), "addr", d.addr, "err", d.err)
	}
}

// seen ends the waiting after a failed dial: the peer reached us, so it may be
// reachable.
func (t *Transport) seen(id raft.ServerID) {
	t.mu.Lock()
	p := t.peers[id]
	t.mu.Unlock()
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.backoff, p.retryAt = 0, time.Time{}
}
