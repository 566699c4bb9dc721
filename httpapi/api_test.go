package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
)

// waitTimeout is the maximum time of every wait in these tests. No result may depend on it.
const waitTimeout = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNode is a node in memory. If its hooks are set, they run before an operation, and
// their error is the operation's.
type fakeNode struct {
	hook  func(ctx context.Context, op, key string) error
	list  func() kv.View // replaces items
	ready error
	stat  kv.Status

	mu       sync.Mutex
	revision uint64
	items    map[string]kv.Item
	calls    []string
	read     kv.ReadOptions // of the last read
}

var _ httpapi.Node = (*fakeNode)(nil)

func newFakeNode() *fakeNode { return &fakeNode{items: make(map[string]kv.Item)} }

func (n *fakeNode) begin(ctx context.Context, op, key string) error {
	n.mu.Lock()
	n.calls = append(n.calls, op+" "+key)
	n.mu.Unlock()
	if n.hook == nil {
		return nil
	}
	return n.hook(ctx, op, key)
}

func (n *fakeNode) called() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.calls)
}

func (n *fakeNode) value(key string) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	item, ok := n.items[key]
	return string(item.Value), ok
}

// holds reports whether c holds for item; found is false if there is no item.
func holds(c kv.Compare, item kv.Item, found bool) bool {
	switch c.Kind {
	case kv.IsAbsent:
		return !found
	case kv.IsPresent:
		return found
	case kv.HasModRevision:
		return found && item.ModRevision == c.Revision
	}
	panic(fmt.Sprintf("a condition of kind %d", c.Kind))
}

// Do carries out one change of one key, with conditions on that key only: HTTP has no other
// requests.
func (n *fakeNode) Do(ctx context.Context, r kv.Request) (kv.Response, error) {
	op := r.Then[0]
	name := map[kv.OpKind]string{kv.OpPut: "put", kv.OpDelete: "delete"}[op.Kind]
	if len(r.Then) != 1 || slices.ContainsFunc(r.If, func(c kv.Compare) bool { return c.Key != op.Key }) {
		panic(fmt.Sprintf("a request of more than one key: %+v", r))
	}
	if err := n.begin(ctx, name, op.Key); err != nil {
		return kv.Response{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	item, found := n.items[op.Key]
	for _, c := range r.If {
		if !holds(c, item, found) {
			return n.response(false, found, item.ModRevision), nil
		}
	}
	if op.Kind == kv.OpDelete {
		if found {
			n.revision++
			delete(n.items, op.Key)
		}
		return n.response(true, found, 0), nil
	}
	n.revision++
	if !found {
		item = kv.Item{Key: op.Key, CreateRevision: n.revision}
	}
	item.Value, item.ModRevision, item.Version = op.Value, n.revision, item.Version+1
	n.items[op.Key] = item
	return n.response(true, found, n.revision), nil
}

// response returns the response to a request of one key; mu is held.
func (n *fakeNode) response(succeeded, existed bool, modRevision uint64) kv.Response {
	return kv.Response{
		Succeeded: succeeded, Revision: n.revision,
		Results: []kv.OpResult{{Existed: existed, ModRevision: modRevision}},
	}
}

func (n *fakeNode) Get(ctx context.Context, key string, options kv.ReadOptions) (kv.ReadResult, error) {
	if err := n.begin(ctx, "get", key); err != nil {
		return kv.ReadResult{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.read = options
	item, found := n.items[key]
	return kv.ReadResult{Item: item, Found: found, Revision: n.revision}, nil
}

func (n *fakeNode) View(ctx context.Context, options kv.ReadOptions) (kv.View, error) {
	if err := n.begin(ctx, "list", ""); err != nil {
		return nil, err
	}
	if n.list != nil {
		return n.list(), nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.read = options
	var items []kv.Item
	for _, item := range n.items {
		items = append(items, item)
	}
	slices.SortFunc(items, func(a, b kv.Item) int { return strings.Compare(a.Key, b.Key) })
	return fakeView{n.revision, func(prefix, start string) iter.Seq[kv.Item] {
		return func(yield func(kv.Item) bool) {
			for _, item := range items {
				if item.Key >= start && strings.HasPrefix(item.Key, prefix) && !yield(item) {
					return
				}
			}
		}
	}}, nil
}

// fakeView is a view of the items that items yields.
type fakeView struct {
	revision uint64
	items    func(prefix, start string) iter.Seq[kv.Item]
}

func (v fakeView) Revision() uint64                             { return v.revision }
func (v fakeView) Range(prefix, start string) iter.Seq[kv.Item] { return v.items(prefix, start) }

func (n *fakeNode) Status() kv.Status { return n.stat }
func (n *fakeNode) Ready() error      { return n.ready }

func (n *fakeNode) Join(ctx context.Context, req kv.JoinRequest) (kv.Member, error) {
	if err := n.begin(ctx, "join", req.ID); err != nil {
		return kv.Member{}, err
	}
	return kv.Member{ID: req.ID, PeerAddr: req.PeerAddr, HTTPAddr: req.HTTPAddr, Voter: true}, nil
}

func (n *fakeNode) Transfer(ctx context.Context, name string) error {
	return n.begin(ctx, "transfer", name)
}

func (n *fakeNode) Snapshot(ctx context.Context, name string) (kv.SnapshotResult, error) {
	if err := n.begin(ctx, "snapshot", name); err != nil {
		return kv.SnapshotResult{}, err
	}
	return kv.SnapshotResult{ID: "n1", Index: 7, Bytes: 100, LogBytesBefore: 9, LogBytesAfter: 5}, nil
}

func (n *fakeNode) Leave(ctx context.Context, req kv.LeaveRequest) error {
	name := req.ID
	if req.Force {
		name += " by force"
	}
	return n.begin(ctx, "leave", name)
}

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
