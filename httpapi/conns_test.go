package httpapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/internal/testkit"
)

func TestConns_IdleIsClosed(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.IdleTimeout = 50 * time.Millisecond })
	c := a.dial()
	c.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
	c.answer("GET")
	c.expectClosed()
}

// TestConns_Limit checks that a new connection takes an idle one's place at
// once, a busy one's when that is idle.
func TestConns_Limit(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.MaxConns = 1 })
	idle := a.dial()
	idle.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
	idle.answer("GET")

	entered, leave := make(chan struct{}), make(chan struct{})
	a.node.hook = func(context.Context, string, string) error {
		close(entered)
		<-leave
		return nil
	}
	busy := a.dial()
	busy.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	await(t, "the busy connection's request", entered)
	idle.expectClosed()

	waiting := a.dial()
	waiting.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
	poll(t, "the connection accepted", func() bool { return a.listener.accepted.Load() == 3 })
	if got := a.gauge("kvorum_http_connections"); got != 1 {
		t.Errorf("connections: got %v, want 1", got)
	}
	close(leave)
	if resp, _ := busy.answer("PUT"); resp.StatusCode != http.StatusCreated {
		t.Errorf("busy: got %d, want 201", resp.StatusCode)
	}
	if resp, _ := waiting.answer("GET"); resp.StatusCode != http.StatusOK {
		t.Errorf("waiting: got %d, want 200", resp.StatusCode)
	}
	busy.expectClosed()
}

// TestConns_LimitForgets checks that a connection whose place became free by
// itself is not closed for it later.
func TestConns_LimitForgets(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.MaxConns = 1 })
	entered, leave := make(chan struct{}), make(chan struct{})
	a.node.hook = func(context.Context, string, string) error {
		close(entered)
		<-leave
		return nil
	}
	busy := a.dial()
	busy.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	await(t, "the busy connection's request", entered)
	waiting := a.dial()
	poll(t, "the connection accepted", func() bool { return a.listener.accepted.Load() == 2 })
	close(leave)
	busy.answer("PUT")
	for range 3 {
		waiting.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
		waiting.answer("GET")
	}
}

func TestShutdown_Drains(t *testing.T) {
	a := mustServe(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	a.node.hook = func(ctx context.Context, _, _ string) error {
		close(entered)
		<-leave
		return ctx.Err()
	}
	c := a.dial()
	c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	await(t, "the request", entered)
	down := make(chan error, 1)
	go func() { down <- a.server.Shutdown(context.Background()) }()
	await(t, "Serve's end", a.served)
	select {
	case err := <-down:
		t.Fatalf("Shutdown did not wait: %v", err)
	default:
	}
	close(leave)
	if resp, body := c.answer("PUT"); resp.StatusCode != http.StatusCreated {
		t.Errorf("got %d %s, want 201", resp.StatusCode, body)
	}
	if err := await(t, "Shutdown", down); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := a.server.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown again: %v", err)
	}
}

// TestShutdown_SilentConnections checks that a connection which has sent nothing
// holds no shutdown up: net/http by itself waits for its request for 5 s.
func TestShutdown_SilentConnections(t *testing.T) {
	a := mustServe(t, nil)
	silent := a.dial()
	poll(t, "the connection counted", func() bool { return a.gauge("kvorum_http_connections") >= 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := a.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	silent.expectClosed()
}

func TestShutdown_Forced(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.RequestTimeout = time.Hour })
	entered, ended := make(chan struct{}), make(chan struct{})
	a.node.hook = func(ctx context.Context, _, _ string) error {
		close(entered)
		<-ctx.Done()
		close(ended)
		return cluster.ErrUnknownOutcome
	}
	c := a.dial()
	c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	await(t, "the request", entered)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := a.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	select {
	case <-ended:
	default:
		t.Error("Shutdown returned before the request's goroutine ended")
	}
}

func TestServe_ListenerError(t *testing.T) {
	a := mustAPI(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := a.server.Serve(l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}

// A list that its client would take for ever does not keep the server from
// stopping, and does not end as a whole one does.
func TestShutdown_BreaksOffLists(t *testing.T) {
	a := mustServe(t, nil)
	done := make(chan struct{})
	a.node.list = func() *cluster.Listing { return endless(strings.Repeat("v", 10_000), done) }
	c := a.dial()
	c.send("GET /kv/ HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	drained := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, resp.Body)
		drained <- err
	}()
	down := make(chan error, 1)
	go func() { down <- a.server.Shutdown(context.Background()) }()
	if err := await(t, "Shutdown", down); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	await(t, "the stream given up", done)
	if err := await(t, "the client's end", drained); err == nil {
		t.Error("the client took a broken stream for a whole one")
	}
}

// TestTrial_B1_SilentConnectionsGiveWay shows that connections which never send a
// request, however many, keep no client out, and that a client on a kept connection
// is served while they come.
func TestTrial_B1_SilentConnectionsGiveWay(t *testing.T) {
	const limit, silent = 4, 40
	a := mustServe(t, func(c *httpapi.Config) {
		c.MaxConns = limit
		c.ReadHeaderTimeout, c.IdleTimeout = time.Hour, time.Hour
	})
	kept := a.dial()
	for range silent {
		kept.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv")
		if resp, body := kept.answer("PUT"); resp.StatusCode >= 300 {
			t.Fatalf("kept connection: got %d %s", resp.StatusCode, body)
		}
		a.dial()
	}
	poll(t, "all connections accepted", func() bool { return a.listener.accepted.Load() == silent+1 })
	fresh := a.dial()
	fresh.send("GET /kv/k HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, _ := fresh.answer("GET"); resp.StatusCode != http.StatusOK {
		t.Errorf("a new connection: got %d, want 200", resp.StatusCode)
	}
	if got := a.gauge("kvorum_http_connections"); got > limit {
		t.Errorf("connections: got %v, want at most %d", got, limit)
	}
	testkit.Outcome(t, "B1", "with a limit of %d connections, %d silent ones keep no client out", limit, silent)
}

// TestConns_NoHijack shows that no handler, such as the one for metrics, can take a
// connection over: its slot would never be given back.
func TestConns_NoHijack(t *testing.T) {
	var hijacked error
	a := mustServe(t, func(c *httpapi.Config) {
		c.MaxConns = 1
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if hijacked = err; err == nil {
				conn.Close()
			}
		})
	})
	c := a.dial()
	c.send("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	c.answer("GET")
	if !errors.Is(hijacked, http.ErrNotSupported) {
		t.Errorf("hijack: got %v, want %v", hijacked, http.ErrNotSupported)
	}
	next := a.dial()
	next.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, _ := next.answer("GET"); resp.StatusCode != http.StatusOK {
		t.Errorf("next connection: got %d, want 200", resp.StatusCode)
	}
}
