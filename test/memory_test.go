package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// memoryGroup makes a control group (version 1) with a limit on memory, below this
// process's own, and removes it with the test. It skips the test if that is not allowed.
func memoryGroup(t testing.TB, limit int64) string {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skipf("there are no control groups here: %v", err)
	}
	dir := ""
	for line := range strings.Lines(string(own)) {
		if _, path, ok := strings.Cut(strings.TrimSpace(line), ":memory:"); ok {
			dir = filepath.Join("/sys/fs/cgroup/memory", path, fmt.Sprintf("kvorum-test-%d-%d", os.Getpid(), hosts.Add(1)))
		}
	}
	if dir == "" {
		t.Skip("the memory controller of control groups, version 1, is not here")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no control group can be made here: %v", err)
	}
	t.Cleanup(func() {
		testkit.Eventually(t, 10*time.Second, "the control group is empty", func() error { return os.Remove(dir) })
	})
	if err := os.WriteFile(filepath.Join(dir, "memory.limit_in_bytes"), []byte(fmt.Sprint(limit)), 0o600); err != nil {
		t.Skipf("a limit on memory can't be set here: %v", err)
	}
	return dir
}

// inGroup makes a command run in a control group.
func inGroup(dir string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		script := fmt.Sprintf(`echo $$ > %s/cgroup.procs && exec "$@"`, dir)
		shell := exec.Command("sh", append([]string{"-c", script, "sh", cmd.Path}, cmd.Args[1:]...)...)
		cmd.Path, cmd.Args = shell.Path, shell.Args
	}
}

// groupFigure reads a number that a control group shows.
func groupFigure(t testing.TB, dir, file string) int64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// peakResident returns the maximum of p's resident memory so far, in bytes.
func peakResident(t testing.TB, p *proc) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// putters are clients that put values of one size all the time.
type putters struct {
	clients, size int
	key           func(client, n int) string

	acknowledged, overloaded, full, other atomic.Int64

	mu     sync.Mutex
	stored map[string]*storedValue // guarded by mu
	others map[string]int          // answers that count as other, by kind; guarded by mu
}

// storedValue has the hash of a key's last acknowledged value, and the hashes of values
// that may have been stored since.
type storedValue struct {
	last  [sha256.Size]byte
	maybe [][sha256.Size]byte
}

// run puts for a while. A key belongs to one client.
func (w *putters) run(t testing.TB, p *proc, d time.Duration) {
	w.stored, w.others = make(map[string]*storedValue), make(map[string]int)
	end := time.Now().Add(d)
	var clients sync.WaitGroup
	for c := range w.clients {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: 20 * time.Second}
			defer client.CloseIdleConnections()
			for n := 0; time.Now().Before(end) && t.Context().Err() == nil; n++ {
				w.put(t, client, p, w.key(c, n), bytes.Repeat([]byte(fmt.Sprintf("%03d-%08d", c, n)), w.size/12))
			}
		})
	}
	clients.Wait()
}

func (w *putters) put(t testing.TB, client *http.Client, p *proc, key string, value []byte) {
	req, err := http.NewRequest(http.MethodPut, p.keyURL(key), bytes.NewReader(value))
	if err != nil {
		t.Error(err)
		return
	}
	resp, err := client.Do(req)
	status, code := 0, ""
	if err == nil {
		body, _ := io.ReadAll(resp.Body) // a body that is not whole has no code
		resp.Body.Close()
		var pr problem
		_ = json.Unmarshal(body, &pr)
		status, code = resp.StatusCode, pr.Code
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stored[key]
	if s == nil {
		s = new(storedValue)
		w.stored[key] = s
	}
	switch {
	case status == http.StatusCreated || status == http.StatusNoContent:
		s.last, s.maybe = sha256.Sum256(value), nil
		w.acknowledged.Add(1)
	case status == http.StatusTooManyRequests:
		w.overloaded.Add(1)
	case status == http.StatusInsufficientStorage && code == "memory_full":
		w.full.Add(1)
	default:
		s.maybe = append(s.maybe, sha256.Sum256(value))
		w.other.Add(1)
		w.others[kindOf(status, code, err)]++
	}
}

// kindOf names an answer by its status and code, or by the reason why there is none.
func kindOf(status int, code string, err error) string {
	if err == nil {
		return strings.TrimSpace(fmt.Sprintf("%d %s", status, code))
	}
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return "time-out"
	}
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err.Error()
}

