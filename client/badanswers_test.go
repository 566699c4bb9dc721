package client_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

// calls has one call of each kind, and whether it writes.
var calls = []struct {
	name  string
	write bool
	call  func(context.Context, *client.Client) error
}{
	{"get", false, func(ctx context.Context, c *client.Client) error {
		_, err := c.Get(ctx, "k", client.ReadOptions{})
		return err
	}},
	{"put", true, func(ctx context.Context, c *client.Client) error {
		_, err := c.Put(ctx, "k", []byte("v"))
		return err
	}},
	{"delete", true, func(ctx context.Context, c *client.Client) error {
		_, err := c.Delete(ctx, "k")
		return err
	}},
	{"touch", true, func(ctx context.Context, c *client.Client) error {
		_, err := c.Touch(ctx, "k", time.Second)
		return err
	}},
	{"persist", true, func(ctx context.Context, c *client.Client) error {
		_, err := c.Persist(ctx, "k")
		return err
	}},
	{"list", false, func(ctx context.Context, c *client.Client) error {
		list, err := c.List(ctx, client.ListOptions{})
		if err != nil {
			return err
		}
		for _, err := range list.All() {
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{"status", false, func(ctx context.Context, c *client.Client) error {
		_, err := c.Status(ctx)
		return err
	}},
	{"members", false, func(ctx context.Context, c *client.Client) error {
		_, err := c.Members(ctx)
		return err
	}},
	{"join", true, func(ctx context.Context, c *client.Client) error {
		_, err := c.Join(ctx, kv.JoinRequest{ID: "n2", PeerAddr: "h:1", HTTPAddr: "h:2"})
		return err
	}},
	{"leave", true, func(ctx context.Context, c *client.Client) error {
		return c.Leave(ctx, kv.LeaveRequest{ID: "n2"})
	}},
	{"transfer", true, func(ctx context.Context, c *client.Client) error { return c.Transfer(ctx, "") }},
	{"snapshot", true, func(ctx context.Context, c *client.Client) error {
		_, err := c.Snapshot(ctx, "")
		return err
	}},
}

// raw returns a server that answers each connection with text.
func raw(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
					fmt.Fprint(conn, text)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// page answers with a page of HTML, like a web server that is no node.
func page(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Del("Kvorum-Node")
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "<html>\n<title>Welcome\x1b[2J</title>")
	}
}

// TestClient_NoAnswerOfANode asks servers that are no node, or answer like none: the error
// of each call names the endpoint, and shows its answer.
func TestClient_NoAnswerOfANode(t *testing.T) {
	elsewhere := serve(t, ok)
	for _, tc := range []struct {
		name     string
		endpoint string
		done     bool // it is certain whether a write was done
		part     string
	}{
		{"HTML for a success", serve(t, page(200)).addr(), false, `answered 200 OK, as no node does: "<html>"; this is no HTTP API: Config.Endpoints takes`},
		{"HTML for a missing page", serve(t, page(404)).addr(), true, `answered 404 Not Found: <html>`},
		{"HTML for a failure", serve(t, page(500)).addr(), false, `answered 500 Internal Server Error: <html>`},
		{"a redirect elsewhere", serve(t, http.RedirectHandler(elsewhere.URL+"/", http.StatusTemporaryRedirect).ServeHTTP).addr(), true, "answered 307 Temporary Redirect"},
		{"another protocol", raw(t, "SSH-2.0-x\r\n"), false, `it answered "SSH-2.0-x"; this is no HTTP API`},
		{"half a head", raw(t, "HTTP/1.1 200 OK\r\nKvorum-"), false, "malformed MIME header"},
		{"an endless head", raw(t, "HTTP/1.1 200 OK\r\nKvorum-Node: "+strings.Repeat("x", 100<<10)+"\r\n\r\n"), false, "headers exceeded 65536 bytes"},
		{"nothing", raw(t, ""), false, "the connection was closed without an answer"},
		{"nobody", unreachable(t), true, "connection refused"},
	} {
		for _, call := range calls {
			t.Run(tc.name+"/"+call.name, func(t *testing.T) {
				outcome := client.NotDone
				if call.write && !tc.done {
					outcome = client.Unknown
				}
				e := wantError(t, call.call(t.Context(), mustNew(t, client.Config{Endpoints: []string{tc.endpoint}})), outcome, tc.endpoint, tc.part)
				if e.Endpoint != "http://"+tc.endpoint || e.Code != "" {
					t.Errorf("got endpoint %q and code %q, want %q and none", e.Endpoint, e.Code, tc.endpoint)
				}
			})
		}
	}
	if n := len(elsewhere.seen()); n != 0 {
		t.Errorf("got %d requests where redirects lead, want none", n)
	}
}

// TestClient_CutOrBadAnswer asks a node whose successful answer can't be read. The outcome
// of a write is certain then.
func TestClient_CutOrBadAnswer(t *testing.T) {
	cut := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"id":"n1`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	html := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }
	huge := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"id":"`+strings.Repeat("x", 4<<20)+`"}`)
	}
	large := func(w http.ResponseWriter, _ *http.Request) {
		for range 65 {
			_, _ = w.Write(make([]byte, 1<<20))
		}
	}
	for _, tc := range []struct {
		name    string
		handle  http.HandlerFunc
		call    string
		outcome client.Outcome
		part    string // "" is no error
	}{
		{"cut", cut, "get", client.NotDone, "answer broke off: unexpected EOF"},
		{"too large", large, "get", client.NotDone, "answer is larger than 67108864 bytes"},
		{"cut", cut, "put", 0, ""},
		{"cut", cut, "leave", 0, ""},
		{"cut", cut, "status", client.NotDone, "answer broke off: unexpected EOF"},
		{"too large", huge, "status", client.NotDone, "answer is larger than 4194304 bytes"},
		{"HTML", html, "status", client.NotDone, "read status: invalid character '<'"},
		{"HTML", html, "members", client.NotDone, "read status: invalid character '<'"},
		{"HTML", html, "list", client.NotDone, "listing broke off: unexpected EOF"},
		{"cut", cut, "join", client.Done, "read the answer: unexpected end of JSON input"},
		{"HTML", html, "snapshot", client.Done, "read the answer: invalid character '<'"},
		{"too large", huge, "snapshot", client.Done, "read the answer: unexpected end of JSON input"},
	} {
		t.Run(tc.call+"/"+tc.name, func(t *testing.T) {
			s := serve(t, tc.handle)
			for _, call := range calls {
				if call.name != tc.call {
					continue
				}
				err := call.call(t.Context(), mustNew(t, client.Config{Endpoints: []string{s.URL}}))
				if tc.part == "" {
					if err != nil {
						t.Errorf("got %v, want none: the status says that it is done", err)
					}
					continue
				}
				if e := wantError(t, err, tc.outcome, s.addr()+": "+tc.part); e.Endpoint != s.URL || e.Status != http.StatusOK {
					t.Errorf("got %+v, want the endpoint and the status", e)
				}
			}
		})
	}
}
