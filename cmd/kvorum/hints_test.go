package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// TestTrial_F11_EndpointsSayWhatIsWrong asks addresses that are no plain HTTP API
// of a node in each way in which that is likely: the error says what to do.
func TestTrial_F11_EndpointsSayWhatIsWrong(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	n := startNode(t, strings.NewReader(""), "--id", "n1", "--data-dir", t.TempDir(), "--bootstrap-expect", "1")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))

	count := 0
	for _, tc := range []struct{ name, endpoint, part string }{
		{"HTTP to an HTTPS node", secure.Listener.Addr().String(), "https://"},
		{"HTTPS to a plain node", "https://" + plain.Listener.Addr().String(), "give the endpoint as http://host:port"},
		{"HTTPS without its authority", "https://" + secure.Listener.Addr().String(), "--ca names the file"},
		{"the peer port", n.peer, "neither its peer nor its gossip address"},
		{"the gossip port", n.gossip, "neither its peer nor its gossip address"},
		{"the peer port, over HTTPS", "https://" + n.peer, "neither its peer nor its gossip address"},
		{"an SSH server", greeter(t, "SSH-2.0-x\r\n"), "--http-addr"},
	} {
		for _, args := range [][]string{{"get", "k"}, {"ls"}, {"put", "k", "v"}, {"put", "k", strings.Repeat("v", 100_000)}, {"status"}, {"export", "-"}} {
			r := runKvorum(t, "", append(args, "--endpoints", tc.endpoint)...)
			if r.code != exitError || !strings.Contains(r.stderr, tc.part) || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("%s, %s: got exit code %d and %q, want 1 and one line with %q", tc.name, args[0], r.code, r.stderr, tc.part)
			}
			count++
		}
	}
	if r := runKvorum(t, "", "get", "k", "--endpoints", "https://"+secure.Listener.Addr().String(), "--ca", ca); !strings.Contains(r.stderr, "404") {
		t.Errorf("with its authority: got %q, want the server's 404", r.stderr)
	}
	testkit.Outcome(t, "F11", "%d command lines against an HTTPS node without https://, a plain one with it, a certificate of nobody, a peer, a gossip and an SSH port: each error says what to give", count)
}

// TestClient_ServerSpeaksFirst shows that a server which speaks before it is asked is
// told from a node, whether its words come before the request is written or after it;
// that a put's outcome stays unknown; and that net/http writes nothing to the terminal.
func TestClient_ServerSpeaksFirst(t *testing.T) {
	var logged bytes.Buffer
	before := log.Writer()
	log.SetOutput(&logged)
	defer log.SetOutput(before)
	c, err := newClient([]string{greeter(t, "SSH-2.0-x\r\n")}, 5*time.Second, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for _, early := range []bool{true, false} {
		ctx, parts := t.Context(), []string{"--http-addr"}
		if early { // net/http reads the greeting before it writes the request
			ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
				for !heard(got.Conn) {
					runtime.Gosched()
				}
			}})
			parts = append(parts, "SSH-2.0-x")
		}
		for _, r := range []request{{method: http.MethodGet, path: "/kv/k"}, putRequest("k", []byte("v"))} {
			_, err := c.try(ctx, r, 0)
			for _, part := range parts {
				if text := fmt.Sprint(err); !strings.Contains(text, part) || strings.Contains(text, "%!") {
					t.Errorf("%s, early: %v: got %q, want %q in it", r.method, early, text, part)
				}
			}
			if r.write != strings.Contains(fmt.Sprint(err), "outcome unknown") {
				t.Errorf("%s, early: %v: got %v, want an unknown outcome of writes alone", r.method, early, err)
			}
		}
	}
	if logged.Len() > 0 {
		t.Errorf("net/http wrote %q", logged.String())
	}
}

// heard says that something came over a connection of a client's.
func heard(conn net.Conn) bool { return conn.(*heardConn).first.Load() != nil }

// greeter returns the address of a server that speaks first.
func greeter(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, text)
			c.Close()
		}
	}()
	return l.Addr().String()
}
