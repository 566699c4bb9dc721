//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// firstClientAddress and firstPeerAddress are the last octets of the first address for
	// clients and of the first one for peers. The lower half of the lab's 256 addresses is
	// for clients, the upper one for peers.
	firstClientAddress = 11
	firstPeerAddress   = 141
	lastPeerAddress    = 254

	httpPort, peerPort, gossipPort = 8001, 7001, 6001
)

// namespaces is a network in which each host has a network namespace. A bridge in another
// namespace joins the hosts, so that no firewall of this machine is between them and no
// rule must be changed. One virtual Ethernet device leads from the bridge to this program.
// Each host has an address for clients and one for peers, each in one half of the network.
// So it can change one of them and keep the other.
//
// To cut or shape the packets from one host to another, a route of the sender leads them
// into a TUN device, which this program reads. The kernel's own TCP sees lost, late and
// reordered packets, on old and new connections.
type namespaces struct {
	lab    *lab
	hub    *keeper
	device string       // this program's end
	subnet netip.Prefix // of 256 addresses

	// change is held while routes and addresses change.
	change   sync.Mutex
	nextPeer byte          // guarded by change; the last octet of the next address among peers
	led      map[pair]bool // guarded by change; pairs whose packets are led through TUN devices

	mu    sync.Mutex
	peers []netip.Addr   // by host; guarded by mu, and written only while change is held too
	tuns  []*tun         // likewise
	links map[pair]*link // likewise; those made so far
}

// pair is a direction between two hosts.
type pair struct{ from, to *host }

// newNamespaces makes the bridge.
func newNamespaces(l *lab) (network, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces take root")
	}
	if _, err := os.Stat(tunPath); err != nil {
		return nil, fmt.Errorf("no TUN devices: %w", err)
	}
	subnet, err := freeSubnet()
	if err != nil {
		return nil, err
	}
	hub, err := newKeeper(unix.CLONE_NEWNET)
	if err != nil {
		return nil, err
	}
	n := &namespaces{lab: l, hub: hub, subnet: subnet, nextPeer: firstPeerAddress, led: map[pair]bool{}, links: map[pair]*link{}}
	if err := n.build(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// build makes the bridge and the device that leads to it.
func (n *namespaces) build() error {
	if err := n.hub.do(quietIPv6); err != nil {
		return err
	}
	if err := n.hub.ip("link set lo up", "link add hosts type bridge", "link set hosts up"); err != nil {
		return err
	}
	device := prefix + strconv.Itoa(os.Getpid()) // 15 characters at most
	if err := n.lab.tools.ip(fmt.Sprintf("link add %s type veth peer name clients netns %d", device, n.hub.tid)); err != nil {
		return err
	}
	n.device = device
	return errors.Join(
		n.hub.ip("link set clients master hosts", "link set clients up"),
		n.lab.tools.ip(
			fmt.Sprintf("link set %s addrgenmode none", device),
			fmt.Sprintf("addr add %s/25 dev %s", n.address(1), device),
			fmt.Sprintf("link set %s up", device),
		))
}

// address returns the address of the network with that last octet.
func (n *namespaces) address(last byte) netip.Addr {
	a := n.subnet.Addr().As4()
	a[3] = last
	return netip.AddrFrom4(a)
}

// client returns the address at which clients reach a host.
func (n *namespaces) client(h *host) netip.Addr { return n.address(firstClientAddress + byte(h.index)) }

// peer returns the address at which peers reach a host now.
func (n *namespaces) peer(h *host) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peers[h.index]
}

// attach makes a host's namespaces, and its devices in them.
func (n *namespaces) attach(h *host) error {
	keeper, err := newKeeper(unix.CLONE_NEWNET | unix.CLONE_NEWNS)
	if err != nil {
		return err
	}
	h.keeper = keeper
	h.url = fmt.Sprintf("http://%s:%d", n.client(h), httpPort)
	if err := keeper.do(func() error { return errors.Join(quietIPv6(), anyPath()) }); err != nil {
		return err
	}
	port := h.name
	if err := n.hub.ip(
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", port, keeper.tid),
		fmt.Sprintf("link set %s master hosts", port),
		fmt.Sprintf("link set %s up", port),
	); err != nil {
		return err
	}
	n.change.Lock()
	defer n.change.Unlock()
	peer := n.address(n.nextPeer)
	n.nextPeer++
	if err := keeper.ip(
		"link set lo up", "link set eth0 up",
		fmt.Sprintf("addr add %s/25 dev eth0", n.client(h)),
		fmt.Sprintf("addr add %s/25 dev eth0", peer),
	); err != nil {
		return err
	}
	t, err := newTun(keeper, func(packet []byte) { n.forward(h, packet) })
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peers = append(n.peers, peer)
	n.tuns = append(n.tuns, t)
	return nil
}

// place implements network.
func (n *namespaces) place(h *host) Place {
	peer := n.peer(h)
	p := Place{HTTP: fmt.Sprintf("%s:%d", n.client(h), httpPort), Peer: fmt.Sprintf("%s:%d", peer, peerPort), Gossip: fmt.Sprintf("%s:%d", peer, gossipPort)}
	p.PeerAt, p.GossipAt = p.Peer, p.Gossip
	return p
}

// readdress implements network.
func (n *namespaces) readdress(h *host) error {
	n.change.Lock()
	defer n.change.Unlock()
	if n.nextPeer == lastPeerAddress {
		return notCovered("all addresses of the network have been used")
	}
	before, next := n.peer(h), n.address(n.nextPeer)
	if err := h.keeper.ip( // in this order: without the first address the kernel removes the second one of its network
		fmt.Sprintf("addr del %s/25 dev eth0", before),
		fmt.Sprintf("addr add %s/25 dev eth0", next),
	); err != nil {
		return err
	}
	n.nextPeer++
	n.mu.Lock()
	n.peers[h.index] = next
	n.mu.Unlock()
	return n.follow(h, before)
}

// close implements network. Things in the namespaces are removed with their keepers.
func (n *namespaces) close() error {
	n.change.Lock()
	defer n.change.Unlock()
	var errs []error
	for _, t := range n.tuns {
		errs = append(errs, t.close())
	}
	for _, l := range n.links {
		l.close()
	}
	if n.device != "" {
		errs = append(errs, n.lab.tools.ip("link del "+n.device))
	}
	n.hub.end()
	return errors.Join(errs...)
}

// quietIPv6 turns IPv6 off in the thread's namespace.
func quietIPv6() error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // the kernel has none
	}
	return err
}

// anyPath makes the thread's namespace accept packets that arrive on another path than that
// of their answers.
func anyPath() error {
	return errors.Join(
		os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("0"), 0),
		os.WriteFile("/proc/sys/net/ipv4/conf/default/rp_filter", []byte("0"), 0))
}
