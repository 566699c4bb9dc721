package test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// The ports that freeBase looks at begin with firstBase, are baseStep apart, and end before
// endBase.
const (
	firstBase = 18001
	baseStep  = 10
	endBase   = 30000
)

// bases counts the ports that freeBase has looked at.
var bases atomic.Int32

// freeBase returns a port p such that p to p+2, and those 1,000 and 2,000
// below, are free on 127.0.0.1. It returns each port once.
func freeBase(t *testing.T) int {
	t.Helper()
	for base := nextBase(); base < endBase; base = nextBase() {
		free := true
		for i := 0; i < 9 && free; i++ {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(base+i%3-i/3*1000)))
			if free = err == nil; free {
				l.Close()
			}
		}
		if free {
			return base
		}
	}
	t.Skip("SKIPPED: no range of free ports on 127.0.0.1")
	return 0
}

func nextBase() int { return firstBase + baseStep*int(bases.Add(1)-1) }

// startDemo runs the demo until it says ready, and returns its output up to then.
func startDemo(t *testing.T, base int, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(mustBinary(t), "demo", "--http-base-port", strconv.Itoa(base), "--data-dir", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs := new(testkit.Log)
	cmd.Stderr = errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	ready := make(chan string, 1)
	go func() {
		var printed strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			printed.WriteString(lines.Text() + "\n")
			if strings.TrimSpace(lines.Text()) == "ready" {
				ready <- printed.String()
			}
		}
	}()
	select {
	case printed := <-ready:
		return cmd, printed
	case <-time.After(60 * time.Second):
		t.Fatalf("the demo is not ready after a minute; stderr:\n%s", errs)
		return nil, ""
	}
}

// waitGone waits until nothing serves HTTP on the demo's ports any more, and no
// process has a data directory below dir open.
func waitGone(t *testing.T, base int, dir string) {
	t.Helper()
	for i := range 3 {
		testkit.Eventually(t, 20*time.Second, fmt.Sprintf("node %d has ended", i+1), func() error {
			resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/livez", base+i))
			if err == nil {
				resp.Body.Close()
				return fmt.Errorf("still answers")
			}
			return unlocked(filepath.Join(dir, fmt.Sprintf("n%d", i+1), "LOCK"))
		})
	}
}

// unlocked returns an error while a process holds the lock file at path.
func unlocked(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
}

// TestDemo shows the first command of the README: it prints the addresses and ready, every
// node serves, and its nodes end with it, whether it is interrupted or killed.
func TestDemo(t *testing.T) {
	t.Parallel()
	for _, end := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(end.String(), func(t *testing.T) {
			base, dir := freeBase(t), t.TempDir()
			cmd, printed := startDemo(t, base, dir)
			for i := range 3 {
				addr := fmt.Sprintf("127.0.0.1:%d", base+i)
				if !strings.Contains(printed, addr) {
					t.Errorf("got\n%swithout the address %s", printed, addr)
				}
				resp, err := http.Get("http://" + addr + "/readyz")
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("%s is not ready: %s", addr, resp.Status)
				}
			}
			if !strings.Contains(printed, "curl ") {
				t.Errorf("got\n%swithout a curl line to try", printed)
			}
			if err := cmd.Process.Signal(end); err != nil {
				t.Fatal(err)
			}
			waitGone(t, base, dir)
		})
	}
}
