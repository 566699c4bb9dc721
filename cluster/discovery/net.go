package discovery

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// gossipDialTimeout is the maximum time to connect to another node's gossip.
	gossipDialTimeout = 2 * time.Second
	// gossipPortAttempts is the maximum number of attempts to find one port that is free for TCP and UDP.
	gossipPortAttempts = 10
	// firstBytes is how much of an answer is kept to tell what answers.
	firstBytes = 16
	// maxNoted is the maximum number of addresses whose newest connection is remembered.
	maxNoted = 1024
)

// gossipNet is memberlist's network, with three differences. Its sockets outlive
// the memberlist on them, which is replaced when the advertised address changes.
// What is dialed ends with its context, so that nobody waits for it at the end.
// And it remembers what the far end said first.
type gossipNet struct {
	*memberlist.NetTransport
	ctx  context.Context
	addr string      // that the sockets are bound to
	kept atomic.Bool // Shutdown leaves the sockets open

	mu    sync.Mutex
	dials map[string]gossipDial // guarded by mu; the newest of each address
}

// gossipDial is what became of a dialed connection.
type gossipDial struct {
	err   error  // why there is none
	first []byte // how the answer began
}

var _ memberlist.NodeAwareTransport = (*gossipNet)(nil)

// listenGossip binds addr, TCP and UDP.
func listenGossip(ctx context.Context, addr string, l *log.Logger) (*gossipNet, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%q is not host:port", addr)
	}
	port, err := strconv.Atoi(service)
	if err != nil {
		return nil, fmt.Errorf("port of %q is not a number", addr)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	bind, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return nil, fmt.Errorf("look up %q: %w", host, err)
	}
	conf := &memberlist.NetTransportConfig{BindAddrs: []string{bind.IP.String()}, BindPort: port, Logger: l}
	for attempt := 1; ; attempt++ {
		nt, err := memberlist.NewNetTransport(conf)
		if err == nil {
			ip, _ := netip.AddrFromSlice(bind.IP)
			addr := netip.AddrPortFrom(ip.Unmap(), uint16(nt.GetAutoBindPort())).String()
			return &gossipNet{NetTransport: nt, ctx: ctx, addr: addr, dials: make(map[string]gossipDial)}, nil
		}
		if port != 0 || attempt == gossipPortAttempts {
			return nil, err
		}
	}
}

// bound returns the address that the sockets are bound to.
func (n *gossipNet) bound() string { return n.addr }

// Shutdown implements memberlist.Transport.
func (n *gossipNet) Shutdown() error {
	if n.kept.Load() {
		return nil
	}
	return n.NetTransport.Shutdown()
}

// DialTimeout implements memberlist.Transport.
func (n *gossipNet) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return n.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (n *gossipNet) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: min(timeout, gossipDialTimeout)}
	c, err := dialer.DialContext(n.ctx, "tcp", a.Addr)
	n.note(a.Addr, gossipDial{err: err})
	if err != nil {
		return nil, err
	}
	dialed := &gossipConn{Conn: c, net: n, addr: a.Addr}
	dialed.stop = context.AfterFunc(n.ctx, func() { _ = c.Close() }) // its user gets the error
	return dialed, nil
}

// note records what became of a dialed connection.
func (n *gossipNet) note(addr string, d gossipDial) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.dials[addr]; !known && len(n.dials) >= maxNoted {
		for other := range n.dials { // any one
			delete(n.dials, other)
			break
		}
	}
	n.dials[addr] = d
}

// dialed returns what became of the newest connection to addr, and forgets it.
func (n *gossipNet) dialed(addr string) gossipDial {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.dials[addr]
	delete(n.dials, addr)
	return d
}

// connected reports whether the newest connection to addr was made.
func (n *gossipNet) connected(addr string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	d, ok := n.dials[addr]
	return ok && d.err == nil
}

// gossipConn is a dialed connection.
type gossipConn struct {
	net.Conn
	net   *gossipNet
	addr  string
	heard bool
	stop  func() bool
}

// Read implements net.Conn.
func (c *gossipConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.heard {
		c.heard = true
		c.net.note(c.addr, gossipDial{first: slices.Clone(b[:min(n, firstBytes)])})
	}
	return n, err
}

// Close implements net.Conn.
func (c *gossipConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// hostAddr returns an address of this host that others may reach a socket at
// that is bound to bind: bind itself, unless that is all interfaces.
func hostAddr(bind netip.Addr) netip.Addr {
	if !bind.IsUnspecified() {
		return bind
	}
	all, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range all {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().IsGlobalUnicast() {
				return prefix.Addr().Unmap()
			}
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}
