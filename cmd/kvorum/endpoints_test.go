package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/internal/testkit"
)

// TestTrial_F11_EndpointsSayWhatIsWrong asks addresses that are not a node's plain HTTP API,
// in each way that is likely: the error has the remedy.
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
		{"an SSH server", testkit.Greeter(t, "SSH-2.0-x\r\n"), "--http-addr"},
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

// TestClient_TerminalIsTheCommands shows that net/http, which logs unexpected bytes from a
// server, writes nothing to the terminal.
func TestClient_TerminalIsTheCommands(t *testing.T) {
	var logged bytes.Buffer
	before := log.Writer()
	log.SetOutput(&logged)
	defer log.SetOutput(before)
	at := "--endpoints=" + testkit.Greeter(t, "SSH-2.0-x\r\n")
	for range 20 {
		wantFailure(t, runKvorum(t, "", "put", "k", "v", at), exitError, "outcome unknown")
	}
	if logged.Len() > 0 {
		t.Errorf("net/http wrote %q", logged.String())
	}
}
