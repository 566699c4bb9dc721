package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// refusal runs args to their end and checks that the program refuses: a
// non-zero exit and one line on stderr that holds every one of words.
func refusal(t *testing.T, args []string, words ...string) {
	t.Helper()
	_, stderr, err := kvorum(t, args...)
	if err == nil {
		t.Fatalf("kvorum %s: exits with 0, want a refusal", strings.Join(args, " "))
	}
	line := lastLine(stderr)
	if !strings.HasPrefix(line, "kvorum: ") {
		t.Errorf("got last line %q, want one that begins with 'kvorum: '", line)
	}
	for _, word := range words {
		if !strings.Contains(line, word) {
			t.Errorf("got %q, want it to name %q", line, word)
		}
	}
}

// TestServer_Refuses shows that a server that can't start safely says why in one line,
// exits, and has changed nothing.
func TestServer_Refuses(t *testing.T) {
	ps := newProcs(t, 1)
	p := ps[0]
	// The batch of the second key shows that that of the first was synced: damage to a
	// log's last batch looks like a torn write.
	for _, key := range []string{"k", "last"} {
		if resp, err := p.put(key, "kept"); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("put: %v %v", resp, err)
		}
	}
	other := func(name string) *proc {
		return &proc{name: name, ip: loopback(), dir: filepath.Join(t.TempDir(), "data")}
	}

	t.Run("DataDirInUse", func(t *testing.T) {
		q := other("n1")
		q.dir = p.dir
		refusal(t, q.args(), p.dir, "in use", fmt.Sprint(p.cmd.Process.Pid))
	})
	t.Run("PortInUse", func(t *testing.T) {
		q := other("n2")
		args := q.args()
		for i, a := range args {
			if a == q.http() {
				args[i] = p.http()
			}
		}
		refusal(t, args, p.http(), "address already in use")
	})
	t.Run("Flags", func(t *testing.T) {
		q := other("n2")
		refusal(t, append(q.args(), "--bootstrap-expect", "3"), "bootstrap-expect", "join")
		refusal(t, append(q.args(), "--max-value-bytes", "1073741824"), "max-value-bytes", "67108864")
		refusal(t, append(q.args(), "--log-format", "xml"), "log-format", "json")
		if _, err := os.Stat(filepath.Join(q.dir, "node.json")); err == nil {
			t.Error("a refused server has made an identity")
		}
	})
	t.Run("OtherName", func(t *testing.T) {
		p.kill()
		q := other("n9")
		q.dir = p.dir
		refusal(t, q.args(), "n1", "n9", p.dir)
	})
	t.Run("FlippedBit", func(t *testing.T) {
		segments, err := filepath.Glob(filepath.Join(p.dir, "wal", "wal-*.log"))
		if err != nil || len(segments) == 0 {
			t.Fatalf("segments: %v %v", segments, err)
		}
		data, err := os.ReadFile(segments[0])
		if err != nil {
			t.Fatal(err)
		}
		at := strings.Index(string(data), "kept")
		if at < 0 {
			t.Fatal("the value is not in the log")
		}
		data[at] ^= 1
		if err := os.WriteFile(segments[0], data, 0o600); err != nil {
			t.Fatal(err)
		}
		refusal(t, p.args(), filepath.Base(segments[0]), "offset", "corrupt")
		data[at] ^= 1 // with the bit flipped back, all data is there again
		if err := os.WriteFile(segments[0], data, 0o600); err != nil {
			t.Fatal(err)
		}
		p.start(t)
		ps.waitReady(t)
		if _, body, err := p.get("k", ""); err != nil || body != "kept" {
			t.Errorf("got %q, %v, want the value that was stored", body, err)
		}
	})
	t.Run("Missing", func(t *testing.T) {
		p.kill()
		for _, name := range []string{"wal", "stable/raft.db"} {
			lost, aside := filepath.Join(p.dir, name), filepath.Join(t.TempDir(), "aside")
			if err := os.Rename(lost, aside); err != nil {
				t.Fatal(err)
			}
			refusal(t, p.args(), lost, "missing")
			if err := os.Rename(aside, lost); err != nil {
				t.Fatal(err)
			}
		}
		p.start(t)
		ps.waitReady(t)
		if _, body, err := p.get("k", ""); err != nil || body != "kept" {
			t.Errorf("got %q, %v, want the value that was stored", body, err)
		}
	})
	t.Run("OtherCluster", func(t *testing.T) {
		rs := newProcs(t, 1)
		rs[0].kill()
		args := append(rs[0].args(), "--join", net.JoinHostPort(p.ip, "6001"))
		refusal(t, args, rs[0].dir, "another cluster")
	})
}

// problem is the body of a refused request.
type problem struct {
	Code, Detail, Outcome string
	Status                int
	Retryable             bool
}

// TestNoQuorum shows that a node without a quorum refuses writes, linearizable reads and
// changes of the membership within five seconds, as not done. It still answers stale reads,
// and serves again when the others are back.
func TestNoQuorum(t *testing.T) {
	ps := newProcs(t, 3)
	if resp, err := ps[0].put("k", "v"); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("put: %v %v", resp, err)
	}
	left := ps.followers(t)[0]
	testkit.Eventually(t, 10*time.Second, "the follower has the value", func() error {
		_, body, err := left.get("k", "?consistency=stale")
		if err == nil && body != "v" {
			err = fmt.Errorf("got %q", body)
		}
		return err
	})
	for _, p := range ps {
		if p != left {
			p.kill()
		}
	}
	testkit.Eventually(t, 10*time.Second, "the survivor knows no leader", func() error {
		s, err := left.status()
		if err == nil && s.Leader != nil {
			err = fmt.Errorf("knows %s", s.Leader.ID)
		}
		return err
	})
	var asking sync.WaitGroup
	for _, method := range []string{http.MethodPut, http.MethodGet, http.MethodDelete} {
		asking.Go(func() { refusedWithoutQuorum(t, method, left.keyURL("k"), "") })
	}
	for path, body := range map[string]string{
		"join": `{"id":"n4","peer_addr":"127.0.0.1:1","http_addr":"127.0.0.1:1"}`, "leave": "", "transfer": "",
	} {
		asking.Go(func() { refusedWithoutQuorum(t, http.MethodPost, "http://"+left.http()+"/admin/"+path, body) })
	}
	asking.Wait()
	if resp, body, err := left.get("k", "?consistency=stale"); err != nil || body != "v" {
		t.Errorf("stale read without quorum: got %v %q %v", resp, body, err)
	}
	for _, p := range ps {
		if p != left {
			p.start(t)
		}
	}
	ps.waitReady(t)
	if _, body, err := left.get("k", ""); err != nil || body != "v" {
		t.Errorf("after quorum is back: got %q, %v", body, err)
	}
}

// refusedWithoutQuorum sends a request to a node that has no quorum, and checks
// that it is refused in time, as not done.
func refusedWithoutQuorum(t *testing.T, method, url, body string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	began := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Errorf("%s %s: %v", method, url, err)
		return
	}
	answer, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	var p problem
	if err := json.Unmarshal(answer, &p); err != nil {
		t.Errorf("%s %s: body %q is no problem: %v", method, url, answer, err)
	}
	if resp.StatusCode != http.StatusServiceUnavailable || p.Outcome != "not_done" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%s %s without quorum: got %s %s, want 503, not done, with Retry-After", method, url, resp.Status, answer)
	}
	if want := "no leader is known within the request's time"; p.Detail != want {
		t.Errorf("%s %s without quorum: got detail %q, want %q", method, url, p.Detail, want)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("%s %s without quorum took %v, want at most 5 s", method, url, took)
	}
}
