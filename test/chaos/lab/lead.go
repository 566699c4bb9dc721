//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"slices"
)

// cut implements network.
func (n *namespaces) cut(from, to *host) error {
	return n.lead(pair{from, to}, (*link).cut)
}

// shape implements network.
func (n *namespaces) shape(from, to *host, how Shape) error {
	return n.lead(pair{from, to}, func(l *link) { l.shape(how) })
}

// lead changes a link, and leads the packets of the pair through it.
func (n *namespaces) lead(p pair, change func(*link)) error {
	n.change.Lock()
	defer n.change.Unlock()
	change(n.link(p))
	if n.led[p] {
		return nil
	}
	if err := n.route(p); err != nil {
		return err
	}
	n.led[p] = true
	return nil
}

// link returns the link of a pair, which it makes.
func (n *namespaces) link(p pair) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	l, ok := n.links[p]
	if !ok {
		l = newLink(n.tuns[p.to.index].write)
		n.links[p] = l
	}
	return l
}

// route leads the packets of a pair's sender into its TUN device. The source addresses are
// the same as without it, because other ones would break connections.
func (n *namespaces) route(p pair) error {
	return p.from.keeper.ip(
		fmt.Sprintf("route replace %s/32 dev %s src %s", n.peer(p.to), tunName, n.peer(p.from)),
		fmt.Sprintf("route replace %s/32 dev %s src %s", n.client(p.to), tunName, n.client(p.from)),
	)
}

// heal implements network. Packets that wait in a link are sent at once.
func (n *namespaces) heal() error {
	n.change.Lock()
	defer n.change.Unlock()
	flush := map[*host][]string{}
	for p := range n.led {
		flush[p.from] = []string{"route flush dev " + tunName}
	}
	for from, lines := range flush {
		if err := from.keeper.ip(lines...); err != nil {
			return err
		}
	}
	clear(n.led)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.heal()
	}
	return nil
}

// follow keeps leading packets to or from a host after its address has changed. n.change is
// held.
func (n *namespaces) follow(h *host, before netip.Addr) error {
	for p := range n.led {
		if p.to == h {
			if err := p.from.keeper.ip(fmt.Sprintf("route del %s/32 dev %s", before, tunName)); err != nil {
				return err
			}
		}
		if p.to == h || p.from == h { // the kernel removed the routes with the old source address
			if err := n.route(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// forward handles a packet that was led into a host's TUN device.
func (n *namespaces) forward(from *host, packet []byte) {
	if len(packet) < ipHeader || packet[0]>>4 != 4 {
		return
	}
	to := netip.AddrFrom4([4]byte(packet[16:20]))
	n.mu.Lock()
	i := slices.Index(n.peers, to)
	if i < 0 {
		i = int(to.As4()[3]) - firstClientAddress
	}
	var l *link
	if i >= 0 && i < len(n.lab.hosts) {
		l = n.links[pair{from, n.lab.hosts[i]}]
	}
	n.mu.Unlock()
	if l != nil {
		l.offer(packet)
	}
}
