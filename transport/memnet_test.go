package transport_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// memNet is a network of pipes, for tests in which time is simulated.
type memNet struct {
	narrow *narrow // nil: nothing takes time

	mu        sync.Mutex
	listeners map[string]*memListener
}

// memListener implements net.Listener, and raft.StreamLayer for the library's
// own transport.
type memListener struct {
	net    *memNet
	addr   memAddr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

type memAddr string

func (memAddr) Network() string  { return "memory" }
func (a memAddr) String() string { return string(a) }

func (n *memNet) listen(addr string) *memListener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &memListener{net: n, addr: memAddr(addr), conns: make(chan net.Conn), closed: make(chan struct{})}
	if n.listeners == nil {
		n.listeners = make(map[string]*memListener)
	}
	n.listeners[addr] = l
	return l
}

func (n *memNet) dial(ctx context.Context, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[addr]
	n.mu.Unlock()
	if l == nil {
		return nil, errors.New("nobody listens at " + addr)
	}
	here, there := n.pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
	case <-ctx.Done():
	}
	return nil, errors.New("nobody accepts at " + addr)
}

func (n *memNet) pipe() (here, there net.Conn) {
	if n.narrow != nil {
		return n.narrow.pipe()
	}
	return net.Pipe()
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *memListener) Addr() net.Addr { return l.addr }

func (l *memListener) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return l.net.dial(ctx, string(addr))
}

// ours returns a configuration of a node that lives on the network.
func (n *memNet) ours(addrs *book) func(*transport.Config) {
	return func(c *transport.Config) {
		id := c.Identity.ID
		c.Listener.Close()
		c.Listener, c.Dial = n.listen(string(id)), n.dial
		c.Identity.PeerAddr = string(id)
		addrs.set(id, string(id))
	}
}

// libraryTransport is the raft library's own transport, for the controls: what
// ours is there to avoid.
func (n *memNet) libraryTransport(id string, inFlight int) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: n.listen(id), MaxPool: 3, Timeout: 5 * time.Second, MaxRPCsInFlight: inFlight,
		Logger: hclog.NewNullLogger(),
	})
}
