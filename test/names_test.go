package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// underHosts returns a command line that runs a server which looks names up only in the
// file hosts, which may change. It needs the right to mount.
func underHosts(t *testing.T, hosts string) []string {
	t.Helper()
	resolver := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolver, []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`mount --bind %q /etc/hosts && mount --bind %q /etc/resolv.conf && exec "$0" "$@"`, hosts, resolver)
	under := []string{"unshare", "--mount", "sh", "-c", script}
	if out, err := exec.Command(under[0], append(under[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no mount namespace can be made here (%v: %s)", err, strings.TrimSpace(string(out)))
	}
	return under
}

// logs waits until a line of the node's log has all words.
func (p *proc) waitLog(t *testing.T, limit time.Duration, words ...string) {
	t.Helper()
	testkit.Eventually(t, limit, fmt.Sprintf("%s logs %q", p.name, words), func() error {
	lines:
		for line := range strings.Lines(p.logs.String()) {
			for _, word := range words {
				if !strings.Contains(line, word) {
					continue lines
				}
			}
			return nil
		}
		return errors.New("no such line")
	})
}

// TestTrial_F5_AdvertisedGossipName starts a node whose advertised gossip address does not
// resolve. The node serves and says so, and another one finds it by that name as soon as
// the name exists.
func TestTrial_F5_AdvertisedGossipName(t *testing.T) {
	t.Parallel()
	hosts := filepath.Join(t.TempDir(), "hosts")
	write := func(lines string) {
		t.Helper()
		if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"+lines), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	under := underHosts(t, hosts)
	const name = "n1.kvorum.test:6001"
	a := newLone(t, "n1", "--bootstrap-expect", "1", "--advertise-gossip-addr", name, "--advertise-peer-addr", "n1.kvorum.test:7001")
	b := newLone(t, "n2", "--join", name)
	a.under, b.under = under, under
	a.start(t)
	testkit.Eventually(t, 20*time.Second, "n1 is ready", func() error {
		select {
		case <-a.exited:
			t.Fatalf("n1 ended: %v\n%s", a.err, a.logs)
		default:
		}
		resp, err := http.Get("http://" + a.http() + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", body)
		}
		return nil
	})
	a.waitLog(t, 10*time.Second, "advertised gossip address not found", name, net.JoinHostPort(a.ip, "6001"))
	b.start(t)
	b.waitLog(t, 20*time.Second, "msg=waiting", name+": its name does not resolve")
	began := time.Now()
	write(a.ip + " n1.kvorum.test\n")
	procs{a, b}.waitReady(t)
	took := time.Since(began)
	a.waitLog(t, 30*time.Second, "advertised gossip address found", name, "after=")
	testkit.Outcome(t, "F5", "a node whose --advertise-gossip-addr does not resolve serves and says so; another one joins it by that name %.0f s after it resolves", took.Seconds())
}
