//go:build linux

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/test/chaos/lab"
)

// kinds are the kinds of Lab in which a test runs.
var kinds = []string{lab.KindNamespaces, lab.KindProxy}

// inEachKind runs test in each kind of Lab that is possible here.
func inEachKind(t *testing.T, cfg lab.Config, test func(t *testing.T, l lab.Lab)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			cfg.Kind = kind
			test(t, mustOpen(t, cfg))
		})
	}
}

// mustOpen opens a Lab of helpers, unless cfg has another program, and closes it with
// the test. At the end nothing that it made may be left.
func mustOpen(t testing.TB, cfg lab.Config) lab.Lab {
	t.Helper()
	if cfg.Kind == lab.KindNamespaces && os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if cfg.Program.Path == "" {
		cfg.Program = helperProgram(t)
	}
	cfg.Initial = max(cfg.Initial, 1)
	cfg.Dir = t.TempDir()
	l, err := lab.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if t.Failed() {
			for _, h := range l.Hosts() {
				t.Logf("log of %s:\n%s", h.Name(), h.Log(4000))
			}
		}
		testkit.Eventually(t, 10*time.Second, "nothing is left", func() error {
			if left := machine(t, os.Getpid(), cfg.Dir); left != "" {
				return errors.New(left)
			}
			return nil
		})
	})
	return l
}

// machine describes the things that a Lab of a process could leave on this machine, with
// its files in dir. It does not contain changes by other programs.
func machine(t testing.TB, pid int, dir string) string {
	t.Helper()
	marks := []string{fmt.Sprintf("kvchaos%d", pid), fmt.Sprintf("kvchaos-%d", pid), dir}
	var all strings.Builder
	for _, line := range []string{
		"ip netns", "ip -o link", "ip -4 -o addr", "ip route", "iptables -S", "nft list ruleset", "losetup -a",
		"cat /proc/self/mounts", "find /sys/fs/cgroup -name kvchaos*", "pgrep -a -f " + helperArgument, fmt.Sprintf("pgrep -a -P %d -x strace", pid),
	} {
		out, _ := exec.Command(strings.Fields(line)[0], strings.Fields(line)[1:]...).Output() // some machines have no such command
		for l := range strings.Lines(string(out)) {
			marked := slices.ContainsFunc(marks, func(m string) bool { return strings.Contains(l, m) })
			if marked || strings.HasSuffix(line, "strace") {
				fmt.Fprintf(&all, "$ %s\n%s", line, l)
			}
		}
	}
	return all.String()
}

// mustStart starts hosts and waits until they serve.
func mustStart(t testing.TB, hosts ...lab.Host) {
	t.Helper()
	for _, h := range hosts {
		if err := h.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range hosts {
		testkit.Eventually(t, 20*time.Second, h.Name()+" serves", func() error { _, err := tell(t, h, "/now"); return err })
	}
}

// tell makes the helper on a host carry out a command, and returns its answer. The
// arguments are names and values.
func tell(t testing.TB, h lab.Host, path string, args ...any) (string, error) {
	t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(args); i += 2 {
		form.Set(fmt.Sprint(args[i]), fmt.Sprint(args[i+1]))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL()+path+"?"+form.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true // the next request may be to another process
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(body)))
	}
	return string(body), err
}

// mustTell is tell for a command that must succeed, and returns a number.
func mustTell(t testing.TB, h lab.Host, path string, args ...any) int {
	t.Helper()
	said, err := tell(t, h, path, args...)
	if err != nil {
		t.Fatalf("%s on %s: %v", path, h.Name(), err)
	}
	n, err := strconv.Atoi(said)
	if err != nil {
		t.Fatalf("%s on %s: %v", path, h.Name(), err)
	}
	return n
}

// at returns the address at which peers reach a host.
func at(t testing.TB, h lab.Host) string {
	t.Helper()
	addr, err := tell(t, h, "/at")
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
