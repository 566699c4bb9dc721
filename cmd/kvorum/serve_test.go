package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// node is a server that runs in this process.
type node struct {
	http, peer, gossip string // the addresses it bound
	log                *testkit.Log
	cancel             context.CancelFunc
	code               chan int // receives the exit code
}

// startNode runs the server command on free ports until the test ends, and
// waits until it serves.
func startNode(t *testing.T, stdin io.Reader, args ...string) *node {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{log: new(testkit.Log), cancel: cancel, code: make(chan int, 1)}
	args = append([]string{
		"server", "--log-format", "json",
		"--http-addr", "127.0.0.1:0", "--peer-addr", "127.0.0.1:0", "--gossip-addr", "127.0.0.1:0",
	}, args...)
	go func() { n.code <- run(ctx, args, stdin, io.Discard, n.log) }()
	t.Cleanup(func() {
		cancel()
		if code, ok := <-n.code; ok && code != exitOK {
			t.Errorf("server ended with exit code %d; log:\n%s", code, n.log)
		}
	})
	poll(t, "the server to run", func() bool {
		if len(n.code) > 0 {
			t.Fatalf("server ended early; log:\n%s", n.log)
		}
		return n.parseAddresses()
	})
	return n
}

// parseAddresses takes the addresses from the log, once they are there.
func (n *node) parseAddresses() bool {
	for line := range strings.Lines(n.log.String()) {
		var entry struct{ Msg, HTTP, Peer, Gossip string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "node runs" {
			n.http, n.peer, n.gossip = entry.HTTP, entry.Peer, entry.Gossip
			return true
		}
	}
	return false
}

// awaitExit waits for the server to end, and returns its exit code.
func (n *node) awaitExit(t *testing.T) int {
	t.Helper()
	select {
	case code := <-n.code:
		close(n.code)
		return code
	case <-time.After(30 * time.Second):
		t.Fatalf("server does not end; log:\n%s", n.log)
		return 0
	}
}

// awaitReady waits until the node serves.
func (n *node) awaitReady(t *testing.T) {
	t.Helper()
	poll(t, "the node to be ready", func() bool {
		return runKvorum(t, "", "status", "--endpoints", n.http).code == exitOK
	})
}

// fetch returns the status and the body of a page.
func (n *node) fetch(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + n.http + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestServer_LifeCycle runs a node, stops it, and runs it again on its data.
func TestServer_LifeCycle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	n := startNode(t, nil, "--id", "n1", "--data-dir", dir, "--bootstrap-expect", "1")
	n.awaitReady(t)
	mustRun(t, "", "put", "a/../b", "kept", "--endpoints", n.http)
	if code, body := n.fetch(t, "/metrics"); code != http.StatusOK || !strings.Contains(body, "\nkvorum_ready 1\n") ||
		!strings.Contains(body, "kvorum_http_requests_total{") || !strings.Contains(body, "\ngo_goroutines ") {
		t.Errorf("metrics: got %d and %.200q", code, body)
	}
	if code, _ := n.fetch(t, "/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("profiles: got %d, want 404", code)
	}
	r := runKvorum(t, "", "server", "--id", "n1", "--data-dir", dir,
		"--http-addr", "127.0.0.1:0", "--peer-addr", "127.0.0.1:0", "--gossip-addr", "127.0.0.1:0")
	if r.code != exitError || !strings.Contains(r.stderr, "kvorum: ") || !strings.Contains(r.stderr, dir) {
		t.Errorf("a second server on one directory: got exit code %d, stderr %q", r.code, r.stderr)
	}
	n.cancel()
	if code := n.awaitExit(t); code != exitOK {
		t.Errorf("got exit code %d, want 0; log:\n%s", code, n.log)
	}
	if !strings.Contains(n.log.String(), `"msg":"node stops"`) {
		t.Errorf("the stop is not in the log:\n%s", n.log)
	}

	again := startNode(t, nil, "--id", "n1", "--data-dir", dir)
	again.awaitReady(t)
	if got := mustRun(t, "", "get", "a/../b", "--endpoints", again.http); got != "kept" {
		t.Errorf("after a restart: got %q, want kept", got)
	}
}

func TestServer_StdinEndsIt(t *testing.T) {
	stdin, starter := io.Pipe()
	n := startNode(t, stdin, "--id", "n1", "--data-dir", t.TempDir(), "--bootstrap-expect", "1", "--"+stdinFlag)
	starter.Close()
	if code := n.awaitExit(t); code != exitOK || !strings.Contains(n.log.String(), errStdinClosed.Error()) {
		t.Errorf("got exit code %d, want 0 and the cause in the log:\n%s", code, n.log)
	}
}

func TestServer_AddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// At an address of its own the port is not taken for TCP too, by anybody's connection.
	u, err := net.ListenPacket("udp", "127.77.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, tc := range []struct{ flag, name, taken, protocol string }{
		{"http-addr", "HTTP", l.Addr().String(), ""}, {"peer-addr", "peer", l.Addr().String(), ""},
		{"gossip-addr", "gossip", l.Addr().String(), ""}, {"gossip-addr", "gossip", u.LocalAddr().String(), " (UDP)"},
	} {
		dir := filepath.Join(t.TempDir(), "data")
		args := []string{"server", "--id", "n1", "--data-dir", dir, "--log-level", "error"}
		for _, f := range []string{"http-addr", "peer-addr", "gossip-addr"} {
			addr := "127.0.0.1:0"
			if f == tc.flag {
				addr = tc.taken
			}
			args = append(args, "--"+f, addr)
		}
		want := "listen on " + tc.name + " address " + tc.taken + tc.protocol + ": address already in use"
		wantFailure(t, runKvorum(t, "", args...), exitError, want)
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: the data directory was made", tc.flag)
		}
	}
}

