package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/internal/testkit"
)

// refusals are requests that are refused before their body is read, with the headers that
// are the reason.
var refusals = map[string]struct {
	line, headers string
	status        int
}{
	"condition":        {"PUT /kv/k", "If-Match: 7\r\n", http.StatusBadRequest},
	"query":            {"PUT /kv/k?ttl=5", "", http.StatusBadRequest},
	"no key":           {"PUT /kv/", "", http.StatusBadRequest},
	"key too long":     {"PUT /kv/" + strings.Repeat("k", 2000), "", http.StatusRequestEntityTooLarge},
	"range":            {"PUT /kv/k", "Content-Range: bytes 0-1/2\r\n", http.StatusBadRequest},
	"encoding":         {"PUT /kv/k", "Content-Encoding: gzip\r\n", http.StatusUnsupportedMediaType},
	"path":             {"PUT /nothing", "", http.StatusNotFound},
	"method":           {"PATCH /kv/k", "", http.StatusMethodNotAllowed},
	"method elsewhere": {"POST /status", "", http.StatusMethodNotAllowed},
	"body of a GET":    {"GET /kv/k", "", http.StatusBadRequest},
	"body of a DELETE": {"DELETE /kv/k", "", http.StatusBadRequest},
	"other origin":     {"PUT /kv/k", "Sec-Fetch-Site: cross-site\r\n", http.StatusForbidden},
	"idempotency key":  {"PUT /kv/k", "Idempotency-Key: \r\n", http.StatusBadRequest},
	"admin body":       {"POST /admin/leave", "", http.StatusRequestEntityTooLarge},
}

// smallBuffers has connections with small receive buffers, like the window of a real link.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		_ = c.(*net.TCPConn).SetReadBuffer(128 << 10)
	}
	return c, err
}

// mustServeSmall is mustServe with small receive buffers.
func mustServeSmall(t testing.TB, change func(*httpapi.Config)) *api {
	t.Helper()
	a := mustAPI(t, change)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.serve(smallBuffers{l})
	return a
}

