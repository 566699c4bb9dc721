//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// firstBackAddress is the last octet of the first host's address. firstFrontAddress and
	// lastFrontAddress are the limits of the last octets of proxies' addresses.
	firstBackAddress  = 11
	firstFrontAddress = 141
	lastFrontAddress  = 254
	// maxDatagram is the maximum length of a datagram of UDP.
	maxDatagram = 64 << 10
)

// proxies is a network on this machine's loopback device. Each host listens on an address
// of its own, its back. Its proxy listens on another address, its front, which the host
// advertises to its peers. The proxy asks the kernel which host's process has dialed, so
// that each pair of hosts has its own roads.
//
// It is less exact than the network of namespaces. The proxy accepts connections, so a dial
// through a cut succeeds, but its connection gets no bytes. A lost segment is a pause of
// TCP's retransmission timeout. The receiver of a stream can't see reordering, so that is
// not covered.
type proxies struct {
	lab  *lab
	ctx  context.Context // ends with close
	stop context.CancelFunc
	done sync.WaitGroup
	net  [3]byte // the first octets of all addresses

	mu     sync.Mutex
	next   byte           // guarded by mu; the last octet of the next front's address
	fronts []*front       // guarded by mu; by host
	roads  map[pair]*road // guarded by mu
}

// front is the proxy in front of a host.
type front struct {
	to           *host
	addr         netip.Addr
	peer, gossip net.Listener
	datagrams    *net.UDPConn // of gossip
}

func newProxies(l *lab) (network, error) {
	pid := os.Getpid()
	p := &proxies{lab: l, net: [3]byte{127, byte(1 + pid%250), byte(pid / 250 % 250)}, next: firstFrontAddress, roads: map[pair]*road{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p, nil
}

// address returns the address with that last octet.
func (p *proxies) address(last byte) netip.Addr {
	return netip.AddrFrom4([4]byte{p.net[0], p.net[1], p.net[2], last})
}

// back returns the address that a host listens on.
func (p *proxies) back(h *host) netip.Addr { return p.address(firstBackAddress + byte(h.index)) }

// attach implements network.
func (p *proxies) attach(h *host) error {
	flags := 0
	if h.disk.own() {
		flags = unix.CLONE_NEWNS
	}
	var err error
	if h.keeper, err = newKeeper(flags); err != nil {
		return err
	}
	h.url = fmt.Sprintf("http://%s:%d", p.back(h), httpPort)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fronts = append(p.fronts, nil)
	return p.raise(h)
}

// raise makes a new front for a host. p.mu is held.
func (p *proxies) raise(h *host) error {
	if p.next == lastFrontAddress {
		return notCovered("all addresses for this run have been used")
	}
	f := &front{to: h, addr: p.address(p.next)}
	p.next++
	if err := f.listen(); err != nil {
		return errors.Join(err, f.close())
	}
	p.fronts[h.index] = f
	p.done.Go(func() { p.accept(f, f.peer, peerPort) })
	p.done.Go(func() { p.accept(f, f.gossip, gossipPort) })
	p.done.Go(func() { p.receive(f) })
	return nil
}

func (f *front) listen() (err error) {
	if f.peer, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", f.addr, peerPort)); err != nil {
		return err
	}
	if f.gossip, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", f.addr, gossipPort)); err != nil {
		return err
	}
	f.datagrams, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.addr, gossipPort)))
	return err
}

// close ends listening. Accepted connections stay open.
func (f *front) close() error {
	var errs []error
	for _, l := range []net.Listener{f.peer, f.gossip} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	if f.datagrams != nil {
		errs = append(errs, f.datagrams.Close())
	}
	return errors.Join(errs...)
}

// place implements network.
func (p *proxies) place(h *host) Place {
	p.mu.Lock()
	defer p.mu.Unlock()
	back, at := p.back(h), p.fronts[h.index].addr
	return Place{
		HTTP: fmt.Sprintf("%s:%d", back, httpPort),
		Peer: fmt.Sprintf("%s:%d", back, peerPort), PeerAt: fmt.Sprintf("%s:%d", at, peerPort),
		Gossip: fmt.Sprintf("%s:%d", back, gossipPort), GossipAt: fmt.Sprintf("%s:%d", at, gossipPort),
	}
}

// readdress implements network.
func (p *proxies) readdress(h *host) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.fronts[h.index]
	if err := p.raise(h); err != nil {
		return err
	}
	return before.close()
}

// cut implements network.
func (p *proxies) cut(from, to *host) error {
	p.road(pair{from, to}).cut()
	return nil
}

// shape implements network.
func (p *proxies) shape(from, to *host, how Shape) error {
	if how.Reorder > 0 {
		return notCovered("a proxy can't reorder the segments of a connection: that takes namespaces")
	}
	p.road(pair{from, to}).shape(how)
	return nil
}

// heal implements network.
func (p *proxies) heal() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.roads {
		r.heal()
	}
	return nil
}

// road returns the road from one host to another.
func (p *proxies) road(between pair) *road {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.roads[between]
	if !ok {
		r = newRoad(newLink(func(datagram []byte) { p.send(between, datagram) }))
		p.roads[between] = r
	}
	return r
}

// accept takes connections to a host's port until the front is closed.
func (p *proxies) accept(f *front, l net.Listener, port uint16) {
	to := netip.AddrPortFrom(p.back(f.to), port)
	for {
		c, err := l.Accept()
		if err != nil {
			return // it is closed
		}
		p.done.Go(func() { p.proxy(c.(*net.TCPConn), f.to, to) })
	}
}

// proxy joins a connection to a host's port, by the roads of the host that dialed it. A
// connection from an unknown process is closed, because it has no roads.
func (p *proxies) proxy(dialed *net.TCPConn, to *host, addr netip.AddrPort) {
	from := p.dialer(dialed)
	if from == nil || from == to {
		_ = dialed.Close() // nothing was sent on it
		return
	}
	newRelay(dialed, addr, p.road(pair{from, to}), p.road(pair{to, from})).run(p.ctx)
}

// receive takes datagrams to a host's gossip until the front is closed.
func (p *proxies) receive(f *front) {
	datagram := make([]byte, maxDatagram)
	for {
		n, from, err := f.datagrams.ReadFromUDPAddrPort(datagram)
		if err != nil {
			return // it is closed
		}
		for _, h := range p.lab.hosts {
			if h != f.to && p.back(h) == from.Addr().Unmap() {
				p.road(pair{h, f.to}).datagrams.offer(datagram[:n])
			}
		}
	}
}

// send delivers another host's datagram to a host. Its source is the address that the
// sender advertises.
func (p *proxies) send(between pair, datagram []byte) {
	p.mu.Lock()
	from := p.fronts[between.from.index].datagrams
	p.mu.Unlock()
	to := netip.AddrPortFrom(p.back(between.to), gossipPort)
	_, _ = from.WriteToUDPAddrPort(datagram, to) // a datagram that can't be sent is lost, like others
}

// close implements network.
func (p *proxies) close() error {
	p.stop()
	p.mu.Lock()
	fronts := p.fronts
	p.mu.Unlock()
	var errs []error
	for _, f := range fronts {
		if f != nil {
			errs = append(errs, f.close())
		}
	}
	p.done.Wait()
	p.mu.Lock()
	roads := p.roads
	p.mu.Unlock()
	for _, r := range roads {
		r.datagrams.close() // it may be sending, which takes p.mu
	}
	return errors.Join(errs...)
}
