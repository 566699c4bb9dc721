package transport_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/transport"
)

// patience is how long a test waits for what must happen; nothing that passes
// takes as long.
const patience = 10 * time.Second

const (
	kindEcho  transport.Kind = 1 // answers with the payload
	kindBlock transport.Kind = 2 // answers when the test says so, or its context ends
	kindFail  transport.Kind = 3 // fails with the payload as text and a code

	kindTimeLeft transport.Kind = 4 // answers with the time until the deadline
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// book is a Resolver that a test can change.
type book struct {
	mu    sync.Mutex
	addrs map[raft.ServerID]string
}

func (b *book) ResolvePeer(id raft.ServerID) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	addr, ok := b.addrs[id]
	return addr, ok
}

func (b *book) set(id raft.ServerID, addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.addrs == nil {
		b.addrs = make(map[raft.ServerID]string)
	}
	b.addrs[id] = addr
}

// node is a transport whose handler knows the kinds above.
type node struct {
	*transport.Transport
	addr    string
	book    *book
	started chan struct{} // one value for each kindBlock that began
	release chan struct{} // one value, or close, lets a kindBlock answer
	ended   chan error    // one value for each kindBlock whose context ended
	learned chan transport.Identity
}

type codedError struct{ error }

func (codedError) RPCCode() string { return "coded" }

func (n *node) handle(ctx context.Context, from transport.Identity, kind transport.Kind, payload []byte) ([]byte, error) {
	switch kind {
	case kindEcho:
		return payload, nil
	case kindBlock:
		n.started <- struct{}{}
		select {
		case <-n.release:
			return append([]byte("released "), payload...), nil
		case <-ctx.Done():
			n.ended <- ctx.Err()
			return nil, ctx.Err()
		}
	case kindFail:
		return nil, codedError{errors.New(string(payload))}
	case kindTimeLeft:
		if deadline, ok := ctx.Deadline(); ok {
			return []byte(time.Until(deadline).String()), nil
		}
		return []byte("unlimited"), nil
	}
	return nil, errors.New("unknown kind for " + string(from.ID))
}

// mustListen listens on a free port, or on addr if it is not empty.
func mustListen(t testing.TB, addr string) net.Listener {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	return l
}

// startNode starts a node of cluster "c" that finds others by b; tune may change
// its configuration.
func startNode(t testing.TB, id string, b *book, tune func(*transport.Config)) *node {
	t.Helper()
	return startLimited(t, id, b, transport.Limits{}, tune)
}

func startLimited(t testing.TB, id string, b *book, limits transport.Limits, tune func(*transport.Config)) *node {
	t.Helper()
	n := &node{
		book:    b,
		started: make(chan struct{}, 2000),
		release: make(chan struct{}),
		ended:   make(chan error, 2000),
		learned: make(chan transport.Identity, 2000),
	}
	cfg := transport.Config{
		Listener: mustListen(t, ""),
		Identity: transport.Identity{ID: raft.ServerID(id), Cluster: "c", HTTPAddr: "http." + id + ":1", Generation: 7, CommandVersion: 3},
		Resolver: b,
		Handler:  n.handle,
		Learn:    func(id transport.Identity) { n.learned <- id },
	}
	cfg.Identity.PeerAddr = cfg.Listener.Addr().String()
	if tune != nil {
		tune(&cfg)
	}
	n.addr = cfg.Listener.Addr().String()
	var err error
	if n.Transport, err = transport.NewForTesting(cfg, limits); err != nil {
		t.Fatalf("New: %v", err)
	}
	b.set(cfg.Identity.ID, n.addr)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("Close of %s: %v", id, err)
		}
	})
	return n
}

func pair(t testing.TB) (a, b *node) {
	t.Helper()
	addrs := &book{}
	return startNode(t, "a", addrs, nil), startNode(t, "b", addrs, nil)
}

// ctxFor is a context that ends with the test's patience.
func ctxFor(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// poll waits until cond holds.
func poll(t testing.TB, what string, cond func() bool) {
	t.Helper()
	testkit.Until(t, patience, what, cond)
}

// await receives from ch.
func await[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited %v for: %s", patience, what)
		panic("unreachable")
	}
}

func mustCall(t testing.TB, from *node, to raft.ServerID, payload string) {
	t.Helper()
	got, err := from.Call(ctxFor(t), to, kindEcho, []byte(payload))
	if err != nil || string(got) != payload {
		t.Fatalf("Call = %.40q, %v, want %.40q", got, err, payload)
	}
}

type callResult struct {
	answer []byte
	err    error
}

// goCall calls in the background.
func goCall(ctx context.Context, from *node, to raft.ServerID, kind transport.Kind, payload []byte) <-chan callResult {
	ch := make(chan callResult, 1)
	go func() {
		answer, err := from.Call(ctx, to, kind, payload)
		ch <- callResult{answer, err}
	}()
	return ch
}

// proxy stands between a dialer and a node, and misbehaves on demand.
type proxy struct {
	l      net.Listener
	target string
	wg     sync.WaitGroup

	mu     sync.Mutex
	limit  int64 // bytes that pass from the dialer before all is cut; -1: no limit
	passed int64
	frozen chan struct{} // not nil: nothing passes until it is closed
	conns  map[net.Conn]struct{}
	dialed int
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	p := &proxy{l: mustListen(t, ""), target: target, limit: -1, conns: make(map[net.Conn]struct{})}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.l.Close()
		p.thaw()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) accept() {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.dialed++
		p.conns[in], p.conns[out] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.wg.Go(func() { p.pass(out, in, true) })
		p.wg.Go(func() { p.pass(in, out, false) })
	}
}

func (p *proxy) pass(to, from net.Conn, counted bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			allowed := p.allow(n, counted)
			if _, werr := to.Write(buf[:allowed]); werr != nil || allowed < n {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// allow returns how many of n bytes may pass, waiting while the proxy is frozen.
func (p *proxy) allow(n int, counted bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.frozen != nil {
		ch := p.frozen
		p.mu.Unlock()
		<-ch
		p.mu.Lock()
	}
	if !counted {
		return n
	}
	if p.limit >= 0 {
		n = int(min(int64(n), p.limit-p.passed))
	}
	p.passed += int64(n)
	return n
}

// cutAfter cuts the connections once n more bytes came from dialers.
func (p *proxy) cutAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = p.passed + n
}

func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = -1
}

func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = make(chan struct{})
}

func (p *proxy) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil {
		close(p.frozen)
		p.frozen = nil
	}
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

func (p *proxy) dials() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dialed
}

// expectClosed reads until the other side closes and returns what came.
func expectClosed(t testing.TB, c net.Conn) []byte {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("the connection was not closed; got %q", b)
	}
	return b
}
