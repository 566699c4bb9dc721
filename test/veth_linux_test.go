package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvorum/kvorum/internal/testkit"
)

// link is two network namespaces that a pair of virtual Ethernet devices joins.
// Unlike the loopback device it has packets of 1,500 bytes.
type link struct{ server, client string }

// The addresses of a link's ends; no other namespace sees them.
const (
	linkServer = "10.77.0.1"
	linkClient = "10.77.0.2"
)

// newLink makes a link, which is removed with the test. It skips the test if it can't make
// one.
func newLink(t *testing.T) link {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	l := link{fmt.Sprintf("kvorum-%d-s", os.Getpid()), fmt.Sprintf("kvorum-%d-c", os.Getpid())}
	t.Cleanup(func() { // a device is removed with its namespace
		_ = exec.Command("ip", "netns", "del", l.server).Run()
		_ = exec.Command("ip", "netns", "del", l.client).Run()
	})
	for _, line := range []string{
		"netns add " + l.server,
		"netns add " + l.client,
		"-n " + l.server + " link add eth0 type veth peer name eth0 netns " + l.client,
		"-n " + l.server + " addr add " + linkServer + "/24 dev eth0",
		"-n " + l.client + " addr add " + linkClient + "/24 dev eth0",
		"-n " + l.server + " link set eth0 up",
		"-n " + l.client + " link set eth0 up",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Skipf("no network namespaces here: ip %s: %v %s", line, err, out)
		}
	}
	return l
}

// startServer starts the only node of a cluster at the server's end.
func (l link) startServer(t *testing.T) {
	t.Helper()
	var logs testkit.Log
	cmd := exec.Command("ip", "netns", "exec", l.server, mustBinary(t), "server", "--id", "n1", "--bootstrap-expect", "1",
		"--data-dir", filepath.Join(t.TempDir(), "data"), "--http-addr", linkServer+":8001",
		"--peer-addr", linkServer+":7001", "--gossip-addr", linkServer+":6001")
	cmd.Stdout, cmd.Stderr = &logs, &logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // ip has become the server
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of the server:\n%s", logs.Tail(4000))
		}
	})
	testkit.Eventually(t, 30*time.Second, "the node is ready", func() error {
		resp, _, err := l.exchange("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", nil)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("answered %s", resp.Status)
		}
		return err
	})
}

// dial opens a connection from the client's end.
func (l link) dial() (net.Conn, error) {
	type dialed struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialed, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		var d dialed
		defer func() { done <- d }()
		var ns *os.File
		if ns, d.err = os.Open("/run/netns/" + l.client); d.err != nil {
			return
		}
		defer ns.Close()
		if d.err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); d.err != nil {
			return
		}
		d.conn, d.err = net.Dial("tcp", linkServer+":8001")
	}()
	d := <-done
	return d.conn, d.err
}

// exchange sends all of a request, and only then reads the answer, as Python's
// http.client does.
func (l link) exchange(head string, body []byte) (*http.Response, string, error) {
	c, err := l.dial()
	if err != nil {
		return nil, "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, "", err
	}
	if _, err := io.WriteString(c, head); err != nil {
		return nil, "", err
	}
	if n, err := c.Write(body); err != nil {
		return nil, "", fmt.Errorf("%d of %d bytes are through: %w", n, len(body), err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, string(answer), err
}

// TestTrial_B6_OverALink refuses puts over a network path. The clients send a whole request
// before they read.
func TestTrial_B6_OverALink(t *testing.T) {
	l := newLink(t)
	l.startServer(t)
	const times = 5
	requests := []struct {
		name, target, header string
		size, status         int
	}{
		{"too large", "/kv/k", "", 1<<20 + 1, http.StatusRequestEntityTooLarge},
		{"condition", "/kv/k", "If-Match: 7\r\n", 900_000, http.StatusBadRequest},
		{"encoding", "/kv/k", "Content-Encoding: gzip\r\n", 900_000, http.StatusUnsupportedMediaType},
		{"query", "/kv/k?ttl=5", "", 900_000, http.StatusBadRequest},
		{"path", "/nothing", "", 900_000, http.StatusNotFound},
	}
	for _, r := range requests {
		for range times {
			head := fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n", r.target, r.header, r.size)
			resp, body, err := l.exchange(head, bytes.Repeat([]byte("v"), r.size))
			if err != nil {
				t.Errorf("%s: %v", r.name, err)
			} else if resp.StatusCode != r.status {
				t.Errorf("%s: got %s %s, want %d", r.name, resp.Status, body, r.status)
			}
		}
	}
	testkit.Outcome(t, "B6", "over a veth pair, clients that send all first: 413, 400, 415 and 404 are read, %d of %d times each", times, times)
}
