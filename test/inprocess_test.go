package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/history"
)

// inproc is one node in this process, with all that is needed to open it again.
type inproc struct {
	cfg  cluster.Config
	peer string

	mu   sync.RWMutex
	node *cluster.Node // guarded by mu; nil while it is closed
}

// openNodes opens n nodes that form one cluster, and closes them with the test.
func openNodes(t testing.TB, n int) []*inproc {
	t.Helper()
	return openNodesWith(t, n, func(*cluster.Config) {})
}

// openNodesWith is openNodes, and calls change for each node's configuration.
func openNodesWith(t testing.TB, n int, change func(*cluster.Config)) []*inproc {
	t.Helper()
	var nodes []*inproc
	var seeds []string
	for i := range n {
		ip := loopback()
		logs := new(testkit.Log)
		nodes = append(nodes, &inproc{peer: net.JoinHostPort(ip, "7001"), cfg: cluster.Config{
			Name: fmt.Sprintf("n%d", i+1), DataDir: filepath.Join(t.TempDir(), "data"),
			AdvertisePeer: net.JoinHostPort(ip, "7001"), AdvertiseHTTP: net.JoinHostPort(ip, "8001"),
			GossipAddr: net.JoinHostPort(ip, "6001"), BootstrapExpect: n,
			SnapshotBytes: 64 << 10, // several snapshots within a test
			Logger:        slog.New(slog.NewTextHandler(logs, nil)),
		}})
		seeds = append(seeds, net.JoinHostPort(ip, "6001"))
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("log of n%d:\n%s", i+1, logs.Tail(4000))
			}
		})
	}
	for _, n := range nodes {
		n.cfg.Join = seeds
		change(&n.cfg)
		n.open(t)
		t.Cleanup(func() { n.close(t) })
	}
	for _, n := range nodes {
		testkit.Eventually(t, 30*time.Second, n.cfg.Name+" is ready", n.get().Ready)
	}
	return nodes
}

func (n *inproc) open(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", n.peer)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	cfg := n.cfg
	cfg.PeerListener = listener
	node, err := cluster.Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("open %s: %v", cfg.Name, err)
	}
	n.mu.Lock()
	n.node = node
	n.mu.Unlock()
}

func (n *inproc) close(t testing.TB) {
	t.Helper()
	n.mu.Lock()
	node := n.node
	n.node = nil
	n.mu.Unlock()
	if node == nil {
		return
	}
	if err := node.Close(); err != nil {
		t.Errorf("close %s: %v", n.cfg.Name, err)
	}
}

func (n *inproc) get() *cluster.Node {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.node
}

// client does random operations through random nodes until ctx ends. It changes its keys
// every second.
func client(ctx context.Context, h *history.History, id int, rng *rand.Rand, nodes []*inproc, keys int) {
	began := time.Now()
	for i := 0; ctx.Err() == nil; i++ {
		node := nodes[rng.IntN(len(nodes))].get()
		if node == nil {
			continue
		}
		in := history.Input{Key: fmt.Sprintf("key-%d-%d", time.Since(began)/time.Second, rng.IntN(keys))}
		var out history.Output
		call := h.Call()
		if rng.IntN(2) == 0 {
			result, err := node.Get(ctx, in.Key, kv.ReadOptions{})
			if err != nil {
				continue // a read that failed shows nothing
			}
			out.Value = string(result.Item.Value)
		} else {
			in.Kind, in.Value = history.Put, fmt.Sprintf("%d-%d", id, i)
			result, err := node.Do(ctx, kv.Put(in.Key, []byte(in.Value)))
			if err != nil && !errors.Is(err, kv.ErrUnknownOutcome) {
				continue // not done: must never be seen
			}
			if err != nil {
				out.Unknown = true
			} else {
				out.Done = !result.Results[0].Existed
			}
		}
		h.Add(id, in, out, call)
	}
}

// TestNode_Linearizable proves that reads from any node see every write that was
// acknowledged before them. Clients read and write a few keys through all nodes while
// leadership is handed over and leaders are closed and opened again. Then porcupine looks
// for an order of the operations that explains their answers.
func TestNode_Linearizable(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	nodes := openNodes(t, 3)
	h, began := history.New(""), time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	var clients sync.WaitGroup
	for id := range 6 {
		clients.Go(func() { client(ctx, h, id, rand.New(rand.NewPCG(seed, uint64(id))), nodes, 4) })
	}
	disturb(ctx, t, nodes)
	clients.Wait()

	t.Logf("%d operations", h.Len())
	if h.Len() < 500 {
		t.Errorf("only %d operations in %v: the cluster hardly served", h.Len(), time.Since(began))
	}
	report := h.Check(time.Minute)
	if len(report.Undecided) > 0 {
		t.Errorf("the history of %v is undecided", report.Undecided)
	}
	for _, failure := range report.Failures {
		var picture bytes.Buffer
		path := filepath.Join(t.ArtifactDir(), failure.Key+".html")
		if err := errors.Join(failure.Draw(&picture), os.WriteFile(path, picture.Bytes(), 0o600)); err != nil {
			t.Logf("no picture of the history: %v", err)
		}
		t.Errorf("the history of %s is not linearizable; see %s (go test -artifacts keeps it); operations, each from call to return:\n%s",
			failure.Key, path, failure.Explain)
	}
}

// disturb hands leadership over and restarts leaders in turn until ctx ends.
func disturb(ctx context.Context, t *testing.T, nodes []*inproc) {
	tick := time.NewTicker(1500 * time.Millisecond)
	defer tick.Stop()
	for round := 0; ; round++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, n := range nodes {
			if n.get().Status().Role != "leader" {
				continue
			}
			if round%2 == 0 {
				if err := n.get().TransferLeadership(ctx); err != nil {
					t.Logf("transfer: %v", err)
				}
			} else {
				n.close(t)
				n.open(t)
			}
			break
		}
	}
}

// TestNode_SnapshotCatchUp shows that a node that missed more entries than the log still
// has gets a snapshot, and then has the same state as the others.
func TestNode_SnapshotCatchUp(t *testing.T) {
	t.Parallel()
	nodes := openNodes(t, 3)
	behind := nodes[2]
	behind.close(t)
	ctx := t.Context()
	value := []byte(strings.Repeat("v", 1000))
	const keys = 3000
	for i := range keys { // more entries than the 1,024 that every log keeps
		// The same bytes under the same key may be put again after an unknown outcome.
		testkit.Eventually(t, 30*time.Second, "put", func() error {
			_, err := nodes[i%2].get().Do(ctx, kv.Put(fmt.Sprintf("key-%04d", i), value))
			return err
		})
	}
	testkit.Eventually(t, 30*time.Second, "the log is shorter than what was missed", func() error {
		for _, n := range nodes[:2] {
			if s := n.get().Stats(); s.Log.FirstIndex < 100 {
				return fmt.Errorf("log of %s begins at %d", n.cfg.Name, s.Log.FirstIndex)
			}
		}
		return nil
	})
	behind.open(t)
	testkit.Eventually(t, 30*time.Second, "the node that was away is ready", behind.get().Ready)
	view, err := behind.get().View(ctx, kv.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for item := range view.Ascend(kv.Prefix("key-")) {
		if want := fmt.Sprintf("key-%04d", got); item.Key != want || string(item.Value) != string(value) {
			t.Fatalf("item %d: got %s with %d bytes, want %s", got, item.Key, len(item.Value), want)
		}
		got++
	}
	if got != keys {
		t.Errorf("got %d keys, want %d", got, keys)
	}
}
