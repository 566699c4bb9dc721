package transport

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/hashicorp/raft"
)

// dial connects to addr and introduces this node to target, or to any node
// that answers if target is empty. It returns the connection, what this node told of
// itself, and who the peer is. The caller must open and close the connection.
func (t *Transport) dial(ctx context.Context, addr string, kind streamKind, target raft.ServerID) (*conn, Identity, Identity, error) {
	c, local, peer, err := t.shakeHands(ctx, addr, kind, target)
	if err != nil {
		return nil, Identity{}, Identity{}, err
	}
	if refused := t.claim(ctx, peer); refused != nil {
		c.Close()
		return nil, Identity{}, Identity{}, t.refuse(refused)
	}
	if t.cfg.Learn != nil {
		t.cfg.Learn(peer)
	}
	return c, local, peer, nil
}

// shakeHands is dial but for what follows from who the peer is.
func (t *Transport) shakeHands(ctx context.Context, addr string, kind streamKind, target raft.ServerID) (*conn, Identity, Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.DialTimeout)
	defer cancel()
	defer context.AfterFunc(t.root, cancel)()
	nc, err := t.cfg.Dial(ctx, addr)
	if err != nil {
		return nil, Identity{}, Identity{}, t.dialError(err)
	}
	c, err := t.newConn(nc)
	if err != nil {
		return nil, Identity{}, Identity{}, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	local := t.Identity()
	var peer Identity
	if err = t.secureClient(c, addr); err == nil {
		peer, err = t.introduce(c, kind, local, target)
	} else {
		err = t.refuse(err)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
			err = ctx.Err() // it closed the connection
		}
		return nil, Identity{}, Identity{}, t.dialError(&HandshakeError{Addr: addr, Err: err})
	}
	c.aimed = target != ""
	return c, local, peer, nil
}

// dialError says that the transport was closed, if that is why a dial failed.
func (t *Transport) dialError(err error) error {
	if t.root.Err() != nil {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}

// introduce is the dialing side of a handshake.
func (t *Transport) introduce(c *conn, kind streamKind, local Identity, target raft.ServerID) (Identity, error) {
	message := appendHello([]byte{byte(kind)}, hello{from: local, target: target})
	if _, err := c.Write(message); err != nil {
		return Identity{}, err
	}
	w, err := readWelcome(c)
	if err != nil {
		return Identity{}, t.refuse(asRefusal(err))
	}
	if w.refusal != 0 {
		refused := &RefusedError{Reason: w.refusal, Message: w.message, Peer: w.from, Remote: true}
		t.displaced(local, target, refused)
		return Identity{}, refused
	}
	if refused := checkWelcome(kind, local, target, w.from); refused != nil {
		return Identity{}, t.refuse(refused)
	}
	if refused := t.admit(w.from); refused != nil {
		return Identity{}, t.refuse(refused)
	}
	if _, err := c.Write(w.nonce[:]); err != nil {
		return Identity{}, err
	}
	return w.from, nil
}

// displaced gives way, and tells Config.Displaced, if the peer that was wanted, of
// this node's cluster, speaks to another process with this node's id.
func (t *Transport) displaced(local Identity, target raft.ServerID, refused *RefusedError) {
	displaced := refused.Reason == RefusedDuplicate || refused.Reason == RefusedSuperseded
	wanted := refused.Peer.Cluster == local.Cluster && (refused.Peer.ID == target || target == "" && t.isKnown(refused.Peer.ID))
	if !displaced || !wanted {
		return
	}
	t.mu.Lock()
	first := !t.retired
	t.retired = true
	t.mu.Unlock()
	t.closeConns() // a later question for this process finds that it is gone
	if first && t.cfg.Displaced != nil {
		t.cfg.Displaced(refused)
	}
}

// admit asks Config.Admit.
func (t *Transport) admit(peer Identity) *RefusedError {
	if t.cfg.Admit == nil {
		return nil
	}
	if err := t.cfg.Admit(peer); err != nil {
		return &RefusedError{Reason: RefusedNotAdmitted, Message: err.Error(), Peer: peer}
	}
	return nil
}

// refuse counts a refusal of ours and returns it.
func (t *Transport) refuse(err error) error {
	var refused *RefusedError
	if errors.As(err, &refused) && !refused.Remote {
		t.counts.refused[refused.Reason].Add(1)
	}
	return err
}

// asRefusal turns what is wrong with a handshake message into a refusal of it;
// other errors, of the network, it returns as they are.
func asRefusal(err error) error {
	var version *versionError
	switch {
	case errors.As(err, &version):
		return &RefusedError{Reason: RefusedVersion, Message: err.Error()}
	case errors.Is(err, errMalformed):
		return &RefusedError{Reason: RefusedMalformed, Message: err.Error()}
	case isAlert(err): // TLS 1.3 has the client's certificate checked after the client is done
		return refusedTLS(err)
	}
	return err
}

func readWelcome(c *conn) (welcome, error) {
	body, err := readHello(c)
	if err != nil {
		return welcome{}, err
	}
	return decodeWelcome(body)
}
