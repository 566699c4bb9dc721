package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// batch sends a batch and returns the lines of its answer.
func (a *api) batch(lines ...string) []string {
	a.t.Helper()
	w := a.do("POST", "/batch", strings.Join(lines, "\n"))
	if w.Code != http.StatusOK {
		a.t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	expectHeaders(a.t.(*testing.T), w.Header(), "Content-Type", "application/x-ndjson")
	return strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
}

func TestBatch_Results(t *testing.T) {
	a := mustAPI(t, nil)
	got := a.batch(
		`{"put":{"key":"a","value":"x"}}`,
		`{"if":[{"key":"a","version":9}],"then":[{"delete":{"key":"a"}}],"else":[{"get":{"key":"a"}}]}`,
		``, " \t\r",
		`{"append":{"key":"a","value":"yz"}}`,
		`{"add":{"key":"a","delta":1}}`,
		`{"put":{"key":"","value":"x"}}`,
		`{"then":[{"txn":{"then":[{"put":{"key":"b","value":7}}]}}]}`,
		`{"put":{"key":"b","value":"x"},"get":{"key":"b"}}`,
		`not JSON`,
		`{"range":{"prefix":""}}`+"\r",
	)
	want := []string{
		`{"revision":1,"result":{"existed":false,"mod_revision":1}}`,
		`{"succeeded":false,"revision":1,"results":[{"item":{"key":"a","value":"x","create_revision":1,"mod_revision":1,"version":1}}]}`,
		`{"revision":2,"result":{"existed":true,"mod_revision":2,"length":3}}`,
		"not_a_number", "invalid put.key", "invalid then[0].txn.then[0].put.value", "invalid get", "invalid body",
		`{"revision":2,"result":{"items":[{"key":"a","value":"xyz","create_revision":1,"mod_revision":2,"version":2}],"count":1,"more":false}}`,
		`{"end":true,"count":9}`,
	}
	if len(got) != len(want) {
		t.Fatalf("got %d lines, want %d: %q", len(got), len(want), got)
	}
	for i := range want {
		if strings.HasPrefix(want[i], "{") {
			if got[i] != want[i] {
				t.Errorf("line %d:\ngot  %s\nwant %s", i, got[i], want[i])
			}
			continue
		}
		var line struct {
			Error struct{ Code, Field, Outcome string }
		}
		if err := json.Unmarshal([]byte(got[i]), &line); err != nil || strings.TrimSpace(line.Error.Code+" "+line.Error.Field) != want[i] || line.Error.Outcome != "not_done" {
			t.Errorf("line %d: got %s, want the error %s", i, got[i], want[i])
		}
	}
	if got := a.batch(""); !slices.Equal(got, []string{`{"end":true,"count":0}`}) {
		t.Errorf("an empty batch: got %q", got)
	}
	a.expectReleased()
}

// TestBatch_OverlapsInOrder holds the first of two requests for one key. The second one must
// wait, others must not.
func TestBatch_OverlapsInOrder(t *testing.T) {
	a := mustServe(t, nil)
	held, leave := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	var order []string
	a.node.hook = func(_ context.Context, op, key string) error {
		if op == "put" && key == "k" {
			close(held)
			<-leave
		}
		mu.Lock()
		defer mu.Unlock()
		order = append(order, op+" "+key)
		return nil
	}
	c := a.dial()
	body := strings.Join([]string{
		`{"put":{"key":"k","value":"1"}}`, `{"delete":{"prefix":"k"}}`, `{"append":{"key":"k","value":"2"}}`, `{"put":{"key":"x","value":"3"}}`,
	}, "\n")
	c.send("POST /batch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	await(t, "the first put", held)
	poll(t, "the put of another key", func() bool { mu.Lock(); defer mu.Unlock(); return len(order) == 1 })
	close(leave)
	_, answer := c.answer("POST")
	if want := []string{"put x", "put k", "delete k", "append k"}; !slices.Equal(order, want) {
		t.Errorf("got %q, want %q", order, want)
	}
	if got, _ := a.node.value("k"); got != "2" {
		t.Errorf("k is %q", got)
	}
	lines := strings.Split(answer, "\n")
	if len(lines) != 6 || !strings.Contains(lines[1], `"deleted":1`) || lines[4] != `{"end":true,"count":4}` {
		t.Errorf("got %q", lines)
	}
	a.expectReleased()
}

// chunk sends a chunk of a chunked body.
func (c *conn) chunk(text string) {
	c.t.Helper()
	c.send("%x\r\n%s\r\n", len(text), text)
}

// beginBatch begins a batch whose body is chunked.
func (a *api) beginBatch() *conn {
	a.t.Helper()
	c := a.dial()
	c.send("POST /batch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	return c
}

// TestBatch_StreamsBothWays sends each request after the answer to the one before.
func TestBatch_StreamsBothWays(t *testing.T) {
	a := mustServe(t, nil)
	c := a.beginBatch()
	c.chunk(`{"add":{"key":"n","delta":1}}` + "\n" + `{"add":{"key":"n",`)
	resp, err := http.ReadResponse(c.r, &http.Request{Method: "POST"})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answers := bufio.NewReader(resp.Body)
	for i := 1; i <= 100; i++ {
		line, err := answers.ReadString('\n')
		if want := fmt.Sprintf(`"number":%d}`, i); err != nil || !strings.Contains(line, want) {
			t.Fatalf("answer %d: %q, %v", i, line, err)
		}
		c.chunk(`"delta":1}}` + "\n" + `{"add":{"key":"n",`)
	}
	c.chunk(`"delta":1}}`) // without the end of a line
	c.send("0\r\n\r\n")
	rest, err := io.ReadAll(answers)
	if lines := strings.Split(string(rest), "\n"); err != nil || len(lines) != 4 || lines[2] != `{"end":true,"count":102}` {
		t.Fatalf("got %q, %v", rest, err)
	}
	// The connection is kept.
	c.send("GET /kv/n HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, body := c.answer("GET"); body != "102" {
		t.Errorf("n is %q, want 102", body)
	}
	a.expectReleased()
}

// TestBatch_IsNoRequestInFlight shows that an idle batch takes no room of short requests, and
// that the number of batches has the limit of streams.
func TestBatch_IsNoRequestInFlight(t *testing.T) {
	a := mustServe(t, func(cfg *httpapi.Config) { cfg.MaxStreams, cfg.MaxInflightRequests = 1, 1 })
	c := a.beginBatch()
	c.chunk(`{"put":{"key":"a","value":"1"}}` + "\n")
	resp, err := http.ReadResponse(c.r, &http.Request{Method: "POST"})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	poll(t, "a put beside the batch", func() bool { return a.do("PUT", "/kv/b", "x").Code < 300 })
	expectProblem(t, a.do("POST", "/batch", "{}"), http.StatusTooManyRequests, "overloaded")
}

// TestBatch_InFlight limits the requests of a batch that are in flight: a node that answers
// nothing gets a limited number, whatever the client sends.
func TestBatch_InFlight(t *testing.T) {
	a := mustServe(t, nil)
	leave := make(chan struct{})
	a.node.hook = func(context.Context, string, string) error { <-leave; return nil }
	c := a.beginBatch()
	const sent = 1000
	for i := range sent {
		c.chunk(fmt.Sprintf(`{"put":{"key":"k%d","value":"v"}}`+"\n", i))
	}
	c.send("0\r\n\r\n")
	poll(t, "requests in flight", func() bool { return len(a.node.called()) >= 60 })
	if n := len(a.node.called()); n > 64 {
		t.Errorf("%d requests are in flight, want at most 64", n)
	}
	close(leave)
	if _, answer := c.answer("POST"); !strings.HasSuffix(answer, fmt.Sprintf(`{"end":true,"count":%d}`+"\n", sent)) {
		t.Errorf("the answer ends with %.100q", answer[max(0, len(answer)-100):])
	}
	if a.node.revision != sent {
		t.Errorf("got revision %d, want %d", a.node.revision, sent)
	}
	a.expectReleased()
}

// TestBatch_EndsEarly breaks a batch in several ways. What was sent whole must be answered,
// and the end must say why there is no more.
func TestBatch_EndsEarly(t *testing.T) {
	const whole = `{"put":{"key":"a","value":"x"}}` + "\n"
	for name, test := range map[string]struct {
		change func(*httpapi.Config)
		send   func(a *api, c *conn)
		code   string
	}{
		"a line that is too long":     {nil, func(_ *api, c *conn) { c.chunk(whole + strings.Repeat(" x", 2<<20)) }, "too_large"},
		"a line that stalls":          {func(c *httpapi.Config) { c.StallTimeout = 50 * time.Millisecond }, func(_ *api, c *conn) { c.chunk(whole + `{"put":`) }, "body_timeout"},
		"a batch that takes too long": {func(c *httpapi.Config) { c.BatchTimeout = time.Nanosecond }, func(_ *api, c *conn) { c.chunk(whole) }, "batch_timeout"},
		"a server that stops": {nil, func(a *api, c *conn) {
			c.chunk(whole + `{"put":`)
			poll(a.t, "the first request", func() bool { return len(a.node.called()) == 1 })
			go func() { _ = a.server.Shutdown(context.Background()) }()
		}, "shutting_down"},
		"a body that breaks off": {nil, func(_ *api, c *conn) {
			c.chunk(whole + `{"put":{"key":"b","value":"x"}}`)
			if err := c.CloseWrite(); err != nil {
				c.t.Fatal(err)
			}
		}, "bad_body"},
		"a bad chunk": {nil, func(_ *api, c *conn) { c.chunk(whole); c.send("zz\r\n") }, "bad_body"},
	} {
		t.Run(name, func(t *testing.T) {
			a := mustServe(t, test.change)
			c := a.beginBatch()
			test.send(a, c)
			resp, err := http.ReadResponse(c.r, &http.Request{Method: "POST"})
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
			count := 1
			if test.code == "batch_timeout" {
				count = 0
			}
			lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
			last := lines[len(lines)-1]
			if len(lines) != count+1 || !strings.HasPrefix(last, fmt.Sprintf(`{"end":false,"count":%d,"error":{`, count)) || !strings.Contains(last, `"code":"`+test.code+`"`) {
				t.Errorf("got %q, want an end with %s", lines, test.code)
			}
			if got := len(a.node.called()); got != count {
				t.Errorf("%d requests were carried out, want %d", got, count)
			}
			a.expectReleased()
		})
	}
}

// TestBatch_ClientHangsUp ends a batch whose client is gone. Requests in flight run to their
// end.
func TestBatch_ClientHangsUp(t *testing.T) {
	a := mustServe(t, nil)
	entered, leave := a.holdCall()
	c := a.beginBatch()
	c.chunk(`{"put":{"key":"a","value":"x"}}` + "\n")
	await(t, "the request", entered)
	c.Close()
	close(leave)
	a.expectReleased()
	poll(t, "the write", func() bool { _, ok := a.node.value("a"); return ok })
}

// TestBatch_StalledReader ends a batch whose client sends and does not read.
func TestBatch_StalledReader(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.StallTimeout = 100 * time.Millisecond })
	a.node.put(item("big", strings.Repeat("v", 1<<20), 0))
	c := a.beginBatch()
	for range 1000 { // until the server does not take more
		if _, err := fmt.Fprintf(c, "%x\r\n%s\r\n", 22, `{"get":{"key":"big"}}`+"\n"); err != nil {
			break
		}
	}
	a.expectReleased()
}

func TestBatch_Panic(t *testing.T) {
	a := mustAPI(t, nil)
	a.node.hook = func(_ context.Context, _, key string) error {
		if key == "a" {
			panic("the node is broken")
		}
		return nil
	}
	got := a.batch(`{"put":{"key":"a","value":"x"}}`, `{"put":{"key":"b","value":"x"}}`)
	if len(got) != 3 || !strings.Contains(got[0], `"code":"internal"`) || !strings.Contains(got[0], `"outcome":"unknown"`) || !strings.Contains(got[1], `"mod_revision":1`) {
		t.Errorf("got %q", got)
	}
}

// TestBatch_Outcomes checks that each line has its own outcome.
func TestBatch_Outcomes(t *testing.T) {
	a := mustAPI(t, nil)
	a.node.hook = func(_ context.Context, _, key string) error {
		switch key {
		case "unknown":
			return kv.ErrUnknownOutcome
		case "late":
			return context.DeadlineExceeded
		case "leaderless":
			return kv.ErrNoLeader
		}
		return nil
	}
	got := a.batch(`{"put":{"key":"unknown","value":""}}`, `{"put":{"key":"late","value":""}}`, `{"get":{"key":"late"}}`, `{"put":{"key":"leaderless","value":""}}`)
	for i, want := range []string{`"unknown"}`, `"unknown"}`, `"not_done"}`, `"not_done"}`} {
		if !strings.Contains(got[i], `"outcome":`+want) {
			t.Errorf("line %d: got %s, want the outcome %s", i, got[i], want)
		}
	}
}

func TestBatch_Refuses(t *testing.T) {
	for header, status := range map[string]int{"If-Match": 400, "If-None-Match": 400, "Idempotency-Key": 400, "Content-Encoding": 415, "Origin": 403} {
		a := mustAPI(t, nil)
		if w := a.do("POST", "/batch", `{"get":{"key":"a"}}`, header, "https://x.example"); w.Code != status {
			t.Errorf("%s: got %d %s, want %d", header, w.Code, w.Body, status)
		}
	}
	expectProblem(t, mustAPI(t, nil).do("POST", "/batch?parallel=5", "x"), 400, "invalid")
}
