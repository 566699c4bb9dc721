package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// megabit is a rate of one million bits per second, in bytes.
const megabit = 1_000_000 / 8

// retransmit is the time after which a sender sends a lost segment again.
const retransmit = 200 * time.Millisecond

// link is the network path of segments from one host to another. As with TCP, lost segments
// arrive later, and segments of one connection keep their order.
type link struct {
	blocked  bool          // no segments arrive
	min, max time.Duration // limits of the delay, which is chosen for each segment
	loss     float64       // probability that a segment is lost, each time it is sent
	reset    float64       // probability that a segment resets its connection instead
	rate     int64         // bytes per second, of all connections together; 0 means no limit
	shared   bool          // the rate is that of the sending host, to all others together
}

// route names the two ends of a link.
type route struct{ from, to string }

// network joins hosts by connections. Safe for concurrent use.
type network struct {
	trace *trace

	mu        sync.Mutex
	rng       *rand.Rand
	normal    link
	links     map[route]link         // those that differ from normal
	down      map[string]bool        // hosts without power
	listeners map[string]*listener   // by address
	endpoints map[*endpoint]struct{} // of live processes
	pipes     map[*pipe]struct{}     // that still carry something
	wires     map[route]*wire        // of links that are narrow, or were; those of a host's own rate have no destination
	changed   chan struct{}          // closed and replaced whenever links or down change
}

func newNetwork(rng *rand.Rand, normal link, tr *trace) *network {
	return &network{
		trace: tr, rng: rng, normal: normal, links: map[route]link{}, down: map[string]bool{},
		listeners: map[string]*listener{}, endpoints: map[*endpoint]struct{}{}, pipes: map[*pipe]struct{}{}, wires: map[route]*wire{},
		changed: make(chan struct{}),
	}
}

// set changes how segments travel from one host to another.
func (n *network) set(from, to string, l link) {
	n.change(func() { n.links[route{from, to}] = l })
}

// heal makes all links normal again.
func (n *network) heal() {
	n.change(func() { clear(n.links) })
}

// power sets whether a host has power. Without power it neither receives nor sends.
func (n *network) power(host string, on bool) {
	n.change(func() { n.down[host] = !on })
}

// change calls f, and wakes all pipes that it may affect.
func (n *network) change(f func()) {
	n.mu.Lock()
	before := map[*pipe]bool{}
	for p := range n.pipes {
		before[p] = n.blockedLocked(p.route)
	}
	f()
	var freed, rest []*pipe
	for p := range n.pipes {
		if before[p] && !n.blockedLocked(p.route) {
			freed = append(freed, p)
		} else {
			rest = append(rest, p)
		}
	}
	close(n.changed)
	n.changed = make(chan struct{})
	n.mu.Unlock()
	for _, p := range freed {
		p.release()
	}
	for _, p := range rest {
		p.wake()
	}
}

func (n *network) blocked(r route) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.blockedLocked(r)
}

func (n *network) blockedLocked(r route) bool {
	return n.down[r.from] || n.down[r.to] || n.links[r].blocked
}

func (n *network) linkLocked(r route) link {
	if l, ok := n.links[r]; ok {
		return l
	}
	return n.normal
}

// travel returns the delay of the next segment, and whether it resets its connection.
func (n *network) travel(r route) (delay time.Duration, reset bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.linkLocked(r)
	delay = l.min
	if l.max > l.min {
		delay += time.Duration(n.rng.Int64N(int64(l.max - l.min)))
	}
	for again := retransmit; l.loss > 0 && n.rng.Float64() < l.loss && again < 10*time.Second; again *= 2 {
		delay += again
	}
	return delay, l.reset > 0 && n.rng.Float64() < l.reset
}

// resetAll resets the connections between two hosts.
func (n *network) resetAll(a, b string) {
	for _, p := range n.pipesBetween(a, b) {
		p.fail(syscall.ECONNRESET)
	}
}

func (n *network) pipesBetween(a, b string) []*pipe {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []*pipe
	for p := range n.pipes {
		if p.route == (route{a, b}) || p.route == (route{b, a}) {
			found = append(found, p)
		}
	}
	return found
}

// endpoint is the network as one process sees it.
type endpoint struct {
	net  *network
	host string
	dead chan struct{} // closed by kill

	mu    sync.Mutex
	conns map[*conn]struct{} // guarded by mu; open ones
	over  bool               // guarded by mu
}

