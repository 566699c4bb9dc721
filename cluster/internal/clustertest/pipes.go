package clustertest

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"syscall"
)

// Pipes is a network inside a synctest bubble. Nothing takes time on it, but
// each direction between two hosts can be held: bytes that are sent that way arrive
// when it is let go. The host of an address is the part before its colon.
type Pipes struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener // guarded by mu; by address
	held      map[way]chan struct{}    // guarded by mu; closed when the way is let go
}

// way is a direction between two hosts.
type way struct{ from, to string }

// NewPipes returns a network without hosts.
func NewPipes() *Pipes {
	return &Pipes{listeners: make(map[string]*pipeListener), held: make(map[way]chan struct{})}
}

// Hold keeps back all bytes from one host to another.
func (p *Pipes) Hold(from, to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[way{from, to}] == nil {
		p.held[way{from, to}] = make(chan struct{})
	}
}

// Let delivers the bytes that were held from one host to another, and further ones.
func (p *Pipes) Let(from, to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.letLocked(way{from, to})
}

// LetAll is Let for all hosts.
func (p *Pipes) LetAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.held {
		p.letLocked(w)
	}
}

func (p *Pipes) letLocked(w way) {
	if gate := p.held[w]; gate != nil {
		close(gate)
		delete(p.held, w)
	}
}

// await returns when nothing is held on a way.
func (p *Pipes) await(w way) {
	for {
		p.mu.Lock()
		gate := p.held[w]
		p.mu.Unlock()
		if gate == nil {
			return
		}
		<-gate
	}
}

// DialFrom returns how a host opens connections.
func (p *Pipes) DialFrom(host string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		p.mu.Lock()
		l := p.listeners[addr]
		p.mu.Unlock()
		if l == nil {
			return nil, syscall.ECONNREFUSED
		}
		peer, _, _ := strings.Cut(addr, ":")
		near, nearEnd := net.Pipe()
		far, farEnd := net.Pipe()
		select {
		case l.conns <- far:
		case <-l.closed:
			return nil, syscall.ECONNREFUSED
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		go p.carry(way{host, peer}, nearEnd, farEnd)
		go p.carry(way{peer, host}, farEnd, nearEnd)
		return near, nil
	}
}

// carry takes bytes from one end of a connection to the other, until either is closed.
func (p *Pipes) carry(w way, in, out net.Conn) {
	chunks, done := make(chan []byte, 1024), make(chan struct{})
	defer close(done)
	defer func() { _ = in.Close() }()
	defer func() { _ = out.Close() }()
	go func() {
		defer close(chunks)
		buf := make([]byte, 16<<10)
		for {
			n, err := in.Read(buf)
			select {
			case chunks <- bytes.Clone(buf[:n]):
			case <-done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for chunk := range chunks {
		p.await(w)
		if _, err := out.Write(chunk); err != nil {
			return
		}
	}
}

// pipeListener implements net.Listener.
type pipeListener struct {
	addr   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Listen returns a listener at an address, in place of an earlier one there.
func (p *Pipes) Listen(addr string) net.Listener {
	l := &pipeListener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners[addr] = l
	return l
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return l }

// Network and String implement net.Addr.
func (l *pipeListener) Network() string { return "pipe" }
func (l *pipeListener) String() string  { return l.addr }
