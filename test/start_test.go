package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
)

const (
	// loadedKeys is the number of keys that the node of TestTrial_B5_AliveWhileLoading loads.
	loadedKeys = 600_000
	// loadAttempts is the maximum number of starts until requests and a signal have arrived
	// during the load.
	loadAttempts = 5
)

// TestTrial_B5_AliveWhileLoading starts a node with many keys. It is alive from its first
// answer on, shows the progress of the load, and accepts no request meanwhile. A SIGTERM
// ends the load at once, although a client's connection is silent, and damages nothing.
func TestTrial_B5_AliveWhileLoading(t *testing.T) {
	p := &proc{name: "n1", ip: loopback(), dir: filepath.Join(t.TempDir(), "data"), logs: new(testkit.Log)}
	mustBinary(t) // the build is not part of a start
	revision := fillNode(t, p)
	var first sighting
	var stop time.Duration
	for attempt := 1; ; attempt++ {
		first = p.startLoading(t, syscall.SIGTERM)
		began := time.Now()
		if err := p.wait(t, loadStop); err != nil {
			t.Fatalf("a load that was told to stop ended with %v, want exit code 0; log:\n%s", err, p.logs.Tail(4000))
		}
		stop = time.Since(began)
		if !strings.Contains(p.logs.String(), "node runs") {
			break
		}
		if attempt == loadAttempts { // otherwise the load may have ended just before the signal
			t.Fatalf("no load was stopped, the node went on to run each time; log:\n%s", p.logs.Tail(4000))
		}
	}
	p.start(t)
	t.Cleanup(p.kill)
	procs{p}.waitReady(t)
	s, err := p.status()
	if err != nil {
		t.Fatal(err)
	}
	if s.Revision != revision || s.Loading != nil {
		t.Errorf("after loading: revision %d, want %d; still loading: %v", s.Revision, revision, s.Loading)
	}
	testkit.Outcome(t, "B5", "%d keys to load: /livez answers %.0f ms after the start of the process, /readyz is 503 %q, SIGTERM ends the load in %.0f ms",
		loadedKeys, milliseconds(first.live), first.detail, milliseconds(stop))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// fillNode makes p's data directory, with most keys in a snapshot, and returns its
// revision.
func fillNode(t *testing.T, p *proc) uint64 {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(p.ip, "7001"))
	if err != nil {
		t.Fatal(err)
	}
	node, err := cluster.Open(t.Context(), cluster.Config{
		Name: p.name, DataDir: p.dir, PeerListener: listener, BootstrapExpect: 1, SnapshotBytes: 1 << 30, // no snapshot except the one below
		AdvertisePeer: net.JoinHostPort(p.ip, "7001"), AdvertiseHTTP: p.http(), GossipAddr: net.JoinHostPort(p.ip, "6001"),
	})
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, time.Minute, "the node to fill is ready", node.Ready)
	fill(t, node, 1, loadedKeys*4/5)
	if _, err := node.Snapshot(t.Context(), ""); err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	fill(t, node, loadedKeys*4/5+1, loadedKeys)
	revision := node.Status().Revision
	if err := node.Close(); err != nil || t.Failed() {
		t.Fatalf("close: %v", err)
	}
	return revision
}

// fill puts the keys of these numbers.
func fill(t *testing.T, node *cluster.Node, first, last int64) {
	t.Helper()
	var writers sync.WaitGroup
	var next atomic.Int64
	next.Store(first - 1)
	for range 1024 {
		writers.Go(func() {
			for i := next.Add(1); i <= last; i = next.Add(1) {
				if _, err := node.Do(context.Background(), kv.Put(fmt.Sprintf("key/%012d", i), make([]byte, 100))); err != nil {
					t.Errorf("put: %v", err)
					return
				}
			}
		})
	}
	writers.Wait()
}

// loadStop is the maximum time until a load ends after the signal. It takes half a second,
// for silent clients; net/http alone would wait 5 s for them.
const loadStop = 3 * time.Second

// sighting is the result of a client's requests to a node that is loading.
type sighting struct {
	live   time.Duration // from the start of the process to the first answer
	detail string        // of /readyz
}

// startLoading starts the server on one processor until a request has arrived while it was
// loading, checks its answers, and then sends it a signal.
func (p *proc) startLoading(t *testing.T, signal os.Signal) sighting {
	t.Helper()
	for range loadAttempts {
		p.logs = new(testkit.Log) // an attempt that was too fast has written to the old ones
		began := time.Now()
		p.prepare = func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "GOMAXPROCS=1") }
		p.start(t)
		s := sighting{live: p.firstAnswer(t, began)}
		silent, err := net.Dial("tcp", p.http())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { silent.Close() })
		if s.detail = p.checkLoading(t); s.detail == "" {
			p.kill() // it was too fast
			continue
		}
		if err := p.cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Fatalf("in %d starts no request met the node loading; log:\n%s", loadAttempts, p.logs.Tail(4000))
	return sighting{}
}

// firstAnswer waits until /livez answers, which must be with 200 and at once.
func (p *proc) firstAnswer(t *testing.T, began time.Time) time.Duration {
	t.Helper()
	for {
		resp, err := http.Get("http://" + p.http() + "/livez")
		if err != nil && time.Since(began) < time.Minute {
			continue // it does not listen yet
		}
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("/livez: got %s, want 200", resp.Status)
		}
		return time.Since(began)
	}
}

// checkLoading asks a node that may be loading, and returns the detail of /readyz, "" if
// the node is not loading any more.
func (p *proc) checkLoading(t *testing.T) (detail string) {
	t.Helper()
	type problem struct{ Code, Detail, Outcome string }
	ask := func(method, path string) (*http.Response, problem) {
		req, err := http.NewRequest(method, "http://"+p.http()+path, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var answer problem
		_ = json.Unmarshal(body, &answer) // other answers are not about loading
		return resp, answer
	}
	for {
		_, write := ask(http.MethodPut, "/kv/new")
		_, read := ask(http.MethodGet, "/kv/new")
		s, err := p.status()
		if err != nil {
			t.Fatal(err)
		}
		resp, ready := ask(http.MethodGet, "/readyz")
		if ready.Code != "loading" || s.Role != "loading" {
			return ""
		}
		if s.Loading == nil || s.Loading.Phase == "" || !strings.Contains(ready.Detail, "%") {
			continue // the first phase has not begun
		}
		if write.Code != "loading" || write.Outcome != "not_done" || read.Code != "loading" || resp.Header.Get("Retry-After") == "" {
			t.Errorf("while it loads: a write got %+v, a read %+v, /readyz has the header %v", write, read, resp.Header)
		}
		return ready.Detail
	}
}
