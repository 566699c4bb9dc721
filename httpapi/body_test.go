package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/httpapi"
)

// smallValues configures values of at most 100 bytes.
func smallValues(c *httpapi.Config) { c.MaxValueBytes = 100 }

func expectNotCalled(t *testing.T, a *api) {
	t.Helper()
	if calls := a.node.called(); len(calls) > 0 {
		t.Errorf("the node was called: %q", calls)
	}
}

func TestBody_Sizes(t *testing.T) {
	a := mustServe(t, smallValues)
	for _, size := range []int{0, 1, 99, 100} {
		value := strings.Repeat("v", size)
		c := a.dial()
		c.send("PUT /kv/length HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", size, value)
		c.answer("PUT")
		if got, ok := a.node.value("length"); !ok || got != value {
			t.Errorf("%d bytes: got %q", size, got)
		}
		// On the same connection, because the body was read to its end.
		c.send("PUT /kv/chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
		if size > 0 {
			c.send("%x\r\n%s\r\n", size, value)
		}
		c.send("0\r\n\r\n")
		c.answer("PUT")
		if got, ok := a.node.value("chunked"); !ok || got != value {
			t.Errorf("%d bytes chunked: got %q", size, got)
		}
	}
	a.expectReleased()
}

// TestBody_TooLarge sends no byte of a body whose length is in the headers: the answer must
// not wait for one.
func TestBody_TooLarge(t *testing.T) {
	for name, test := range map[string]struct{ request, detail string }{
		"one byte":   {"Content-Length: 101\r\n\r\n", "value: has 101 bytes, the limit is 100"},
		"huge":       {"Content-Length: 9223372036854775807\r\n\r\n", "value: has 9223372036854775807 bytes, the limit is 100"},
		"consent":    {"Content-Length: 101\r\nExpect: 100-continue\r\n\r\n", "value: has 101 bytes, the limit is 100"},
		"chunked":    {"Transfer-Encoding: chunked\r\n\r\n65\r\n" + strings.Repeat("v", 101) + "\r\n", "value: has at least 101 bytes, the limit is 100"},
		"many bytes": {"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n" + strings.Repeat("v", 150), "value: has at least 101 bytes, the limit is 100"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for its client, which sends nothing
			a := mustServe(t, smallValues)
			c := a.dial()
			c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\n%s", test.request)
			resp, body := c.answer("PUT")
			p := checkProblem(t, resp, body, http.StatusRequestEntityTooLarge, "too_large")
			if p.Detail != test.detail {
				t.Errorf("got detail %q, want %q", p.Detail, test.detail)
			}
			if !resp.Close {
				t.Error("the connection stays open, with the body still to come")
			}
			c.expectClosed()
			expectNotCalled(t, a)
			a.expectReleased()
		})
	}
}

func TestBody_Short(t *testing.T) {
	for name, test := range map[string]struct{ rest, detail string }{
		"nothing":          {"Content-Length: 10\r\n\r\n", "0 of 10 bytes came"},
		"some":             {"Content-Length: 10\r\n\r\nonly 9 by", "9 of 10 bytes came"},
		"no first chunk":   {"Transfer-Encoding: chunked\r\n\r\n", "0 bytes came, and no end"},
		"no last chunk":    {"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "3 bytes came, and no end"},
		"bad chunk size":   {"Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n", "after 0 bytes: invalid byte in chunk length"},
		"chunk too short":  {"Transfer-Encoding: chunked\r\n\r\n5\r\nabc\r\n0\r\n\r\n", "malformed chunked encoding"},
		"chunk size -1":    {"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n", "after 0 bytes: invalid byte in chunk length"},
		"huge chunk size":  {"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nabc\r\n0\r\n\r\n", "after 0 bytes: http chunk length too large"},
		"trailer unending": {"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nTrailer: x\r\n", "after 3 bytes: http: suspiciously long trailer after chunked body"},
	} {
		t.Run(name, func(t *testing.T) {
			a := mustServe(t, smallValues)
			c := a.dial()
			c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\n%s", test.rest)
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			resp, body := c.answer("PUT")
			p := checkProblem(t, resp, body, http.StatusBadRequest, "bad_body")
			if !strings.HasPrefix(p.Detail, "the body could not be read whole: ") || !strings.HasSuffix(p.Detail, test.detail) {
				t.Errorf("got detail %q, want it to end with %q", p.Detail, test.detail)
			}
			c.expectClosed()
			expectNotCalled(t, a)
			a.expectReleased()
		})
	}
}

// TestBody_ChunkedTakesTheBudget puts the largest value, with a limit of the same size for
// all bodies together, once with Content-Length and once in chunks.
func TestBody_ChunkedTakesTheBudget(t *testing.T) {
	const size = 64 << 10
	a := mustServe(t, func(c *httpapi.Config) { c.MaxValueBytes, c.MaxInflightBytes = size, size })
	value := strings.Repeat("v", size)
	for _, body := range []string{
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", size, value),
		fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", size, value),
	} {
		c := a.dial()
		c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\n%s", body)
		if resp, text := c.answer("PUT"); resp.StatusCode >= 300 {
			t.Errorf("got %d %s", resp.StatusCode, text)
		}
	}
	a.expectReleased()
}

func TestBody_Slow(t *testing.T) {
	for name, rest := range map[string]string{
		"length":  "Content-Length: 10\r\n\r\nfive.",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n5\r\nfive.\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			a := mustServe(t, func(c *httpapi.Config) { c.StallTimeout = 50 * time.Millisecond })
			c := a.dial()
			c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\n%s", rest)
			resp, body := c.answer("PUT")
			if p := checkProblem(t, resp, body, http.StatusRequestTimeout, "body_timeout"); !strings.Contains(p.Detail, "32 KiB a second") {
				t.Errorf("got detail %q, want the least rate", p.Detail)
			}
			c.expectClosed()
			expectNotCalled(t, a)
			a.expectReleased()
		})
	}
}

