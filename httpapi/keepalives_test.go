package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// keepAlive returns a line that keeps a lease alive.
func keepAlive(id kv.LeaseID) string { return fmt.Sprintf(`{"lease":"%016x"}`, uint64(id)) }

// TestKeepAlives checks the answers to lines of all kinds: each has its own, in order.
func TestKeepAlives(t *testing.T) {
	a := mustAPI(t, nil)
	for _, body := range []string{`{"ttl":"30s"}`, `{"ttl":"1m","lease":"` + lastLease + `"}`} {
		a.do("POST", "/leases", body)
	}
	a.node.hook = func(_ context.Context, _, key string) error {
		switch key {
		case "00000000000000aa":
			return kv.ErrNoLeader
		case "00000000000000ab":
			return context.DeadlineExceeded
		}
		return nil
	}
	w := a.do("POST", "/leases/keepalive", strings.Join([]string{
		keepAlive(1), "", keepAlive(-1), keepAlive(7), keepAlive(0xaa), keepAlive(0xab), `{"lease":"1"}`, `{}`, `{"lease":1}`, `x`, `{"lease":"` + firstLease + `","ttl":"1s"}`, keepAlive(1),
	}, "\n"))
	expectHeaders(t, w.Header(), "Content-Type", "application/x-ndjson")
	got := strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
	want := [][]string{
		{`{"lease":"` + firstLease + `","ttl":"30s"}`},
		{`{"lease":"` + lastLease + `","ttl":"1m0s"}`},
		{`{"lease":"0000000000000007","error":{`, `"code":"lease_not_found"`, `"outcome":"not_done"`},
		{`{"lease":"00000000000000aa","error":{`, `"code":"no_leader"`, `"outcome":"not_done"`},
		{`{"lease":"00000000000000ab","error":{`, `"code":"unknown_outcome"`},
		{`{"error":{`, `"code":"invalid"`, `"field":"lease"`},
		{`{"error":{`, `"detail":"lease: is required"`},
		{`{"error":{`, `"field":"lease"`},
		{`{"error":{`, `"field":"body"`},
		{`"error":{`, `"field":"ttl"`},
		{`{"lease":"` + firstLease + `","ttl":"30s"}`},
		{`{"end":true,"count":11}`},
	}
	if len(got) != len(want) {
		t.Fatalf("got %q, want %d lines", got, len(want))
	}
	for i, parts := range want {
		for _, part := range parts {
			if !strings.Contains(got[i], part) {
				t.Errorf("line %d: got %s, want %s", i, got[i], part)
			}
		}
	}
	a.expectReleased()
}

// TestKeepAlives_Streams sends each line after the answer to the one before, and then many more
// than may be in flight.
func TestKeepAlives_Streams(t *testing.T) {
	a := mustServe(t, nil)
	a.do("POST", "/leases", `{"ttl":"30s"}`)
	c := a.dial()
	c.send("POST /leases/keepalive HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	c.chunk(keepAlive(1) + "\n")
	resp, err := http.ReadResponse(c.r, &http.Request{Method: "POST"})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answers := bufio.NewReader(resp.Body)
	const one = `{"lease":"` + firstLease + `","ttl":"30s"}` + "\n"
	for i := range 20 {
		if line, err := answers.ReadString('\n'); err != nil || line != one {
			t.Fatalf("answer %d: got %q, %v", i, line, err)
		}
		c.chunk(keepAlive(1) + "\n")
	}
	go func() { // beside the answers, which fill the connection; they show if a write fails
		part := strings.Repeat(keepAlive(1)+"\n", 100)
		for range 20 {
			_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(part), part)
		}
		_, _ = io.WriteString(c, "0\r\n\r\n")
	}()
	rest, err := io.ReadAll(answers)
	if want := strings.Repeat(one, 2001) + `{"end":true,"count":2021}` + "\n"; err != nil || string(rest) != want {
		t.Fatalf("got %d bytes, %v, want %d", len(rest), err, len(want))
	}
	a.expectReleased()
}

// TestKeepAlives_InFlight checks that a node that answers nothing gets a limited number, and that
// no other request waits for them.
func TestKeepAlives_InFlight(t *testing.T) {
	a := mustServe(t, nil)
	a.do("POST", "/leases", `{"ttl":"30s"}`)
	leave := make(chan struct{})
	a.node.hook = func(_ context.Context, op, _ string) error {
		if op == "keep alive" {
			<-leave
		}
		return nil
	}
	c := a.dial()
	const sent = 2000
	body := strings.Repeat(keepAlive(1)+"\n", sent)
	c.send("POST /leases/keepalive HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	poll(t, "keep-alives in flight", func() bool { return len(a.node.called()) >= 500 })
	if n := len(a.node.called()); n > 513 { // and the grant
		t.Errorf("%d keep-alives are in flight, want at most 512", n-1)
	}
	if w := a.do("PUT", "/kv/k", "v"); w.Code != http.StatusCreated {
		t.Errorf("a put: got %d %s", w.Code, w.Body)
	}
	close(leave)
	if _, answer := c.answer("POST"); !strings.HasSuffix(answer, fmt.Sprintf(`{"end":true,"count":%d}`+"\n", sent)) {
		t.Errorf("the answer ends with %q", answer[max(0, len(answer)-100):])
	}
	a.expectReleased()
}

// TestKeepAlives_AnswersWaitWithoutRoom checks that keep-alives that have ended, and whose answers
// wait behind one that has not, take no room for requests.
func TestKeepAlives_AnswersWaitWithoutRoom(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.MaxInflightRequests = 3 })
	leave := make(chan struct{})
	a.node.hook = func(_ context.Context, op, id string) error {
		if op == "keep alive" && id == firstLease {
			<-leave
		}
		return nil
	}
	c := a.dial()
	body := keepAlive(1) + "\n" + keepAlive(2) + "\n" + keepAlive(2) + "\n"
	c.send("POST /leases/keepalive HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	poll(t, "keep-alives in flight", func() bool { return len(a.node.called()) == 3 })
	poll(t, "room for a put", func() bool { return a.do("PUT", "/kv/k", "v").Code == http.StatusCreated })
	close(leave)
	if _, answer := c.answer("POST"); !strings.HasSuffix(answer, `{"end":true,"count":3}`+"\n") {
		t.Errorf("got %s", answer)
	}
	a.expectReleased()
}

// TestKeepAlives_LongLine checks that a line that is no keep-alive ends the stream before it takes
// much memory.
func TestKeepAlives_LongLine(t *testing.T) {
	a := mustAPI(t, nil)
	a.do("POST", "/leases", `{"ttl":"30s"}`)
	got := a.do("POST", "/leases/keepalive", keepAlive(1)+"\n"+strings.Repeat("x", 2000)).Body.String()
	if want := `{"lease":"` + firstLease + `","ttl":"30s"}` + "\n" + `{"end":false,"count":1,"error":{`; !strings.HasPrefix(got, want) || !strings.Contains(got, `"code":"too_large"`) {
		t.Errorf("got %s", got)
	}
	a.expectReleased()
}