func (n *network) attach(host string) *endpoint {
	e := &endpoint{net: n, host: host, dead: make(chan struct{}), conns: map[*conn]struct{}{}}
	n.mu.Lock()
	n.endpoints[e] = struct{}{}
	n.mu.Unlock()
	return e
}

// kill ends all connections of the process at once. Bytes that it sent before are still
// delivered, and then a reset. If the power fails, its peers get nothing until the host is
// up again.
func (e *endpoint) kill(powerFails bool) {
	e.mu.Lock()
	e.over = true
	open := e.conns
	e.conns = map[*conn]struct{}{}
	e.mu.Unlock()
	close(e.dead)
	e.net.mu.Lock()
	delete(e.net.endpoints, e)
	for addr, l := range e.net.listeners {
		if l.owner == e {
			delete(e.net.listeners, addr)
		}
	}
	e.net.mu.Unlock()
	for c := range open {
		c.abandon(powerFails)
	}
	if powerFails {
		e.net.power(e.host, false)
	}
}

// keep makes the process the owner of an end of a connection.
func (e *endpoint) keep(c *conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over {
		e.conns[c] = struct{}{}
	}
	return !e.over
}

func (e *endpoint) forget(c *conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.conns, c)
}

// addr is a host:port of the network.
type addr string

func (addr) Network() string  { return "sim" }
func (a addr) String() string { return string(a) }

func hostOf(address string) string {
	host, _, _ := strings.Cut(address, ":")
	return host
}

// listener implements net.Listener.
type listener struct {
	owner   *endpoint
	address string
	backlog chan *conn
	once    sync.Once
	closed  chan struct{}
}

func (e *endpoint) listen(address string) *listener {
	l := &listener{owner: e, address: address, backlog: make(chan *conn, 64), closed: make(chan struct{})}
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	e.net.listeners[address] = l
	return l
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		n := l.owner.net
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.listeners[l.address] == l {
			delete(n.listeners, l.address)
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return addr(l.address) }

// dial implements cluster.Seams.Dial.
func (e *endpoint) dial(ctx context.Context, address string) (net.Conn, error) {
	there, back := route{e.host, hostOf(address)}, route{hostOf(address), e.host}
	for {
		if err := e.cross(ctx, there, back); err != nil {
			return nil, fmt.Errorf("dial %s: %w", address, err)
		}
		e.net.mu.Lock()
		l := e.net.listeners[address]
		lost := e.net.blockedLocked(there) || e.net.blockedLocked(back)
		e.net.mu.Unlock()
		if lost {
			continue
		}
		if l == nil {
			return nil, fmt.Errorf("dial %s: %w", address, syscall.ECONNREFUSED)
		}
		c, err := e.connect(l)
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", address, err)
		}
		return c, nil
	}
}

// cross waits until a segment and its answer have passed.
func (e *endpoint) cross(ctx context.Context, there, back route) error {
	for {
		e.net.mu.Lock()
		blocked := e.net.blockedLocked(there) || e.net.blockedLocked(back)
		changed := e.net.changed
		e.net.mu.Unlock()
		var wait <-chan time.Time
		if !blocked {
			changed = nil
			one, _ := e.net.travel(there)
			two, _ := e.net.travel(back)
			timer := time.NewTimer(one + two)
			defer timer.Stop()
			wait = timer.C
		}
		select {
		case <-wait:
			return nil
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-e.dead:
			return net.ErrClosed
		}
	}
}

// connect makes a connection with l, which accepts it.
func (e *endpoint) connect(l *listener) (net.Conn, error) {
	ab := newPipe(e.net, route{e.host, l.owner.host})
	ba := newPipe(e.net, route{l.owner.host, e.host})
	near := &conn{owner: e, in: ba, out: ab, local: addr(e.host), remote: addr(l.address), closed: make(chan struct{})}
	far := &conn{owner: l.owner, in: ab, out: ba, local: addr(l.address), remote: addr(e.host), closed: make(chan struct{})}
	if !e.keep(near) {
		return nil, net.ErrClosed
	}
	if !l.owner.keep(far) {
		e.forget(near)
		return nil, syscall.ECONNREFUSED
	}
	select {
	case l.backlog <- far:
		return near, nil
	default:
		_ = near.Close()
		_ = far.Close()
		return nil, syscall.ECONNREFUSED
	}
}