// exchange sends a whole request and only then reads the answer, as Python's
// http.client does. Its error is the first of a write.
func (c *conn) exchange(head string, chunked bool, size int) (*http.Response, string, error) {
	c.t.Helper()
	_ = c.SetWriteBuffer(16 << 10)
	piece := strings.Repeat("v", 32<<10)
	if _, err := io.WriteString(c, head); err != nil {
		return nil, "", fmt.Errorf("send the head: %w", err)
	}
	for sent := 0; sent < size; {
		part := piece[:min(len(piece), size-sent)]
		text := part
		if chunked {
			text = fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
		}
		if _, err := io.WriteString(c, text); err != nil {
			return nil, "", fmt.Errorf("send the body: %d of %d bytes are through: %w", sent, size, err)
		}
		sent += len(part)
	}
	if chunked {
		if _, err := io.WriteString(c, "0\r\n\r\n"); err != nil {
			return nil, "", fmt.Errorf("send the last chunk: %w", err)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, "", fmt.Errorf("read the answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// TestTrial_B6_EarlyRefusalIsRead sends all of a request before it reads: each client must
// see why it was refused.
func TestTrial_B6_EarlyRefusalIsRead(t *testing.T) {
	const limit = 1 << 20
	a := mustServeSmall(t, nil)
	count := 0
	refused := func(name, head string, chunked bool, size, status int) {
		t.Helper()
		resp, body, err := a.dial().exchange(head, chunked, size)
		if err != nil {
			t.Errorf("%s, chunked %v: %v", name, chunked, err)
			return
		}
		if resp.StatusCode != status || !strings.Contains(body, `"outcome":"not_done"`) {
			t.Errorf("%s, chunked %v: got %d %s, want %d, not done", name, chunked, resp.StatusCode, body, status)
		}
		count++
	}
	for _, chunked := range []bool{false, true} {
		length := func(size int) string {
			if chunked {
				return "Transfer-Encoding: chunked\r\n\r\n"
			}
			return fmt.Sprintf("Content-Length: %d\r\n\r\n", size)
		}
		refused("too large", "PUT /kv/k HTTP/1.1\r\nHost: x\r\n"+length(limit+1), chunked, limit+1, http.StatusRequestEntityTooLarge)
		refused("much too large", "PUT /kv/k HTTP/1.1\r\nHost: x\r\n"+length(7*limit), chunked, 7*limit, http.StatusRequestEntityTooLarge)
		for name, r := range refusals {
			head := fmt.Sprintf("%s HTTP/1.1\r\nHost: x\r\n%s%s", r.line, r.headers, length(900_000))
			refused(name, head, chunked, 900_000, r.status)
			refused(name+", small", fmt.Sprintf("%s HTTP/1.1\r\nHost: x\r\n%s%s", r.line, r.headers, length(100_000)), chunked, 100_000, r.status)
		}
	}
	refused("HTTP/1.0", fmt.Sprintf("PUT /kv/k HTTP/1.0\r\nContent-Length: %d\r\n\r\n", limit+1), false, limit+1, http.StatusRequestEntityTooLarge)
	refused("HTTP/1.0 without a length", "PUT /kv/k HTTP/1.0\r\n\r\n", false, limit, http.StatusLengthRequired)
	refused("no consent", fmt.Sprintf("PUT /kv/k HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", limit+1),
		false, limit+1, http.StatusRequestEntityTooLarge)
	expectNotCalled(t, a)
	a.expectReleased()
	testkit.Outcome(t, "B6", "%d kinds of early refusals, up to 7 MiB sent before the client reads: each client reads its answer", count)
}

// TestRest_Overloaded refuses a body while no more requests may be in flight.
func TestRest_Overloaded(t *testing.T) {
	a := mustServeSmall(t, func(c *httpapi.Config) { c.MaxInflightRequests = 1 })
	entered, leave := a.holdCall()
	defer close(leave)
	busy := a.dial()
	busy.send("GET /kv/k HTTP/1.1\r\nHost: x\r\n\r\n")
	await(t, "the request in flight", entered)
	resp, body, err := a.dial().exchange("PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n", false, 900_000)
	if err != nil {
		t.Fatal(err)
	}
	checkProblem(t, resp, body, http.StatusTooManyRequests, "overloaded")
}

// TestRest_SmallKeepsTheConnection checks that after a small refused body the connection is
// kept, and that the body is not taken for the next request.
func TestRest_SmallKeepsTheConnection(t *testing.T) {
	a := mustServe(t, nil)
	inner := "DELETE /kv/victim HTTP/1.1\r\nHost: x\r\n\r\n"
	a.node.items["victim"] = item("victim", "v", 1)
	c := a.dial()
	for name, r := range refusals {
		c.send("%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", r.line, r.headers, len(inner), inner)
		if r.status == http.StatusRequestEntityTooLarge && name == "admin body" {
			r.status = http.StatusBadRequest // it is small, and not JSON
		}
		if resp, _ := c.answer(strings.Fields(r.line)[0]); resp.StatusCode != r.status || resp.Close {
			t.Errorf("%s: got %d, close %v, want %d and an open connection", name, resp.StatusCode, resp.Close, r.status)
		}
	}
	c.send("GET /kv/victim HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, _ := c.answer("GET"); resp.StatusCode != http.StatusOK {
		t.Errorf("got %d, want 200: the inner request was run", resp.StatusCode)
	}
}

// TestRest_SilentAfterRefusal has clients wait for 100 Continue before bodies that are
// refused, more of them than may linger. No connection is held.
func TestRest_SilentAfterRefusal(t *testing.T) {
	for _, length := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
		a := mustServe(t, func(c *httpapi.Config) { c.MaxConns = 8 })
		for range 8 {
			c := a.dial()
			c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\nIf-Match: 7\r\nExpect: 100-continue\r\n%s\r\n\r\n", length)
			if resp, _ := c.answer("PUT"); resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: got %d, want 400", length, resp.StatusCode)
			}
		}
		poll(t, length+": all connections ended", func() bool { return a.gauge("kvorum_http_connections") == 0 })
	}
}

// TestRest_Bounded sends without end after a refusal: the server stops reading.
func TestRest_Bounded(t *testing.T) {
	a := mustServe(t, smallValues)
	c := a.dial()
	c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 1<<40)
	var sent atomic.Int64
	ended := make(chan error, 1)
	go func() {
		piece := make([]byte, 64<<10)
		for {
			n, err := c.Write(piece)
			sent.Add(int64(n))
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	if resp, _ := c.answer("PUT"); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d, want 413", resp.StatusCode)
	}
	await(t, "the connection's end", ended)
	if got := sent.Load(); got > 64<<20 { // 8 MiB are read, and the kernel holds some
		t.Errorf("%d bytes were taken", got)
	}
}

// TestRest_ManyDontHoldSlots sends bodies without end from more clients than may linger.
// Others get answers meanwhile, and refused ones don't wait.
func TestRest_ManyDontHoldSlots(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { smallValues(c); c.MaxConns, c.MaxInflightRequests = 40, 4 })
	var conns []*conn
	for range 39 { // 30 of them linger
		c := a.dial()
		c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nv", 1<<40)
		conns = append(conns, c)
	}
	for _, c := range conns {
		if resp, _ := c.answer("PUT"); resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("got %d, want 413", resp.StatusCode)
		}
	}
	if got := a.gauge("kvorum_http_inflight_requests"); got != 0 {
		t.Errorf("%v requests in flight, want 0", got)
	}
	c := a.dial()
	c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv")
	if resp, _ := c.answer("PUT"); resp.StatusCode != http.StatusCreated {
		t.Errorf("got %d, want 201", resp.StatusCode)
	}
	for _, c := range conns {
		c.expectClosed()
	}
}

