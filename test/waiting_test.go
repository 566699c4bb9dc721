package test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// newLone returns a server that is not started, and ends it with the test.
func newLone(t *testing.T, name string, extra ...string) *proc {
	t.Helper()
	p := &proc{name: name, ip: loopback(), dir: filepath.Join(t.TempDir(), "data"), logs: new(testkit.Log), extra: extra}
	t.Cleanup(func() {
		if p.cmd != nil {
			p.kill()
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", p.name, p.logs.Tail(6000))
		}
	})
	return p
}

func (p *proc) gossip() string { return net.JoinHostPort(p.ip, "6001") }

// startAll starts servers that all have the same seeds.
func startAll(t *testing.T, ps procs, join ...string) {
	t.Helper()
	for _, p := range ps {
		join = append(join, p.gossip())
	}
	for _, p := range ps {
		p.extra = append(p.extra, "--join", strings.Join(join, ","))
		p.start(t)
	}
}

// blackHole returns a TCP address of this host that answers no connection, as if
// a firewall dropped everything: its queue is full, and the kernel drops more.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	ip := [4]byte(net.ParseIP(loopback()).To4())
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: ip, Port: 6001}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort(net.IP(ip[:]).String(), "6001")
	for range 8 {
		c, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Skip("SKIPPED: this kernel accepts connections beyond a socket's queue")
	return ""
}

// silent returns a TCP address that accepts connections and never answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(loopback(), "6001"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// keyFile returns a file with a key for gossip.
func keyFile(t *testing.T, b byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	key := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(b), 32)))
	if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// says waits until the node's log, at the default level, /readyz and /status all have each