// TestBody_DeadlineEndsWithTheBody checks that a body's deadline is removed before the node
// works. net/http continues to read, would take a passed deadline for a client that
// disconnected, and would end the request's context.
func TestBody_DeadlineEndsWithTheBody(t *testing.T) {
	stall := 50 * time.Millisecond
	a := mustAPI(t, func(c *httpapi.Config) { c.StallTimeout = stall })
	var request context.Context
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request = r.Context()
		a.server.Handler().ServeHTTP(w, r)
	}))
	defer outer.Close()
	a.node.hook = func(context.Context, string, string) error {
		select {
		case <-request.Done():
			return request.Err()
		case <-time.After(3 * stall):
			return nil
		}
	}
	a.addr = outer.Listener.Addr().String()
	for _, rest := range []string{"Content-Length: 1\r\n\r\nv", "Transfer-Encoding: chunked\r\n\r\n1\r\nv\r\n0\r\n\r\n"} {
		c := a.dial()
		c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\n%s", rest)
		if resp, body := c.answer("PUT"); resp.StatusCode >= 300 {
			t.Errorf("%q: got %d %s, want success", rest, resp.StatusCode, body)
		}
	}
}

// pipeListener returns one given connection.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// TestBody_Progress sends bodies that take longer than the stall timeout in total, in
// simulated time. Every 64 KiB may take the stall timeout. The whole may take its time at
// the minimum rate, and one stall timeout.
func TestBody_Progress(t *testing.T) {
	for pause, want := range map[time.Duration]int{
		1900 * time.Millisecond: http.StatusCreated,        // 34 KiB a second
		3 * time.Second:         http.StatusRequestTimeout, // 21 KiB a second
		11 * time.Second:        http.StatusRequestTimeout,
	} {
		const pieces = 16
		synctest.Test(t, func(t *testing.T) {
			a := mustAPI(t, func(c *httpapi.Config) { c.StallTimeout = 10 * time.Second })
			client, server := net.Pipe()
			l := &pipeListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
			l.conns <- server
			served := make(chan error, 1)
			go func() { served <- a.server.Serve(l) }()
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				_, err := fmt.Fprintf(client, "PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", pieces*(64<<10))
				for n := 0; n < pieces && err == nil; n++ { // an error is the server's refusal
					time.Sleep(pause)
					_, err = client.Write(make([]byte, 64<<10))
				}
			}()
			resp, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != want {
				t.Errorf("a piece every %v: got %d, want %d", pause, resp.StatusCode, want)
			}
			client.Close()
			<-sent
			if err := a.server.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			if err := <-served; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	}
}

// TestBody_UnreadAndSlow sends too little of bodies that no handler reads: net/http reads
// them before it answers.
func TestBody_UnreadAndSlow(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.StallTimeout = 50 * time.Millisecond })
	for request, want := range map[string]int{
		"POST /unknown": http.StatusNotFound,
		"PATCH /kv/k":   http.StatusMethodNotAllowed,
		"GET /kv/k":     http.StatusBadRequest,
	} {
		c := a.dial()
		c.send("%s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfive.", request)
		if resp, _ := c.answer("POST"); resp.StatusCode != want {
			t.Errorf("%s: got %d, want %d", request, resp.StatusCode, want)
		}
		c.expectClosed()
	}
}

