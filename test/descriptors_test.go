package test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/internal/testkit"
)

// underUlimit makes p's program run in a shell that limits its open files.
func underUlimit(files int) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		shell := exec.Command("sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$@"`, files), "sh", cmd.Path}, cmd.Args[1:]...)...)
		cmd.Path, cmd.Args = shell.Path, shell.Args
	}
}

// keptConn is one kept HTTP connection. A connection that a server has closed
// between two requests is dialed again, as clients do.
type keptConn struct {
	addr string
	conn net.Conn
	in   *bufio.Reader
}

func (k *keptConn) do(method, path, body string) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		resp, err := k.try(method, path, body)
		if err == nil || attempt == 3 {
			return resp, err
		}
		k.conn.Close()
		k.conn = nil
	}
}

func (k *keptConn) try(method, path, body string) (*http.Response, error) {
	if k.conn == nil {
		conn, err := net.DialTimeout("tcp", k.addr, 10*time.Second)
		if err != nil {
			return nil, err
		}
		k.conn, k.in = conn, bufio.NewReader(conn)
	}
	if err := k.conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(k.conn, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(k.in, &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp, err
}

// TestTrial_B1_IdleClientsTakeNoDescriptors runs three nodes that may each open 256 files.
// A client keeps a connection. Then 400 idle connections are opened to each node, and the
// client puts 63 values of 1 MiB. Every put is acknowledged, new clients are served, and no
// node ends.
func TestTrial_B1_IdleClientsTakeNoDescriptors(t *testing.T) {
	const files, idle, puts = 256, 400, 63
	ps := newProcsWith(t, 3, underUlimit(files))
	leader := ps.leader(t)
	client := &keptConn{addr: leader.http()}
	if resp, err := client.do(http.MethodPut, "/kv/first", "v"); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("first put: %v %v", resp, err)
	}
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for _, p := range ps {
		for i := range idle {
			c, err := net.DialTimeout("tcp", p.http(), 10*time.Second)
			if err != nil {
				t.Fatalf("idle connection %d to %s: %v", i, p.name, err)
			}
			conns = append(conns, c)
			fmt.Fprintf(c, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
		}
	}
	value := strings.Repeat("v", 1<<20)
	for i := range puts {
		resp, err := client.do(http.MethodPut, fmt.Sprintf("/kv/big%d", i), value)
		if err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("put %d: %v %v", i, resp, err)
		}
	}
	most := 0
	for _, p := range ps {
		s, err := p.status() // over a new connection
		if err != nil {
			t.Fatalf("status of %s: %v", p.name, err)
		}
		d := s.Descriptors
		if d == nil || d.Limit != files || d.Open == 0 || d.Open > files || d.Clients.Open == nil || *d.Clients.Open > d.Clients.Share {
			t.Errorf("%s: got descriptors %+v", p.name, d)
			continue
		}
		most = max(most, d.Open)
		select {
		case <-p.exited:
			t.Errorf("%s has ended: %v", p.name, p.err)
		default:
		}
		if strings.Contains(p.logs.String(), "too many open files") {
			t.Errorf("%s ran out of descriptors", p.name)
		}
	}
	testkit.Outcome(t, "B1", "%d of %d puts of 1 MiB acknowledged beside %d idle connections to each node; at most %d of %d descriptors open",
		puts, puts, idle, most, files)
}

// TestTrial_B1_TooFewDescriptors shows that a limit too low to run is refused at
// start with the number needed, and that a soft limit is raised to the hard one.
func TestTrial_B1_TooFewDescriptors(t *testing.T) {
	p := &proc{name: "n1", ip: loopback(), dir: t.TempDir()}
	cmd := exec.Command(mustBinary(t), p.args()...)
	underUlimit(cluster.MinDescriptors - 1)(cmd)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("got %v, want a refusal: %s", err, out)
	}
	line := lastLine(string(out))
	for _, word := range []string{fmt.Sprint(cluster.MinDescriptors), "ulimit -n", "LimitNOFILE"} {
		if !strings.Contains(line, word) {
			t.Errorf("got %q, want it to name %q", line, word)
		}
	}
	ps := newProcsWith(t, 1, func(cmd *exec.Cmd) {
		shell := exec.Command("sh", append([]string{"-c", `ulimit -Sn 100 && ulimit -Hn 1000 && exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)...)
		cmd.Path, cmd.Args = shell.Path, shell.Args
	})
	s, err := ps[0].status()
	if err != nil || s.Descriptors == nil || s.Descriptors.Limit != 1000 {
		t.Errorf("with a soft limit of 100: got %+v, %v, want the hard limit of 1000", s.Descriptors, err)
	}
	testkit.Outcome(t, "B1", "%s", strings.TrimPrefix(line, "kvorum: "))
}
