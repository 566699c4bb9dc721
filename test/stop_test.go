package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// dockerGrace is the time that `docker stop` waits before it kills.
const dockerGrace = 10 * time.Second

// TestTrial_F10_StopWithSlowListReader stops a node while a client reads a list at 64 KiB
// in 10 s. The node ends long before a container runtime would kill it, and the client
// can't take the part that it got for the whole list.
func TestTrial_F10_StopWithSlowListReader(t *testing.T) {
	p := newProcs(t, 1)[0]
	value := strings.Repeat("v", 500_000)
	for i := range 30 { // more than the sockets of both ends hold
		if resp, err := p.put(fmt.Sprintf("k%02d", i), value); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("put: %v, %v", resp, err)
		}
	}
	conn, err := net.Dial("tcp", p.http())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /kv/ HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// The client takes this part in the first 10 s, and no more until the node has ended.
	in := bufio.NewReaderSize(conn, 64<<10)
	if _, err := in.Peek(64 << 10); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := p.stop(t); err != nil {
		t.Errorf("the node ended with %v, want exit code 0; its log:\n%s", err, p.logs.Tail(4000))
	}
	took := time.Since(began)
	if took >= dockerGrace {
		t.Errorf("the node took %v to stop, a container runtime kills after %v", took, dockerGrace)
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil {
		t.Errorf("the client took %d bytes for the whole list", n)
	}
	testkit.Outcome(t, "F10", "with a slow list reader connected the node stops in %.1f s with exit code 0; the reader sees a broken stream", took.Seconds())
}
