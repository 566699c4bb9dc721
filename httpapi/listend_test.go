package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
)

// TestTrial_F3_LastLine lists over HTTP/1.0, and looks neither at trailers nor at the end
// of the connection. Pages can be followed and broken lists are noticed all the same.
func TestTrial_F3_LastLine(t *testing.T) {
	a := mustServe(t, nil)
	keys := []string{"a", "b c", "é", "\xff\xfe"}
	for _, key := range keys {
		a.node.items[key] = item(key, strings.Repeat("v", 100_000), 1)
	}
	// lines returns the lines as bytes.
	lines := func(query string) string {
		c := a.dial()
		c.send("GET /kv/?%s HTTP/1.0\r\nAccept: application/x-ndjson\r\n\r\n", query)
		all, err := io.ReadAll(c.r)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(string(all), "\r\n\r\n")
		return body
	}
	var got []string
	for next, pages := "", 0; ; pages++ {
		items, last := parseList(t, lines("limit=1&start="+url.QueryEscape(next)))
		got = append(got, keysOf(items)...)
		if next = last.next(); next == "" || pages > len(keys) {
			break
		}
	}
	if strings.Join(got, "|") != strings.Join(keys, "|") {
		t.Errorf("got %q, want %q", got, keys)
	}
	a.node.list = func() kv.View {
		return fakeView{1, func(kv.Span) iter.Seq[kv.Item] {
			return func(yield func(kv.Item) bool) {
				for _, key := range keys[:3] {
					yield(a.node.items[key])
				}
				panic("the view is broken")
			}
		}}
	}
	if broken := lines(""); broken == "" || strings.Contains(broken, `{"end":true`) {
		t.Errorf("a broken list: got %d bytes with an end", len(broken))
	}
	testkit.Outcome(t, "F3", `over HTTP/1.0 and without trailers: %d pages are followed by the last line's "next", and a broken list has no last line {"end":true,"count":N}`, len(keys))
}

// piped serves one connection of an api in a bubble, and returns the client's end.
func piped(t *testing.T, change func(*httpapi.Config)) (a *api, client net.Conn, stop func()) {
	t.Helper()
	a = mustAPI(t, change)
	client, server := net.Pipe()
	l := &pipeListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- server
	served := make(chan error, 1)
	go func() { served <- a.server.Serve(l) }()
	return a, client, func() {
		client.Close()
		if err := a.server.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}

// readSlowly reads an answer with a pause after each piece. It returns the number of bytes
// that came, and the time that this took.
func readSlowly(t *testing.T, client net.Conn, request string, pause time.Duration) (int64, time.Duration) {
	t.Helper()
	if _, err := fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", request); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	resp, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() // would read the rest if nothing had failed
	defer client.Close()
	var total int64
	for {
		n, err := io.CopyN(io.Discard, resp.Body, 64<<10)
		total += n
		if took := time.Since(began); err != nil || took > time.Hour {
			return total, took
		}
		time.Sleep(pause)
	}
}

// TestList_SlowReaderEnds takes 64 KiB of an endless list every 9 s. No piece waits for too
// long, but the view would be held for ever.
func TestList_SlowReaderEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, client, stop := piped(t, nil)
		defer stop()
		done := make(chan struct{})
		a.node.list = func() kv.View { return endless(strings.Repeat("v", 10_000), done) }
		total, took := readSlowly(t, client, "/kv/", 9*time.Second)
		<-done
		if took > time.Minute {
			t.Errorf("the view was held for %v, and %d bytes read", took, total)
		}
	})
}

// TestList_Lifetime takes a list at a good rate for longer than ListTimeout.
func TestList_Lifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, client, stop := piped(t, func(c *httpapi.Config) { c.ListTimeout = 2 * time.Minute })
		defer stop()
		done := make(chan struct{})
		a.node.list = func() kv.View { return endless(strings.Repeat("v", 10_000), done) }
		total, took := readSlowly(t, client, "/kv/", time.Second)
		<-done
		if took < 2*time.Minute || took > 2*time.Minute+5*time.Second {
			t.Errorf("the view was held for %v, want 2m0s", took)
		}
		if least := int64(100 * 64 << 10); total < least {
			t.Errorf("%d bytes came, want at least %d", total, least)
		}
	})
}

// TestGet_SlowReaderEnds takes a large value in small pieces.
func TestGet_SlowReaderEnds(t *testing.T) {
	for pause, whole := range map[time.Duration]bool{time.Second: true, 9 * time.Second: false} {
		synctest.Test(t, func(t *testing.T) {
			a, client, stop := piped(t, nil)
			defer stop()
			const size = 16 << 20
			a.node.items["k"] = item("k", strings.Repeat("v", size), 1)
			total, took := readSlowly(t, client, "/kv/k", pause)
			if (total == size) != whole {
				t.Errorf("64 KiB every %v: got %d of %d bytes in %v", pause, total, size, took)
			}
			if !whole && took > time.Minute {
				t.Errorf("64 KiB every %v: the value was held for %v", pause, took)
			}
		})
	}
}

// lastLine returns the last line of an answer, which it reads with a pause after each piece.
func lastLine(t *testing.T, client net.Conn, pause time.Duration) string {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var tail []byte
	for piece := make([]byte, 64<<10); ; time.Sleep(pause) {
		n, err := io.ReadFull(resp.Body, piece)
		if tail = append(tail, piece[:n]...); len(tail) > len(piece) {
			tail = append([]byte(nil), tail[len(tail)-len(piece):]...)
		}
		if err != nil {
			lines := strings.Split(strings.TrimSpace(string(tail)), "\n")
			return lines[len(lines)-1]
		}
	}
}
