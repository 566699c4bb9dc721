package transport

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// streamLayer gives the raft library's transport its connections: those of
// stream kind 'R' that the peer port accepted, and those it dials by ServerID.
type streamLayer struct {
	t        *Transport
	incoming chan net.Conn
	done     chan struct{}  // closed by Close
	wg       sync.WaitGroup // accepted connections that the library serves

	// mu guards closed, and with it additions to wg.
	mu     sync.Mutex
	closed bool
}

var _ raft.StreamLayer = (*streamLayer)(nil)

func newStreamLayer(t *Transport) *streamLayer {
	return &streamLayer{t: t, incoming: make(chan net.Conn), done: make(chan struct{})}
}

// deliver hands an accepted connection to the library, which closes it.
func (s *streamLayer) deliver(c *conn) {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if closed {
		c.Close()
		return
	}
	served := &servedStream{conn: c, served: sync.OnceFunc(s.wg.Done)}
	select {
	case s.incoming <- served:
	case <-s.done:
		served.Close()
	}
}

// servedStream tells the stream layer when the library is done with it.
type servedStream struct {
	*conn
	served func()
}

// Close is the last thing that the library's goroutine for a connection does.
func (s *servedStream) Close() error {
	defer s.served()
	return s.conn.Close()
}

// Accept implements net.Listener.
func (s *streamLayer) Accept() (net.Conn, error) {
	select {
	case c := <-s.incoming:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener: the library closes it, once. The peer port
// stays open for the other kind of connections.
func (s *streamLayer) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.done)
	}
	return nil
}

// Addr implements net.Listener. It is the ServerID: raft remembers votes by
// candidate address, so an address that another node could take over would let
// a node vote twice in one term.
func (s *streamLayer) Addr() net.Addr {
	return serverAddr(s.t.cfg.Identity.ID)
}

// Dial implements raft.StreamLayer: address is a ServerID, to be resolved now.
func (s *streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id := raft.ServerID(address)
	select {
	case <-s.done:
		return nil, fmt.Errorf("dial %s: %w", id, ErrClosed)
	default:
	}
	addr, ok := s.t.cfg.Resolver.ResolvePeer(id)
	if !ok {
		return nil, fmt.Errorf("dial %s: its address is not known", id)
	}
	ctx, cancel := context.WithTimeout(s.t.root, timeout)
	defer cancel()
	c, local, peer, err := s.t.dial(ctx, addr, streamRaft, id)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", id, err)
	}
	c.open(streamRaft, local, peer, nil)
	return c, nil
}

// serverAddr is a ServerID as a net.Addr.
type serverAddr raft.ServerID

func (serverAddr) Network() string  { return "kvorum" }
func (a serverAddr) String() string { return string(a) }

// closeAll closes the open streams of both directions.
func (s *streamLayer) closeAll() {
	s.t.mu.Lock()
	var streams []*conn
	for c := range s.t.conns {
		if c.opened && c.kind == streamRaft {
			streams = append(streams, c)
		}
	}
	s.t.mu.Unlock()
	for _, c := range streams {
		c.Close()
	}
}
