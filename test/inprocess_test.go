package test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/kvorum/kvorum/cluster"
)

// inproc is one node in this process, and what it takes to open it again.
type inproc struct {
	cfg  cluster.Config
	peer string

	mu   sync.RWMutex
	node *cluster.Node // guarded by mu; nil while it is closed
}

// openNodes opens n nodes that form one cluster, and closes them with the test.
func openNodes(t testing.TB, n int) []*inproc {
	t.Helper()
	var nodes []*inproc
	var seeds []string
	for i := range n {
		ip := loopback()
		logs := new(syncBuffer)
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
				t.Logf("log of n%d:\n%s", i+1, logs.tail(4000))
			}
		})
	}
	for _, n := range nodes {
		n.cfg.Join = seeds
		n.open(t)
		t.Cleanup(func() { n.close(t) })
	}
	for _, n := range nodes {
		poll(t, 30*time.Second, n.cfg.Name+" is ready", n.get().Ready)
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

// register is the model of one key: its value, "" for none. Writes whose
// outcome is unknown may happen at any later time, or never.
type registerInput struct {
	key, write string
	read       bool
}

var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(registerInput).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		in := input.(registerInput)
		if in.read {
			return output == state, state
		}
		return true, in.write
	},
	DescribeOperation: func(input, output any) string {
		in := input.(registerInput)
		if in.read {
			return fmt.Sprintf("get %s = %q", in.key, output)
		}
		return fmt.Sprintf("put %s %q", in.key, in.write)
	},
}

// recorder collects the operations of several clients.
type recorder struct {
	start time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation // guarded by mu
}

func (r *recorder) now() int64 { return int64(time.Since(r.start)) }

func (r *recorder) add(op porcupine.Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, op)
}

// client does random operations through random nodes until ctx ends.
func (r *recorder) client(ctx context.Context, id int, rng *rand.Rand, nodes []*inproc, keys int) {
	for i := 0; ctx.Err() == nil; i++ {
		node := nodes[rng.IntN(len(nodes))].get()
		if node == nil {
			continue
		}
		in := registerInput{key: fmt.Sprintf("key-%d", rng.IntN(keys)), read: rng.IntN(2) == 0}
		op := porcupine.Operation{ClientId: id, Call: r.now(), Return: math.MaxInt64}
		if in.read {
			result, err := node.Get(ctx, in.key, cluster.ReadOptions{})
			if err != nil {
				continue // a read that failed says nothing
			}
			op.Output, op.Return = string(result.Item.Value), r.now()
		} else {
			in.write = fmt.Sprintf("%d-%d", id, i)
			_, err := node.Put(ctx, in.key, []byte(in.write), cluster.Condition{})
			switch {
			case err == nil:
				op.Return = r.now()
			case !errors.Is(err, cluster.ErrUnknownOutcome):
				continue // not done: must never be seen
			}
		}
		op.Input = in
		r.add(op)
	}
}

// TestNode_Linearizable proves that reads from any node see every write that
// was acknowledged before them: clients read and write a few keys through all
// nodes while leadership is handed over and leaders are closed and opened
// again, and porcupine looks for an order of the operations that explains them.
func TestNode_Linearizable(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	nodes := openNodes(t, 3)
	rec := &recorder{start: time.Now()}
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	var clients sync.WaitGroup
	for id := range 6 {
		clients.Go(func() { rec.client(ctx, id, rand.New(rand.NewPCG(seed, uint64(id))), nodes, 4) })
	}
	disturb(ctx, t, nodes)
	clients.Wait()

	t.Logf("%d operations", len(rec.ops))
	if len(rec.ops) < 500 {
		t.Errorf("only %d operations in %v: the cluster hardly served", len(rec.ops), time.Since(rec.start))
	}
	if result, info := porcupine.CheckOperationsVerbose(register, rec.ops, time.Minute); result != porcupine.Ok {
		path := filepath.Join(t.ArtifactDir(), "history.html")
		if err := porcupine.VisualizePath(register, info, path); err != nil {
			t.Logf("no picture of the history: %v", err)
		}
		t.Fatalf("the history is %s; see %s (go test -artifacts keeps it)", result, path)
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

// TestRegisterModel shows that the checker catches what it is there for: a read
// that misses an acknowledged write, and one that sees a value come back.
func TestRegisterModel(t *testing.T) {
	put := func(v string, call, ret int64) porcupine.Operation {
		return porcupine.Operation{Input: registerInput{key: "k", write: v}, Call: call, Return: ret}
	}
	get := func(v string, call, ret int64) porcupine.Operation {
		return porcupine.Operation{Input: registerInput{key: "k", read: true}, Output: v, Call: call, Return: ret}
	}
	for name, tt := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"OK":             {[]porcupine.Operation{put("a", 0, 1), get("a", 2, 3)}, true},
		"Stale":          {[]porcupine.Operation{put("a", 0, 1), put("b", 2, 3), get("a", 4, 5)}, false},
		"Lost":           {[]porcupine.Operation{put("a", 0, 1), get("", 2, 3)}, false},
		"UnknownSeen":    {[]porcupine.Operation{put("a", 0, math.MaxInt64), get("a", 2, 3)}, true},
		"UnknownNotSeen": {[]porcupine.Operation{put("a", 0, math.MaxInt64), get("", 2, 3)}, true},
		"ComesBack":      {[]porcupine.Operation{put("a", 0, 1), put("b", 2, math.MaxInt64), get("b", 3, 4), get("a", 5, 6)}, false},
	} {
		if got := porcupine.CheckOperations(register, tt.history); got != tt.want {
			t.Errorf("%s: got linearizable %t, want %t", name, got, tt.want)
		}
	}
}

// TestNode_SnapshotCatchUp shows that a node which missed more than the log
// still holds gets a snapshot, and then the same state as the others.
func TestNode_SnapshotCatchUp(t *testing.T) {
	nodes := openNodes(t, 3)
	behind := nodes[2]
	behind.close(t)
	ctx := t.Context()
	value := []byte(strings.Repeat("v", 1000))
	const keys = 3000
	for i := range keys { // more entries than the 1,024 that every log keeps
		// The same bytes under the same key may be put again when the outcome of
		// the first time is unknown.
		poll(t, 30*time.Second, "put", func() error {
			_, err := nodes[i%2].get().Put(ctx, fmt.Sprintf("key-%04d", i), value, cluster.Condition{})
			return err
		})
	}
	poll(t, 30*time.Second, "the log is shorter than what was missed", func() error {
		for _, n := range nodes[:2] {
			if s := n.get().Stats(); s.Log.FirstIndex < 100 {
				return fmt.Errorf("log of %s begins at %d", n.cfg.Name, s.Log.FirstIndex)
			}
		}
		return nil
	})
	behind.open(t)
	poll(t, 30*time.Second, "the node that was away is ready", behind.get().Ready)
	list, err := behind.get().List(ctx, cluster.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for item := range list.All("key-", "") {
		if want := fmt.Sprintf("key-%04d", got); item.Key != want || string(item.Value) != string(value) {
			t.Fatalf("item %d: got %s with %d bytes, want %s", got, item.Key, len(item.Value), want)
		}
		got++
	}
	if got != keys {
		t.Errorf("got %d keys, want %d", got, keys)
	}
}