func TestBody_ExpectContinue(t *testing.T) {
	a := mustServe(t, nil)
	c := a.dial()
	c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if resp, _ := c.answer("PUT"); resp.StatusCode != http.StatusContinue {
		t.Fatalf("got %d, want 100", resp.StatusCode)
	}
	c.send("value")
	if resp, _ := c.answer("PUT"); resp.StatusCode != http.StatusCreated {
		t.Fatalf("got %d, want 201", resp.StatusCode)
	}
	if got, _ := a.node.value("k"); got != "value" {
		t.Errorf("got %q, want value", got)
	}
}

func TestBody_RefusedWhereThereIsNone(t *testing.T) {
	a := mustServe(t, nil)
	for _, method := range []string{"GET", "HEAD", "DELETE"} {
		for _, rest := range []string{"Content-Length: 1\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"} {
			c := a.dial()
			c.send("%s /kv/k HTTP/1.1\r\nHost: x\r\n%s", method, rest)
			if resp, _ := c.answer(method); resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s %q: got %d, want 400", method, rest, resp.StatusCode)
			}
		}
	}
	expectNotCalled(t, a)
}

// TestBody_Budget fills the budget with a body that lacks its last byte.
func TestBody_Budget(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) {
		c.MaxValueBytes = 64 << 10
		c.MaxInflightBytes = 64<<10 + 5
	})
	first := a.dial()
	first.send("PUT /kv/first HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 64<<10, strings.Repeat("v", 64<<10-1))
	poll(t, "the first body's reservation", func() bool {
		return a.gauge("kvorum_http_inflight_bytes") == 64<<10
	})
	second := a.dial()
	for _, rest := range []string{"Content-Length: 6\r\n\r\nsix by", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"} {
		second.send("PUT /kv/second HTTP/1.1\r\nHost: x\r\n%s", rest)
		resp, body := second.answer("PUT")
		p := checkProblem(t, resp, body, http.StatusTooManyRequests, "overloaded")
		if !p.Retryable || p.Outcome != "not_done" {
			t.Errorf("got %+v, want retryable and not done", p)
		}
	}
	second.send("PUT /kv/third HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nsmall")
	if resp, _ := second.answer("PUT"); resp.StatusCode != http.StatusCreated {
		t.Errorf("what there is room for: got %d, want 201", resp.StatusCode)
	}
	first.send("v")
	if resp, _ := first.answer("PUT"); resp.StatusCode != http.StatusCreated {
		t.Errorf("first: got %d, want 201", resp.StatusCode)
	}
	if got, want := a.node.called(), []string{"put third", "put first"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	a.expectReleased()
}

// TestBody_BudgetIsHeldUntilTheAnswer checks that a client that disconnects does not free
// memory that the node still uses, and does not make its write's outcome unknown.
func TestBody_BudgetIsHeldUntilTheAnswer(t *testing.T) {
	a := mustServe(t, nil)
	putEntered, getEntered, leave := make(chan struct{}), make(chan struct{}), make(chan struct{})
	aborted := make(chan error, 1)
	a.node.hook = func(ctx context.Context, op, _ string) error {
		if op == "get" {
			close(getEntered)
			<-ctx.Done() // a read is cancelled
			return ctx.Err()
		}
		close(putEntered)
		<-leave
		aborted <- ctx.Err()
		return nil
	}
	c := a.dial()
	c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nvalue")
	await(t, "the put", putEntered)
	c.Close()

	c = a.dial()
	c.send("GET /kv/k HTTP/1.1\r\nHost: x\r\n\r\n")
	await(t, "the get", getEntered)
	c.Close()
	poll(t, "the get given up", func() bool { return a.gauge("kvorum_http_inflight_requests") == 1 })
	if got := a.gauge("kvorum_http_inflight_bytes"); got != 5 {
		t.Errorf("bytes in flight: got %v, want 5", got)
	}
	close(leave)
	if err := await(t, "the put's end", aborted); err != nil {
		t.Errorf("the write's context ended with its client: %v", err)
	}
	a.expectReleased()
}
