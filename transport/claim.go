package transport

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"
)

// Two processes have one id when a data directory is copied. Both would vote, and
// each would get some of the messages for the other. They differ in their
// generation, which grows with every start.
//
//  1. A peer that knows one of the two refuses the other while the first is alive.
//  2. The first is alive only if it answers a message that was sent after the other
//     one had connected. An old connection alone proves nothing: its process may
//     have been killed, or its host may have lost power.
//  3. A process that was refused closes its connections and answers nothing more.
//     So one of the two always remains.

// sameProcess reports whether two identities are of one process.
func sameProcess(a, b Identity) bool {
	return a.ID == b.ID && a.Generation == b.Generation && a.PeerAddr == b.PeerAddr
}

// claim decides whether peer may use its id, and closes the connections that are
// left of earlier processes with it. It is called when the messages of the handshake
// have been read, and before they have any effect.
func (t *Transport) claim(ctx context.Context, peer Identity) *RefusedError {
	rivals := t.rivals(peer)
	var asks []func(context.Context) (Identity, bool)
	for _, r := range rivals {
		asks = append(asks, r.answers)
	}
	// Where peer itself listens now, nobody else does.
	if known, ok := t.known(peer.ID); ok && !sameProcess(known, peer) && known.PeerAddr != peer.PeerAddr {
		asks = append(asks, func(ctx context.Context) (Identity, bool) { return t.answersAt(ctx, known, peer) })
	}
	if other, found := t.anyAnswers(ctx, asks); found {
		return refusalFor(peer, other)
	}
	for _, r := range rivals {
		r.Close()
	}
	return nil
}

// refusalFor refuses peer because another process with its id is alive.
func refusalFor(peer, other Identity) *RefusedError {
	if other.Generation > peer.Generation {
		return &RefusedError{Reason: RefusedSuperseded, Peer: peer,
			Message: "a newer process with id " + string(peer.ID) + " is alive at " + other.PeerAddr}
	}
	return &RefusedError{Reason: RefusedDuplicate, Peer: peer,
		Message: "another process with id " + string(peer.ID) + " is alive at " + other.PeerAddr}
}

// rivals returns the connections with other processes of peer's id.
func (t *Transport) rivals(peer Identity) []*conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rivalsLocked(peer)
}

func (t *Transport) rivalsLocked(peer Identity) []*conn {
	var rivals []*conn
	for c := range t.conns {
		if c.opened && c.peer.ID == peer.ID && !sameProcess(c.peer, peer) {
			rivals = append(rivals, c)
		}
	}
	return rivals
}

// isKnown says whether Config.Known knows of a node with that id.
func (t *Transport) isKnown(id raft.ServerID) bool {
	_, ok := t.known(id)
	return ok
}

// known asks Config.Known.
func (t *Transport) known(id raft.ServerID) (Identity, bool) {
	if t.cfg.Known == nil {
		return Identity{}, false
	}
	return t.cfg.Known(id)
}

// anyAnswers asks all at once, for a limited time, and returns the first that
// has answered.
func (t *Transport) anyAnswers(ctx context.Context, asks []func(context.Context) (Identity, bool)) (Identity, bool) {
	if len(asks) == 0 {
		return Identity{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, t.limits.proofOfLife)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	answered, silent := make(chan Identity, len(asks)), make(chan struct{}, len(asks))
	for _, ask := range asks {
		asking.Go(func() {
			if who, ok := ask(ctx); ok {
				answered <- who
			} else {
				silent <- struct{}{}
			}
		})
	}
	for range asks {
		select {
		case who := <-answered:
			return who, true
		case <-silent:
		}
	}
	return Identity{}, false
}

// answers pings the process at the other end. A snapshot's connection has no
// pings, and shows nothing.
func (c *conn) answers(ctx context.Context) (Identity, bool) {
	return c.peer, c.rpc != nil && c.rpc.lives(ctx)
}

// answersAt dials where a process was last, and reports whether one with its id
// other than peer answers.
func (t *Transport) answersAt(ctx context.Context, was, peer Identity) (Identity, bool) {
	c, _, who, err := t.shakeHands(ctx, was.PeerAddr, streamUrgent, was.ID)
	if err != nil {
		who = refusedPeer(err)
	} else {
		c.Close()
	}
	return who, who.ID == peer.ID && !sameProcess(who, peer)
}
