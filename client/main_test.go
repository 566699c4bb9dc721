package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/httpapi"
)

// endpoint is the HTTP address of a cluster of one node, which serves all tests and
// examples of this package. Each of them has keys of its own.
var endpoint string

func TestMain(m *testing.M) {
	n, err := startNode()
	if err != nil {
		log.Fatal(err)
	}
	endpoint = n.listener.Addr().String()
	code := m.Run()
	if err := n.close(); err != nil {
		log.Fatal(err)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			log.Fatal(err)
		}
	}
	os.Exit(code)
}

// node is a node that serves HTTP.
type node struct {
	dir      string
	listener *breakListener
	node     *cluster.Node
	http     *httpapi.Server
	served   chan error
	once     sync.Once
	closed   error // of close, once it is done
}

// startNode returns a node that is ready and forms a cluster by itself.
func startNode() (*node, error) {
	n, err := openNode("n1", 1, "127.0.0.1:0", nil)
	if err != nil {
		return nil, err
	}
	return n, n.ready()
}

// openNode returns a node that forms a cluster with others. gossip is its address, and join has
// those of all.
func openNode(name string, expect int, gossip string, join []string) (*node, error) {
	dir, err := os.MkdirTemp("", "kvorum-client-")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	peers, err := net.Listen("tcp", "127.0.0.1:0") // owned by the node from Open on
	if err != nil {
		return nil, err
	}
	n := &node{dir: dir, listener: newBreakListener(listener), served: make(chan error, 1)}
	n.node, err = cluster.Open(context.Background(), cluster.Config{
		Name: name, DataDir: dir, PeerListener: peers, AdvertisePeer: peers.Addr().String(),
		AdvertiseHTTP: listener.Addr().String(), GossipAddr: gossip, Join: join, BootstrapExpect: expect,
	})
	if err != nil {
		return nil, err
	}
	n.http, err = httpapi.New(httpapi.Config{Node: n.node, NodeID: name})
	if err != nil {
		return nil, err
	}
	go func() { n.served <- n.http.Serve(n.listener) }()
	return n, nil
}

// ready waits until the cluster is formed.
func (n *node) ready() error {
	for n.node.Ready() != nil {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-n.node.Fatal():
			return n.node.Err()
		}
	}
	return nil
}

// close stops the node as at SIGTERM. It may be called several times.
func (n *node) close() error {
	n.once.Do(func() {
		n.closed = errors.Join(n.http.Shutdown(context.Background()), <-n.served, n.node.Close(), os.RemoveAll(n.dir))
	})
	return n.closed
}

// mustNew returns a client of some endpoints, closed with the test.
func mustNew(t testing.TB, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// server is a server that is no node: the test decides its answers.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request // guarded by mu
}

// serve returns a server that names itself like a node, and answers with handle.
func serve(t testing.TB, handle http.HandlerFunc) *server {
	t.Helper()
	s := new(server)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r)
		s.mu.Unlock()
		w.Header().Set("Kvorum-Node", "n1")
		handle(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// seen returns the requests so far.
func (s *server) seen() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[:len(s.requests):len(s.requests)]
}

// addr returns host:port of the server.
func (s *server) addr() string { return strings.TrimPrefix(s.URL, "http://") }

// problem answers with an error in a node's form.
func problem(status int, code, title, detail, outcome string, retryable bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"title":%q,"detail":%q,"code":%q,"outcome":%q,"retryable":%t}`, title, detail, code, outcome, retryable)
	}
}

// noLeader answers a node's 503.
func noLeader(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", "1")
	problem(http.StatusServiceUnavailable, "no_leader", "No leader", "no leader is known", "not_done", true)(w, r)
}

// unknownOutcome answers a node's 504.
var unknownOutcome = problem(http.StatusGatewayTimeout, "unknown_outcome", "Outcome unknown", "the answer was lost", "unknown", false)

// status answers with only a status, like some proxies.
func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Del("Kvorum-Node")
		w.WriteHeader(code)
	}
}

// breakOff ends the connection without an answer.
func breakOff(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// hang gives no answer until the client hangs up.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // a server notices a hang-up only once it has the body
	<-r.Context().Done()
}

// ok answers with an empty success.
func ok(http.ResponseWriter, *http.Request) {}

// unreachable returns an endpoint where no server listens.
func unreachable(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// wantError checks an error's outcome and text, and returns the *client.Error in it.
func wantError(t testing.TB, err error, o client.Outcome, parts ...string) *client.Error {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a *client.Error", err)
	}
	if e.Outcome != o || (e.Outcome != client.NotDone && e.Retryable) {
		t.Errorf("%v: got outcome %v, retryable %v, want %v", err, e.Outcome, e.Retryable, o)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %q, want %q in it", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "%!") {
		t.Errorf("got %q, want one line", err)
	}
	return e
}
