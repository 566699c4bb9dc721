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
	// gossipDialTimeout is the maximum time for connecting to another node's gossip.
	gossipDialTimeout = 2 * time.Second
	// gossipPortAttempts is the maximum number of attempts to find one port that is free for TCP and UDP.
	gossipPortAttempts = 10
	// firstBytes is the number of bytes of an answer that are kept to recognize other protocols.
	firstBytes = 16
	// maxNoted is the maximum number of addresses whose newest connection is remembered.
	maxNoted = 1024
)

// gossipNet is memberlist's network, with three differences. First, its sockets outlive
// the memberlist on them, which is replaced when the advertised address changes. Second,
// dialed connections end with the context, so Close need not wait for them. Third, it
// remembers the first bytes from the far end.
type gossipNet struct {
	*memberlist.NetTransport
	ctx      context.Context
	addr     string      // that the sockets are bound to
	keepOpen atomic.Bool // Shutdown leaves the sockets open

	mu    sync.Mutex
	dials map[string]gossipDial // guarded by mu; the newest of each address
}

// gossipDial is the result of a dial.
type gossipDial struct {
	err   error  // of a failed dial
	first []byte // first bytes of the answer
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
	if n.keepOpen.Load() {
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
	dialed.stop = context.AfterFunc(n.ctx, func() { _ = c.Close() }) // the connection's user gets an error
	return dialed, nil
}

// note remembers the result of a dial.
func (n *gossipNet) note(addr string, d gossipDial) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.dials[addr]; !known && len(n.dials) >= maxNoted {
		for other := range n.dials { // drop any one
			delete(n.dials, other)
			break
		}
	}
	n.dials[addr] = d
}

// dialed returns the result of the newest dial to addr, and forgets it.
func (n *gossipNet) dialed(addr string) gossipDial {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.dials[addr]
	delete(n.dials, addr)
	return d
}

// connected reports whether the newest dial to addr succeeded.
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

// hostAddr returns an address at which others may reach a socket that is bound to bind. It
// is bind itself, unless that means all interfaces.
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
