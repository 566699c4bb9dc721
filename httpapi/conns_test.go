package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
)

func TestConns_IdleIsClosed(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.IdleTimeout = 50 * time.Millisecond })
	c := a.dial()
	c.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
	c.answer("GET")
	c.expectClosed()
}

// TestConns_Limit checks that a new connection replaces an idle one, and a busy one after
// its answer.
func TestConns_Limit(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.MaxConns = 1 })
	idle := a.dial()
	idle.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
	idle.answer("GET")

	entered, leave := a.holdCall()
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

// TestConns_LimitForgets checks that no connection is closed for a waiting one once that
// has got another slot.
func TestConns_LimitForgets(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.MaxConns = 1 })
	entered, leave := a.holdCall()
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
	entered, leave := a.holdCall()
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

// TestShutdown_SilentConnections checks that a connection that has sent nothing does not
// delay a shutdown. net/http alone would wait 5 s for its request.
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
		return kv.ErrUnknownOutcome
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

// TestShutdown_BreaksOffLists checks that an endless list does not keep the server from
// stopping, and does not end like a complete one.
func TestShutdown_BreaksOffLists(t *testing.T) {
	a := mustServe(t, nil)
	done := make(chan struct{})
	a.node.list = func() kv.View { return endless(strings.Repeat("v", 10_000), done) }
	drained := a.drainList()
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

// TestTrial_B1_SilentConnectionsGiveWay shows that any number of connections that never
// send a request keep no client out, and that a client on a kept connection is served
// meanwhile.
func TestTrial_B1_SilentConnectionsGiveWay(t *testing.T) {
	const limit, silent = 4, 40
	a := mustServe(t, func(c *httpapi.Config) {
		c.MaxConns = limit
		c.ReadHeaderTimeout, c.IdleTimeout = time.Hour, time.Hour
	})
	kept, kepts := a.dial(), 1
	last := time.Now() // before the last answer
	for range silent {
		now := time.Now()
		resp, _, err := kept.put("")
		if err != nil && time.Since(last) >= time.Second {
			// If the machine pauses the client for so long, its connection is idle.
			kept, kepts = a.dial(), kepts+1
			now = time.Now()
			resp, _, err = kept.put("")
		}
		if err != nil || resp.StatusCode >= 300 {
			t.Fatalf("kept connection: got %v %v", resp, err)
		}
		last = now
		a.dial()
	}
	poll(t, "all connections accepted", func() bool { return a.listener.accepted.Load() == int32(silent+kepts) })
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

// put sends a whole PUT of one byte, and returns the answer and the time at which all was
// sent.
func (c *conn) put(headers string) (resp *http.Response, sent time.Time, err error) {
	_, err = fmt.Fprintf(c, "PUT /kv/k HTTP/1.1\r\nHost: x\r\n%sContent-Length: 1\r\n\r\nv", headers)
	if sent = time.Now(); err != nil {
		return nil, sent, err
	}
	if resp, err = http.ReadResponse(c.r, nil); err != nil {
		return nil, sent, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp, sent, err
}

// TestTrial_B1_BurstIsAnswered connects twice as many clients as there may be connections
// at once, again and again, each for one put. All get an answer.
func TestTrial_B1_BurstIsAnswered(t *testing.T) {
	const limit, rounds = 32, 5
	for _, headers := range []string{"Connection: close\r\n", ""} {
		a := mustServe(t, func(c *httpapi.Config) { c.MaxConns = limit })
		var clients sync.WaitGroup
		var failed atomic.Int64
		for range 2 * limit {
			clients.Go(func() {
				for range rounds {
					began := time.Now()
					c := a.dial()
					resp, sent, err := c.put(headers)
					// If the machine pauses the client, its connection is silent.
					if stopped := sent.Sub(began) >= 100*time.Millisecond; !stopped && (err != nil || resp.StatusCode >= 300) {
						failed.Add(1)
					}
					c.Close()
				}
			})
		}
		clients.Wait()
		if n := failed.Load(); n > 0 {
			t.Errorf("headers %q: %d of %d puts were not answered", headers, n, 2*limit*rounds)
		}
	}
	testkit.Outcome(t, "B1", "with a limit of %d connections, %d short ones at once, %d times: every put is answered", limit, 2*limit, rounds)
}

// TestConns_ActiveGiveWayWithAnAnswer has more clients on kept connections than the limit.
// The answer before a connection closes tells its client, so no client sends a request into
// a closed connection.
func TestConns_ActiveGiveWayWithAnAnswer(t *testing.T) {
	const limit, clients, puts = 4, 8, 50
	a := mustServe(t, func(c *httpapi.Config) { c.MaxConns = limit })
	var running sync.WaitGroup
	var gaveWay atomic.Int64
	for range clients {
		running.Go(func() {
			c, last := a.dial(), time.Now()
			for n := 0; n < puts; n++ {
				now := time.Now()
				resp, _, err := c.put("")
				if err != nil && time.Since(last) >= 100*time.Millisecond {
					// If the machine pauses the client for so long, its connection is idle.
					c, last, n = a.dial(), time.Now(), n-1
					continue
				}
				if err != nil || resp.StatusCode >= 300 {
					t.Errorf("put %d: got %v %v", n, resp, err)
					return
				}
				if last = now; resp.Close {
					gaveWay.Add(1)
					c.Close()
					c, last = a.dial(), time.Now()
				}
			}
			c.Close()
		})
	}
	running.Wait()
	if gaveWay.Load() == 0 {
		t.Errorf("no answer closed its connection for a client that waited")
	}
}

// TestConns_NoHijack shows that no handler, such as that for metrics, can take a connection
// over: its slot would never be given back.
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