// of words in their descriptions of the wait. It returns the time from began to the line of
// the log.
func (p *proc) says(t *testing.T, began time.Time, words ...string) (took time.Duration) {
	t.Helper()
	missing := func(text string) error {
		for _, word := range words {
			if !strings.Contains(text, word) {
				return fmt.Errorf("no %q in %q", word, text)
			}
		}
		return nil
	}
	testkit.Eventually(t, 20*time.Second, p.name+" says what it waits for", func() error {
		err := errors.New("no line that it waits")
		for line := range strings.Lines(p.logs.String()) {
			if strings.Contains(line, "msg=waiting") {
				if err = missing(line); err == nil {
					runs := timeOf(t, p.logs.String()[strings.Index(p.logs.String(), "time="):])
					took = timeOf(t, line).Sub(latest(runs, began))
					break
				}
			}
		}
		return err
	})
	testkit.Eventually(t, 5*time.Second, "/readyz says it too", func() error {
		resp, err := http.Get("http://" + p.http() + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		return missing(string(body))
	})
	testkit.Eventually(t, 5*time.Second, "/status says it too", func() error {
		s, err := p.status()
		if err != nil {
			return err
		}
		if s.Waiting == nil {
			return errors.New("nothing of what it waits for")
		}
		return missing(s.Waiting.String())
	})
	return took
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// timeOf returns when a line was logged.
func timeOf(t *testing.T, line string) time.Time {
	t.Helper()
	word, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
	at, err := time.Parse(time.RFC3339, word)
	if err != nil {
		t.Errorf("line without a time: %s", line)
	}
	return at
}

// TestTrial_F1_WaitingIsSaid starts nodes that can't serve, for each reason that an
// operator may meet, and checks that they say what they wait for.
func TestTrial_F1_WaitingIsSaid(t *testing.T) {
	said, slowest := 0, time.Duration(0)
	wants := func(t *testing.T, p *proc, began time.Time, words ...string) {
		t.Helper()
		took := p.says(t, began, words...)
		said, slowest = said+1, max(slowest, took)
	}
	// Each starts its nodes and returns a function with its checks, so that all wait at the
	// same time.
	type check func(t *testing.T)
	cases := map[string]func() check{
		"TwoOfThree": func() check {
			a, b, c := newLone(t, "n1", "--bootstrap-expect", "3"), newLone(t, "n2", "--bootstrap-expect", "3"), newLone(t, "n3", "--bootstrap-expect", "3")
			began := time.Now()
			startAll(t, procs{a, b}, c.gossip())
			return func(t *testing.T) {
				for _, p := range []*proc{a, b} {
					wants(t, p, began, "2 of 3 found", "n1", "n2", c.gossip()+": connection refused", "--bootstrap-expect")
				}
				startAll(t, procs{c}, a.gossip())
				testkit.Eventually(t, 20*time.Second, "the wait is over", func() error {
					if !strings.Contains(a.logs.String(), "waiting is over") {
						return errors.New("not yet")
					}
					return nil
				})
			}
		},
		"OneName": func() check {
			a, b := newLone(t, "n1", "--bootstrap-expect", "3"), newLone(t, "n1", "--bootstrap-expect", "3")
			began := time.Now()
			startAll(t, procs{a, b})
			return func(t *testing.T) {
				wants(t, a, began, "both named n1", a.ip, b.ip, "--id")
			}
		},
		"Expect335": func() check {
			ps := procs{newLone(t, "n1", "--bootstrap-expect", "3"), newLone(t, "n2", "--bootstrap-expect", "3"), newLone(t, "n3", "--bootstrap-expect", "5")}
			began := time.Now()
			startAll(t, ps)
			return func(t *testing.T) {
				wants(t, ps[0], began, "n1 and n2 3, n3 5", "same --bootstrap-expect")
				wants(t, ps[2], began, "n3 5, n1 and n2 3", "same --bootstrap-expect")
			}
		},
		"GossipKey": func() check {
			a := newLone(t, "n1", "--bootstrap-expect", "2", "--gossip-key-file", keyFile(t, 'a'))
			b := newLone(t, "n2", "--bootstrap-expect", "2", "--gossip-key-file", keyFile(t, 'b'))
			c := newLone(t, "n3", "--bootstrap-expect", "2")
			began := time.Now()
			startAll(t, procs{a, b, c})
			return func(t *testing.T) {
				wants(t, a, began, "1 of 2 found", b.gossip()+": another gossip key", "--gossip-key-file")
				wants(t, c, began, "1 of 2 found", b.gossip()+": another gossip key", "--gossip-key-file")
			}
		},
		"Dropped": func() check {
			p, hole := newLone(t, "n1", "--bootstrap-expect", "2"), blackHole(t)
			began := time.Now()
			startAll(t, procs{p}, hole)
			return func(t *testing.T) {
				wants(t, p, began, "1 of 2 found", hole+": no answer: the host is down, or a firewall")
			}
		},
		"Silent": func() check {
			p, addr := newLone(t, "n1", "--bootstrap-expect", "2"), silent(t)
			began := time.Now()
			startAll(t, procs{p}, addr)
			return func(t *testing.T) {
				wants(t, p, began, "1 of 2 found", addr+": connected, but no answer")
			}
		},
		"WrongPort": func() check {
			s := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(s.Close)
			p := newLone(t, "n1", "--bootstrap-expect", "2")
			began := time.Now()
			startAll(t, procs{p}, s.Listener.Addr().String())
			return func(t *testing.T) {
				wants(t, p, began, "1 of 2 found", s.Listener.Addr().String()+": no gossip answers there, but HTTP")
			}
		},
		"NoCluster": func() check {
			p, nobody := newLone(t, "n1"), net.JoinHostPort(loopback(), "6001")
			began := time.Now()
			startAll(t, procs{p}, nobody)
			return func(t *testing.T) {
				wants(t, p, began, "a cluster that adds this node", nobody+": connection refused", "--bootstrap-expect")
			}
		},
		"NoJoin": func() check {
			p := newLone(t, "n1")
			began := time.Now()
			p.start(t)
			return func(t *testing.T) {
				wants(t, p, began, "a cluster that adds this node", "kvorum join")
			}
		},
		"PeerAddress": func() check {
			a, b := newLone(t, "n1", "--bootstrap-expect", "2"), newLone(t, "n2", "--bootstrap-expect", "2")
			nobody := net.JoinHostPort(loopback(), "7001")
			b.extra = append(b.extra, "--advertise-peer-addr", nobody)
			began := time.Now()
			startAll(t, procs{a, b})
			return func(t *testing.T) {
				wants(t, a, began, "new cluster to be formed", "n2 at "+nobody+": connection refused", "--advertise-peer-addr")
				wants(t, b, began, "cluster", nobody)
			}
		},
		"NoQuorum": func() check {
			ps := newProcs(t, 3)
			leader := ps.leader(t)
			began := time.Now()
			var left *proc
			for _, p := range ps {
				if p == leader || left != nil {
					p.kill()
				} else {
					left = p
				}
			}
			words := []string{"a leader: 1 of 3 voters reached, 2 are needed"}
			for _, p := range ps {
				if p != left {
					words = append(words, fmt.Sprintf("%s at %s:7001: connection refused", p.name, p.ip))
				}
			}
			return func(t *testing.T) {
				wants(t, left, began, words...)
				for _, p := range ps {
					if p != left {
						p.start(t)
					}
				}
				ps.waitReady(t)
			}
		},
	}
	checks := map[string]check{}
	for name, start := range cases {
		checks[name] = start()
	}
	for name, check := range checks {
		t.Run(name, check)
	}
	if !t.Failed() {
		testkit.Outcome(t, "F1", "%d waiting nodes in 11 situations say at INFO what for, which addresses answer what, and what to check, the slowest after %.1f s; /readyz and /status say it too",
			said, slowest.Seconds())
	}
}

// lineKey matches the times and counts of a line. Two lines that differ only in these are
// equal for a reader.
var lineKey = regexp.MustCompile(`time=\S+|(since|after|left_out|raft\.\S*|\w*_ms|term)=("[^"]*"|\S+)|\d+(\.\d+)?m?s\b`)

// repeated returns the greatest number of equal lines in a log, and such a line.
func repeated(log string) (most int, line string) {
	counts := map[string]int{}
	for l := range strings.Lines(log) {
		key := lineKey.ReplaceAllString(l, "")
		if counts[key]++; counts[key] > most {
			most, line = counts[key], l
		}
	}
	return most, line
}

// TestTrial_X2_RepeatedLines counts equal lines in the logs of nodes that don't reach each
// other: nodes that form a cluster with one whose peer address can't be reached, and nodes
// of a cluster that has lost its majority.
func TestTrial_X2_RepeatedLines(t *testing.T) {
	t.Parallel()
	lasts := testkit.TrialDuration(t, 12*time.Second)
	a, b := newLone(t, "n1", "--bootstrap-expect", "2"), newLone(t, "n2", "--bootstrap-expect", "2")
	b.extra = append(b.extra, "--advertise-peer-addr", net.JoinHostPort(loopback(), "7001"))
	ps := newProcs(t, 3)
	left := ps.followers(t)[0]
	before := len(left.logs.String())
	for _, p := range ps {
		if p != left {
			p.kill()
		}
	}
	began := time.Now()
	startAll(t, procs{a, b})
	testkit.Eventually(t, lasts+10*time.Second, "the time is over", func() error {
		if time.Since(began) < lasts {
			return errors.New("not yet")
		}
		return nil
	})
	worst := 0
	for name, log := range map[string]string{"n1": a.logs.String(), "n2": b.logs.String(), "the survivor": left.logs.String()[before:]} {
		most, line := repeated(log)
		// At once, after 10 s, 30 s, 70 s and so on.
		want := 1
		for next, wait := 10*time.Second, 20*time.Second; next < time.Since(began); next, wait = next+wait, 2*wait {
			want++
		}
		if worst = max(worst, most); most > want+1 {
			t.Errorf("%s: %d equal lines in %v, want at most %d: %s", name, most, lasts, want+1, line)
		}
	}
	for _, p := range ps {
		if p != left {
			p.start(t)
		}
	}
	testkit.Eventually(t, 20*time.Second, "the survivor says that it reaches a peer again, and after how long", func() error {
		// A read makes the follower ask the leader. A follower without requests dials no
		// node: raft uses the leader's own connection.
		_, _, _ = left.get("k", "") // a missing leader is not an error of this test
		for line := range strings.Lines(left.logs.String()) {
			if strings.Contains(line, "reached again") && strings.Contains(line, "after=") {
				return nil
			}
		}
		return errors.New("no such line")
	})
	testkit.Outcome(t, "X2", "in %v at most %d equal lines, while a peer is unreachable and while a majority is gone; 'can be reached again' with the time it took", lasts, worst)
}
