package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// peer is how this node reaches one other: over two connections, so that nothing
// urgent waits behind bulk.
type peer struct {
	t       *Transport
	id      raft.ServerID
	traffic traffic
	urgent  lane
	bulk    lane // dialed where urgent is connected
}

// peerOf returns the record of a peer, making one at need.
func (t *Transport) peerOf(id raft.ServerID) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[id]
	if p == nil {
		p = &peer{t: t, id: id}
		p.urgent.init(p, streamUrgent)
		p.bulk.init(p, streamBulk)
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
// share a connection and overtake each other. A request of more than 4 KiB is bulk,
// and travels with its answer over another connection than short ones, so that these
// don't wait for it; a short request should have a short answer. The error wraps ErrNotSent or
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
		l, err := t.peerOf(to).connect(ctx, time.Time{}, len(payload) > urgentBytes)
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
	l, err := t.openLink(ctx, addr, streamUrgent, "")
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
	c, _, peer, err := t.dial(ctx, addr, streamUrgent, "")
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

// connect returns the peer's urgent or bulk link at its present address, dialing at
// need, until ctx ends or the time end has come, where that is not zero. There is no bulk
// link without an urgent one.
func (p *peer) connect(ctx context.Context, end time.Time, bulk bool) (*link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	addr, ok := p.t.cfg.Resolver.ResolvePeer(p.id)
	if !ok {
		return nil, errNoAddress
	}
	l, err := p.urgent.connect(ctx, end, addr)
	if err != nil || !bulk {
		return l, err
	}
	return p.bulk.connect(ctx, end, l.addr)
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
	p.urgent.hurry()
	p.bulk.hurry()
}