// TestServer_Leave adds a node to a cluster of one and removes it again: the node ends by
// itself, and refuses to start again on its old directory.
func TestServer_Leave(t *testing.T) {
	n1 := startNode(t, nil, "--id", "n1", "--data-dir", t.TempDir(), "--bootstrap-expect", "1")
	n1.awaitReady(t)
	dir2 := t.TempDir()
	n2 := startNode(t, nil, "--id", "n2", "--data-dir", dir2)
	if r := runKvorum(t, "", "status", "--endpoints", n2.http); r.code != exitError || !strings.Contains(r.stdout, "joining") {
		t.Errorf("status of a node in no cluster: got exit code %d, %q", r.code, r.stdout)
	}
	mustRun(t, "", "join", "--id", "n2", "--peer-addr", n2.peer, "--http-addr", n2.http, "--endpoints", n1.http)
	mustRun(t, "", "put", "k", "v", "--endpoints", n2.http)
	n2.awaitReady(t)
	if got := mustRun(t, "", "members", "--endpoints", n1.http); !strings.Contains(got, "n2") {
		t.Errorf("members: got %q, want n2 among them", got)
	}
	mustRun(t, "", "leave", "n2", "--endpoints", n1.http)
	if code := n2.awaitExit(t); code != exitOK || !strings.Contains(n2.log.String(), "has left its cluster") || strings.Contains(n2.log.String(), `"ERROR"`) {
		t.Errorf("got exit code %d, want 0, and the reason in the log, which is no error:\n%s", code, n2.log)
	}
	r := runKvorum(t, "", "server", "--id", "n2", "--data-dir", dir2, "--log-format", "json", "--join", n1.gossip,
		"--http-addr", "127.0.0.1:0", "--peer-addr", "127.0.0.1:0", "--gossip-addr", "127.0.0.1:0")
	lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
	want := "kvorum: node stopped: node n2 was removed from its cluster; to have it join again, empty its data directory " + dir2
	if got := lines[len(lines)-1]; r.code != exitError || got != want {
		t.Errorf("started again: got exit code %d and %q, want %d and %q; log:\n%s", r.code, got, exitError, want, r.stderr)
	}
	mustRun(t, "", "put", "k", "w", "--endpoints", n1.http)
	wantFailure(t, runKvorum(t, "", "leave", "--endpoints", n1.http), exitError, "only voter")
}

func TestServer_EvenNumberWarns(t *testing.T) {
	n := startNode(t, nil, "--id", "n1", "--data-dir", t.TempDir(), "--bootstrap-expect", "2", "--join", "127.0.0.1:1")
	if !strings.Contains(n.log.String(), "an even number of nodes") {
		t.Errorf("got no warning in the log:\n%s", n.log)
	}
}

func TestAdvertised(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, tc := range []struct{ given, bind, want string }{
		{"n1:1", "0.0.0.0:0", "n1:1"},
		{"", "127.0.0.1:0", "127.0.0.1:" + port},
		{"", "localhost:0", "localhost:" + port},
	} {
		if got := advertised(tc.given, tc.bind, l); got != tc.want {
			t.Errorf("advertised(%q, %q): got %q, want %q", tc.given, tc.bind, got, tc.want)
		}
	}
}