// TestRest_ManyReadTheirAnswers refuses as many clients at once as may linger. Each has
// sent a part of its body then, sends the rest, and reads its answer.
func TestRest_ManyReadTheirAnswers(t *testing.T) {
	const clients, part = 12, 300_000
	a := mustServeSmall(t, func(c *httpapi.Config) { smallValues(c); c.MaxConns = clients * 4 / 3 })
	var conns []*conn
	for range clients {
		c := a.dial()
		_ = c.SetWriteBuffer(16 << 10)
		c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 2*part, strings.Repeat("v", part))
		conns = append(conns, c)
	}
	for i, c := range conns {
		c.send("%s", strings.Repeat("v", part))
		if resp, body := c.answer("PUT"); resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("client %d: got %d %s, want 413", i, resp.StatusCode, body)
		}
	}
}

// TestRest_EndsWithTheServer stops a server after it has refused clients that continue to
// send, or are silent, in simulated time. The stop takes no longer than a client may pause.
func TestRest_EndsWithTheServer(t *testing.T) {
	for _, pause := range []time.Duration{100 * time.Millisecond, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			a := mustAPI(t, smallValues)
			client, server := net.Pipe()
			l := &pipeListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
			l.conns <- server
			served := make(chan error, 1)
			go func() { served <- a.server.Serve(l) }()
			if _, err := fmt.Fprintf(client, "PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 1<<40); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
				t.Fatalf("got %v, %v, want 413", resp, err)
			}
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for err := error(nil); err == nil; _, err = client.Write([]byte("v")) {
					time.Sleep(pause)
				}
			}()
			began := time.Now()
			if err := a.server.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("a client that pauses for %v: the server stopped after %v", pause, took)
			}
			client.Close()
			<-sent
			if err := <-served; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	}
}

// TestTrial_F2_EmptyChunkedBodyIsNone sends requests as some proxies do.
func TestTrial_F2_EmptyChunkedBodyIsNone(t *testing.T) {
	a := mustServe(t, nil)
	a.node.items["k"] = item("k", "v", 1)
	c := a.dial()
	for _, request := range []string{"GET /kv/k", "HEAD /kv/k", "GET /kv/", "GET /", "GET /livez", "GET /readyz", "HEAD /readyz", "GET /status", "DELETE /kv/k"} {
		want := http.StatusOK
		if request == "DELETE /kv/k" {
			want = http.StatusNoContent
		}
		c.send("%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", request)
		if resp, body := c.answer(strings.Fields(request)[0]); resp.StatusCode != want {
			t.Errorf("%s: got %d %s, want %d", request, resp.StatusCode, body, want)
		}
	}
	for _, request := range []string{"GET /kv/k", "HEAD /kv/k", "DELETE /kv/k", "GET /readyz"} {
		c.send("%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", request)
		if resp, _ := c.answer(strings.Fields(request)[0]); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s with a byte: got %d, want 400", request, resp.StatusCode)
		}
	}
	testkit.Outcome(t, "F2", "GET, HEAD, DELETE, /readyz and others with an empty chunked body are answered as without one, on one connection; with one byte 400")
}

// TestBody_NoneIsNotWaitedForWithoutEnd ends a GET whose chunked body never comes.
func TestBody_NoneIsNotWaitedForWithoutEnd(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.StallTimeout = 50 * time.Millisecond })
	for rest, want := range map[string]int{"": http.StatusRequestTimeout, "x\r\n": http.StatusBadRequest} {
		c := a.dial()
		c.send("GET /readyz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s", rest)
		if resp, _ := c.answer("GET"); resp.StatusCode != want {
			t.Errorf("%q: got %d, want %d", rest, resp.StatusCode, want)
		}
		c.expectClosed()
	}
}

