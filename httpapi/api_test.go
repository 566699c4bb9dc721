package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/internal/testkit"
)

// waitTimeout is the maximum time of every wait in these tests. No result may depend on it.
const waitTimeout = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api is a server under test with its node.
type api struct {
	t        testing.TB
	node     *fakeNode
	server   *httpapi.Server
	registry *prometheus.Registry
	addr     string        // once the server is started, like the fields below
	served   chan struct{} // closed when Serve has returned
	listener *countingListener
}

// countingListener counts the connections that it hands out.
type countingListener struct {
	net.Listener
	accepted atomic.Int32
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

// mustAPI returns a server that is only a handler; change may alter its configuration.
func mustAPI(t testing.TB, change func(*httpapi.Config)) *api {
	t.Helper()
	a := &api{t: t, node: newFakeNode(), registry: prometheus.NewRegistry()}
	cfg := httpapi.Config{Node: a.node, NodeID: "n1", Registerer: a.registry}
	if change != nil {
		change(&cfg)
	}
	var err error
	if a.server, err = httpapi.New(cfg); err != nil {
		t.Fatalf("New: %v", err)
	}
	return a
}

// mustServe returns a server that listens, and is shut down with the test.
func mustServe(t testing.TB, change func(*httpapi.Config)) *api {
	t.Helper()
	a := mustAPI(t, change)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	a.serve(l)
	return a
}

// serve serves l until the test's end.
func (a *api) serve(l net.Listener) {
	t := a.t
	a.addr, a.served = l.Addr().String(), make(chan struct{})
	a.listener = &countingListener{Listener: l}
	go func() {
		defer close(a.served)
		if err := a.server.Serve(a.listener); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // requests in flight do not matter any more
		if err := a.server.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown: %v", err)
		}
		<-a.served
	})
}

// do makes the handler answer a request without a network; headers are pairs.
func (a *api) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	a.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
		r.Header.Set("Content-Length", "0")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	a.server.Handler().ServeHTTP(w, r)
	return w
}

// conn is a raw connection to a server under test.
type conn struct {
	*net.TCPConn
	t testing.TB
	r *bufio.Reader
}

// dial opens a raw connection, closed with the test.
func (a *api) dial() *conn {
	a.t.Helper()
	c, err := net.Dial("tcp", a.addr)
	if err != nil {
		a.t.Fatalf("dial: %v", err)
	}
	a.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(waitTimeout)); err != nil {
		a.t.Fatalf("set deadline: %v", err)
	}
	return &conn{TCPConn: c.(*net.TCPConn), t: a.t, r: bufio.NewReader(c)}
}

// send writes raw bytes.
func (c *conn) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, format, args...); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// answer reads one answer, whole, to a request of the given method.
func (c *conn) answer(method string) (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read answer: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("read answer's body: %v", err)
	}
	return resp, string(body)
}

// expectClosed fails unless the server has ended the connection with nothing more to read.
func (c *conn) expectClosed() {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Fatal("the connection is still open")
	}
	if len(rest) > 0 {
		c.t.Fatalf("more came before the connection's end: %q", rest)
	}
}

// holdCall makes the node's next call, which must be the only one, wait: entered is closed
// when it begins, and it ends when the test closes leave.
func (a *api) holdCall() (entered, leave chan struct{}) {
	entered, leave = make(chan struct{}), make(chan struct{})
	a.node.hook = func(ctx context.Context, _, _ string) error {
		close(entered)
		<-leave
		return ctx.Err()
	}
	return entered, leave
}

// gauge returns the value of a metric without labels.
func (a *api) gauge(name string) float64 {
	a.t.Helper()
	families, err := a.registry.Gather()
	if err != nil {
		a.t.Fatalf("gather: %v", err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	a.t.Fatalf("no metric %s", name)
	return 0
}

// expectReleased fails unless all budgets become free.
func (a *api) expectReleased() {
	a.t.Helper()
	poll(a.t, "budgets free", func() bool {
		return a.gauge("kvorum_http_inflight_bytes") == 0 && a.gauge("kvorum_http_inflight_requests") == 0
	})
}

// poll waits until cond holds.
func poll(t testing.TB, what string, cond func() bool) {
	t.Helper()
	testkit.Until(t, waitTimeout, what, cond)
}

// await waits until ch is closed or sent to.
func await[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(waitTimeout):
		t.Fatalf("timed out waiting: %s", what)
		panic("unreachable")
	}
}

// problem is an error body as a client sees it.
type problem struct {
	Type, Title, Detail, Code, Outcome string
	Status                             int
	Retryable                          bool
}

// expectProblem fails unless w is an error answer of that status and code.
func expectProblem(t testing.TB, w *httptest.ResponseRecorder, status int, code string) problem {
	t.Helper()
	return checkProblem(t, w.Result(), w.Body.String(), status, code)
}

func checkProblem(t testing.TB, resp *http.Response, body string, status int, code string) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("status %d, body %q: %v", resp.StatusCode, body, err)
	}
	if resp.StatusCode != status || p.Status != status || p.Code != code {
		t.Fatalf("got %d %+v, want %d %s", resp.StatusCode, p, status, code)
	}
	if got, want := resp.Header.Get("Content-Type"), "application/problem+json"; got != want {
		t.Errorf("Content-Type: got %q, want %q", got, want)
	}
	if got, want := p.Type, "urn:kvorum:problem:"+code; got != want {
		t.Errorf("type: got %q, want %q", got, want)
	}
	if p.Title == "" || p.Detail == "" {
		t.Errorf("title or detail is missing: %+v", p)
	}
	if p.Outcome != "not_done" && p.Outcome != "unknown" {
		t.Errorf("outcome: got %q", p.Outcome)
	}
	retryAfter := status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests
	if got := resp.Header.Get("Retry-After") != ""; got != retryAfter {
		t.Errorf("Retry-After with status %d: got %v", status, got)
	}
	if got, want := resp.Header.Get("Kvorum-Node"), "n1"; got != want {
		t.Errorf("Kvorum-Node: got %q, want %q", got, want)
	}
	return p
}