// otherKinds returns the numbers of other answers, by kind.
func (w *putters) otherKinds() string {
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(w.others)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", w.others[kind], kind))
	}
	return strings.Join(kinds, ", ")
}

// check reads every key that was acknowledged.
func (w *putters) check(t testing.TB, p *proc) {
	t.Helper()
	for key, s := range w.stored {
		if s.last == ([sha256.Size]byte{}) {
			continue
		}
		resp, body, err := p.get(key, "")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("key %s was acknowledged: got %v %v", key, resp, err)
			continue
		}
		got := sha256.Sum256([]byte(body))
		found := got == s.last
		for _, m := range s.maybe {
			found = found || got == m
		}
		if !found {
			t.Errorf("key %s holds what was not acknowledged last", key)
		}
	}
}

// TestTrial_F9_SmallMemory runs one node in a control group of 128 MB, and of 200 MB, under
// 128 clients that put values of 1 MB: each on a key of its own that it overwrites, or each
// on a new key. The node refuses with 429 and 507, is never killed, loses nothing, accepts
// puts again after deletes, and starts again with its data.
func TestTrial_F9_SmallMemory(t *testing.T) {
	cases := []struct {
		name  string
		limit int64
		key   func(client, n int) string
	}{
		{"128MB/overwritten", 128 << 20, func(c, _ int) string { return fmt.Sprintf("k%d", c) }},
		{"128MB/distinct", 128 << 20, func(c, n int) string { return fmt.Sprintf("k%d-%d", c, n) }},
		{"200MB/distinct", 200 << 20, func(c, n int) string { return fmt.Sprintf("k%d-%d", c, n) }},
	}
	var lines []string
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := memoryGroup(t, c.limit)
			ps := newProcsWith(t, 1, inGroup(dir))
			p := ps[0]
			w := &putters{clients: 128, size: 1_000_000, key: c.key}
			w.run(t, p, testkit.TrialDuration(t, 3*time.Second))
			select {
			case <-p.exited:
				t.Fatalf("the node was ended: %v, with %d puts acknowledged", p.err, w.acknowledged.Load())
			default:
			}
			s, err := p.status()
			if err != nil || s.Memory == nil || s.Memory.Limit != c.limit || !strings.Contains(s.Memory.Source, "cgroup") {
				t.Fatalf("status: got %+v, %v", s.Memory, err)
			}
			peak := peakResident(t, p)
			w.check(t, p)
			if w.overloaded.Load()+w.full.Load() == 0 {
				t.Error("nothing was refused")
			}
			for kind, n := range w.others {
				// A machine that is busy with other work may be too slow for a request's time.
				if !slices.Contains([]string{"503 timeout", "504 unknown_outcome", "time-out"}, kind) {
					t.Errorf("%d puts ended with %s", n, kind)
				}
			}
			p.kill()
			p.start(t)
			ps.waitReady(t)
			w.check(t, p)
			deleteStored(t, p, w)
			testkit.Eventually(t, 20*time.Second, "puts are taken again", func() error {
				resp, err := p.put("after", strings.Repeat("v", 1<<20))
				if err == nil && resp.StatusCode != http.StatusCreated {
					err = errors.New(resp.Status)
				}
				return err
			})
			lines = append(lines, fmt.Sprintf("%s: %d acknowledged, %d answered 429, %d 507, %d else (%s); %d MB of data, %d MB resident at most, %d failed charges",
				c.name, w.acknowledged.Load(), w.overloaded.Load(), w.full.Load(), w.other.Load(), w.otherKinds(),
				s.Memory.Data/1e6, peak/1e6, groupFigure(t, dir, "memory.failcnt")))
		})
	}
	if len(lines) > 0 {
		testkit.Outcome(t, "F9", "%s; never killed, nothing lost", strings.Join(lines, "; "))
	}
}

// deleteStored deletes every key that w may have stored.
func deleteStored(t testing.TB, p *proc, w *putters) {
	t.Helper()
	for key, s := range w.stored {
		if s.last == ([sha256.Size]byte{}) && len(s.maybe) == 0 {
			continue // every put of it was refused
		}
		req, err := http.NewRequest(http.MethodDelete, p.keyURL(key), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := do(req)
		if err != nil || resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotFound {
			t.Fatalf("delete %s: %v %v", key, resp, err)
		}
	}
}