// TestTrial_F6_LengthRequired sends puts without the length of their value.
func TestTrial_F6_LengthRequired(t *testing.T) {
	a := mustServe(t, nil)
	for name, request := range map[string]string{
		"curl -X PUT":                 "PUT /kv/k HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
		"HTTP/1.0":                    "PUT /kv/k HTTP/1.0\r\n\r\nvalue",
		"HTTP/1.0 that stays open":    "PUT /kv/k HTTP/1.0\r\nConnection: keep-alive\r\n\r\nDELETE /kv/victim HTTP/1.0\r\n\r\n",
		"HTTP/1.0 chunked":            "PUT /kv/k HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nvalue\r\n0\r\n\r\n",
		"HTTP/1.1 with a stray value": "PUT /kv/k HTTP/1.1\r\nHost: x\r\n\r\nDELETE /kv/victim HTTP/1.1\r\nHost: x\r\n\r\n",
		"admin over HTTP/1.0":         "POST /admin/leave HTTP/1.0\r\n\r\n{\"id\":\"n3\"}",
	} {
		c := a.dial()
		c.send("%s", request)
		resp, body := c.answer("PUT")
		p := checkProblem(t, resp, body, http.StatusLengthRequired, "length_required")
		if !strings.Contains(p.Detail, "Content-Length") || !resp.Close {
			t.Errorf("%s: got %q, close %v, want it to name Content-Length, and to close", name, p.Detail, resp.Close)
		}
		_ = c.CloseWrite()
		c.expectClosed()
	}
	expectNotCalled(t, a)
	for _, rest := range []string{"1.1\r\nHost: x\r\nContent-Length: 0", "1.1\r\nHost: x\r\nTransfer-Encoding: chunked", "1.0\r\nContent-Length: 0"} {
		delete(a.node.items, "k")
		c := a.dial()
		c.send("PUT /kv/k HTTP/%s\r\n\r\n", rest)
		if strings.Contains(rest, "chunked") {
			c.send("0\r\n\r\n")
		}
		if resp, body := c.answer("PUT"); resp.StatusCode != http.StatusCreated {
			t.Errorf("%q: got %d %s, want 201", rest, resp.StatusCode, body)
		}
	}
	// By HTTP/1.1 this request has no body, and it changes no value.
	c := a.dial()
	c.send("POST /admin/transfer HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, body := c.answer("POST"); resp.StatusCode != http.StatusNoContent {
		t.Errorf("transfer without a body: got %d %s, want 204", resp.StatusCode, body)
	}
	testkit.Outcome(t, "F6", "a PUT without Content-Length that is not chunked gets 411 and is told what to send, over HTTP/1.0 and 1.1; Content-Length: 0 and an empty chunked body store an empty value")
}

// TestBody_TricklingPutsDontBlock opens as many puts as the budget has room for whole
// values. Each sends one byte and waits. Another client is served.
func TestBody_TricklingPutsDontBlock(t *testing.T) {
	const attackers = 256
	a := mustServe(t, nil) // 256 MiB, values of 1 MiB
	for range attackers {
		c := a.dial()
		c.send("PUT /kv/slow HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nv", 1<<20)
	}
	poll(t, "the attack", func() bool { return a.gauge("kvorum_http_inflight_requests") == attackers })
	value := strings.Repeat("v", 1<<20)
	c := a.dial()
	for i := range 3 {
		c.send("PUT /kv/%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", i, len(value), value)
		if resp, body := c.answer("PUT"); resp.StatusCode != http.StatusCreated {
			t.Errorf("got %d %s, want 201", resp.StatusCode, body)
		}
	}
	if got := a.gauge("kvorum_http_inflight_bytes"); got > attackers*16<<10 {
		t.Errorf("%v bytes are reserved for %d bytes that came", got, attackers)
	}
}

// TestBody_SlowOnesMakeRoom fills the budget with bodies without their last byte, and all
// requests in flight with others: the slow ones are cut off.
func TestBody_SlowOnesMakeRoom(t *testing.T) {
	for name, change := range map[string]func(*httpapi.Config){
		"bytes":    func(c *httpapi.Config) { c.MaxInflightBytes = 4 << 20 },
		"requests": func(c *httpapi.Config) { c.MaxInflightRequests = 4 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := mustServe(t, change)
			var slow []*conn
			for i := range 4 { // one after the other, so the first is the oldest
				c := a.dial()
				c.send("PUT /kv/slow HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 1<<20, strings.Repeat("v", 1<<20-1))
				slow = append(slow, c)
				poll(t, "its room", func() bool { return a.gauge("kvorum_http_inflight_bytes") == float64(i+1)*(1<<20) })
			}
			refused := 0
			poll(t, "room", func() bool {
				c := a.dial()
				c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nvalue")
				resp, body := c.answer("PUT")
				if resp.StatusCode == http.StatusCreated {
					return true
				}
				checkProblem(t, resp, body, http.StatusTooManyRequests, "overloaded")
				refused++
				return false
			})
			// The oldest one was cut off; its answer says why.
			resp, body := slow[0].answer("PUT")
			checkProblem(t, resp, body, http.StatusTooManyRequests, "overloaded")
			if got := a.node.called(); len(got) != 1 {
				t.Errorf("got %q, want one put", got)
			}
			t.Logf("%d requests were refused before the first body was slow", refused)
			for _, c := range slow[1:] {
				c.send("v")
				if resp, body := c.answer("PUT"); resp.StatusCode >= 300 {
					t.Errorf("a body that was not in the way: got %d %s", resp.StatusCode, body)
				}
			}
			a.expectReleased()
		})
	}
}
