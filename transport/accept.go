package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"
)

// Waits after a failed accept, which a lack of file descriptors causes, for example.
const (
	minAcceptWait = 5 * time.Millisecond
	maxAcceptWait = time.Second
)

// noiseBytes is how much of what a stranger sent is logged.
const noiseBytes = 32

// spawn runs f on a goroutine that Close waits for. It reports false, and does
// nothing, once the transport is closed.
func (t *Transport) spawn(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Go(f)
	return true
}

// acceptLoop gives each connection a goroutine of its own, so that a slow
// stranger delays nobody.
func (t *Transport) acceptLoop() {
	slots := make(chan struct{}, t.limits.handshakes)
	var wait time.Duration
	for {
		nc, err := t.cfg.Listener.Accept()
		if err != nil {
			if t.root.Err() != nil {
				return
			}
			wait = min(max(2*wait, minAcceptWait), maxAcceptWait)
			t.warn("accept", "accept peer connection", "err", err)
			if !sleep(t.root, wait) {
				return
			}
			continue
		}
		wait = 0
		t.receive(nc, slots)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// receive starts the handshake of an accepted connection, or closes it if there
// are too many; slots holds the handshakes in progress.
func (t *Transport) receive(nc net.Conn, slots chan struct{}) {
	remote := nc.RemoteAddr()
	c, err := t.newConn(nc)
	if err != nil {
		t.tooMany(remote, err)
		return
	}
	select {
	case slots <- struct{}{}:
	default:
		c.Close()
		t.tooMany(remote, errTooManyConns)
		return
	}
	if !t.spawn(func() { t.greet(c, func() { <-slots }) }) {
		c.Close()
	}
}

func (t *Transport) tooMany(remote net.Addr, err error) {
	if errors.Is(err, errTooManyConns) {
		t.counts.refused[RefusedLimit].Add(1)
		t.warn("limit", "close peer connection", "remote", remote.String(), "err", err)
	}
}

// greet is the accepting side of a handshake, and then serves the connection.
// It calls release when the handshake ended.
func (t *Transport) greet(c *conn, release func()) {
	t.counts.handshakes.Add(1)
	kind, local, peer, err := t.handshake(c)
	t.counts.handshakes.Add(-1)
	release()
	if err != nil {
		err = t.refuse(err)
		if t.root.Err() == nil {
			t.warn("refuse "+hostOf(c.RemoteAddr())+" "+causeOf(err), "refuse peer connection", "remote", c.RemoteAddr().String(), "err", err)
		}
		c.Close()
		return
	}
	if t.cfg.Learn != nil {
		t.cfg.Learn(peer)
	}
	t.seen(peer.ID)
	if kind == streamSnapshot {
		serveSnapshot(c, local, peer)
		return
	}
	serve(c, kind, local, peer)
}

// handshake reads who dialed, and answers.
func (t *Transport) handshake(c *conn) (streamKind, Identity, Identity, error) {
	if err := c.SetDeadline(time.Now().Add(t.limits.handshake)); err != nil {
		return 0, Identity{}, Identity{}, err
	}
	if err := t.secureServer(c); err != nil {
		return 0, Identity{}, Identity{}, err
	}
	kind, err := readStreamKind(c)
	if err != nil {
		return 0, Identity{}, Identity{}, err
	}
	local := t.Identity()
	peer, err := t.judge(c, kind, local)
	w := welcome{from: local}
	rand.Read(w.nonce[:]) // never fails
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		w.refusal, w.message = refused.Reason, refused.Message
	case err != nil:
		return 0, Identity{}, Identity{}, fmt.Errorf("read handshake: %w", err)
	}
	if _, writeErr := c.Write(appendWelcome(nil, w)); writeErr != nil {
		return 0, Identity{}, Identity{}, errors.Join(err, fmt.Errorf("answer handshake: %w", writeErr))
	}
	if err == nil {
		err = readProof(c, peer, w.nonce)
	}
	if err != nil {
		return 0, Identity{}, Identity{}, err
	}
	return kind, local, peer, c.SetDeadline(time.Time{})
}

// readProof reads the nonce that the dialer sends back.
func readProof(c *conn, peer Identity, want nonce) error {
	var got nonce
	if _, err := io.ReadFull(c, got[:]); err != nil {
		return fmt.Errorf("read proof of a new handshake: %w", err)
	}
	if got != want {
		return &RefusedError{Reason: RefusedReplayed, Message: "it sends what was sent before, or makes it up", Peer: peer}
	}
	return nil
}

// judge reads the hello and returns who sent it, or a *RefusedError.
func (t *Transport) judge(c *conn, kind streamKind, local Identity) (Identity, error) {
	body, err := readHello(c)
	if err != nil {
		return Identity{}, asRefusal(err)
	}
	h, err := decodeHello(body)
	if err != nil {
		return Identity{}, asRefusal(err)
	}
	if refused := checkHello(kind, local, h); refused != nil {
		return Identity{}, refused
	}
	if refused := t.admit(h.from); refused != nil {
		return Identity{}, refused
	}
	if refused := t.claim(t.root, h.from); refused != nil {
		return Identity{}, refused
	}
	c.aimed = h.target != ""
	return h.from, nil
}

// readStreamKind reads the first byte. A connection whose first byte is none of a peer's is
// closed without an answer; some more of its bytes are read for the log.
func readStreamKind(c *conn) (streamKind, error) {
	var b [noiseBytes]byte
	if _, err := c.Read(b[:1]); err != nil {
		return 0, fmt.Errorf("read first byte: %w", err)
	}
	kind := streamKind(b[0])
	if kind.known() {
		return kind, nil
	}
	n := 1
	if c.SetReadDeadline(time.Now().Add(50*time.Millisecond)) == nil {
		m, _ := c.Read(b[1:]) // what came is for the log only; it may be nothing
		n += m
	}
	return 0, &RefusedError{Reason: RefusedMalformed, Message: fmt.Sprintf("not a peer: it sent %q", b[:n])}
}

// warn logs what strangers can cause: at once, and repetitions about the same
// subject at growing intervals.
func (t *Transport) warn(about, message string, attrs ...any) {
	t.lines.Log(slog.LevelWarn, about, message, attrs...)
}

// hostOf returns the host of an address: each connection has another port.
func hostOf(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	return host
}

// causeOf tells the kinds of refusal apart.
func causeOf(err error) string {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.Reason.String()
	}
	return ""
}
