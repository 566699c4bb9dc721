package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
)

// board is a Discovery in which all nodes of a test see each other.
type board struct {
	mu      sync.Mutex
	members map[*notice]Announcement // guarded by mu
}

type notice struct {
	board   *board
	changed chan struct{} // one slot
}

func (b *board) update(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	for n := range b.members {
		select {
		case n.changed <- struct{}{}:
		default:
		}
	}
}

func (b *board) post(self Announcement) (Discovery, error) {
	n := &notice{board: b, changed: make(chan struct{}, 1)}
	b.update(func() { b.members[n] = self })
	return n, nil
}

func (n *notice) Members() map[raft.ServerID]Announcement {
	n.board.mu.Lock()
	defer n.board.mu.Unlock()
	seen := make(map[raft.ServerID]Announcement)
	for _, a := range n.board.members {
		seen[raft.ServerID(a.ID)] = a
	}
	return seen
}

func (n *notice) Changed() <-chan struct{} { return n.changed }
func (n *notice) Join([]string) error      { return nil }
func (n *notice) Addrs() []string          { return nil }
func (n *notice) Addr() string             { return "" }

func (n *notice) SetCluster(id string) {
	n.board.update(func() {
		a := n.board.members[n]
		a.Cluster = id
		n.board.members[n] = a
	})
}

func (n *notice) Close() error {
	n.board.update(func() { delete(n.board.members, n) })
	return nil
}

// openCluster opens n nodes that form a cluster, waits until they serve, and
// closes them with the test.
func openCluster(t *testing.T, n int, change func(*Config)) []*Node {
	t.Helper()
	return openNodes(t, n, func(cfg *Config) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg.PeerListener, cfg.AdvertisePeer = listener, listener.Addr().String()
		cfg.DataDir = filepath.Join(t.TempDir(), "data")
		if change != nil {
			change(cfg)
		}
	})
}

// openNodes is openCluster for nodes on whatever finish gives them to stand on.
func openNodes(t *testing.T, n int, finish func(*Config)) []*Node {
	t.Helper()
	b := &board{members: make(map[*notice]Announcement)}
	var nodes []*Node
	for i := range n {
		cfg := Config{
			Name: fmt.Sprintf("n%d", i+1), AdvertiseHTTP: "127.0.0.1:1", GossipAddr: "127.0.0.1:1",
			Join: []string{"127.0.0.1:1"}, BootstrapExpect: n, Logger: slog.New(slog.DiscardHandler),
			Seams: Seams{Discover: b.post},
		}
		finish(&cfg)
		node, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := node.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		nodes = append(nodes, node)
	}
	for _, node := range nodes {
		eventually(t, node.cfg.Name+" is ready", node.Ready)
	}
	return nodes
}

// openMoved opens a node again, or a copy of it, at another address than before, and
// closes it with the test.
func openMoved(t *testing.T, cfg Config) *Node {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.PeerListener, cfg.AdvertisePeer = listener, listener.Addr().String()
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// eventually polls until check returns nil, and fails the test after 20 s.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, what, check)
}

// mustPut puts a value until that is done: what became of a write is unknown when
// leadership changes, which it does on a machine that is busy. Doing it twice
// changes nothing.
func mustPut(t *testing.T, n *Node, key, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := n.Do(ctx, kv.Put(key, []byte(value)))
	for errors.Is(err, kv.ErrUnknownOutcome) && ctx.Err() == nil {
		_, err = n.Do(ctx, kv.Put(key, []byte(value)))
	}
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// leaderOf returns the node that leads.
func leaderOf(t *testing.T, nodes []*Node) (leader *Node) {
	t.Helper()
	eventually(t, "there is a leader", func() error {
		for _, n := range nodes {
			if r, err := n.joined(); err == nil && r.Leading() {
				leader = n
				return nil
			}
		}
		return kv.ErrNoLeader
	})
	return leader
}

// TestNode_Transfer hands leadership to each node in turn, from any node, while
// somebody writes: every write is done, and none of it is lost.
func TestNode_Transfer(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 3, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stop := make(chan struct{})
	var writer sync.WaitGroup
	written := 0
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_, err := nodes[i%3].Do(ctx, kv.Put(fmt.Sprint("k", i), nil))
			for errors.Is(err, kv.ErrUnknownOutcome) { // the same again changes nothing
				_, err = nodes[i%3].Do(ctx, kv.Put(fmt.Sprint("k", i), nil))
			}
			if err != nil {
				t.Errorf("put %d: %v", i, err)
				return
			}
			written++
		}
	})
	for i := range 12 {
		target := nodes[i%3].cfg.Name
		if err := nodes[(i+1)%3].Transfer(ctx, target); err != nil {
			t.Errorf("transfer %d to %s: %v", i, target, err)
		}
		eventually(t, target+" leads", func() error {
			if s := nodes[i%3].Status(); s.Role != "leader" {
				return errors.New("it is a " + s.Role)
			}
			return nil
		})
		if err := nodes[i%3].Transfer(ctx, target); err != nil {
			t.Errorf("to the leader itself: %v", err)
		}
	}
	close(stop)
	writer.Wait()
	if err := nodes[0].Transfer(ctx, ""); err != nil {
		t.Errorf("to anybody: %v", err)
	}
	if err := nodes[0].Transfer(ctx, "nobody"); !errors.Is(err, kv.ErrUnknownNode) {
		t.Errorf("to an unknown node: got %v, want ErrUnknownNode", err)
	}
	view, err := nodes[1].View(ctx, kv.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for range view.Range("k", "") {
		found++
	}
	if found != written || written == 0 {
		t.Errorf("found %d keys of %d", found, written)
	}
}

// A transfer to a node that does not answer leaves the leader as it was, and
// writes go on.
func TestNode_TransferFails(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 3, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	leader := leaderOf(t, nodes)
	var down *Node
	for _, n := range nodes {
		if n != leader {
			down = n
		}
	}
	if err := down.Close(); err != nil {
		t.Fatal(err)
	}
	if err := leader.Transfer(ctx, down.cfg.Name); !errors.Is(err, kv.ErrNoSuccessor) {
		t.Errorf("got %v, want ErrNoSuccessor", err)
	}
	mustPut(t, leader, "k", "")
	if leaderOf(t, nodes) != leader {
		t.Error("leadership has moved")
	}
	alone := openCluster(t, 1, nil)[0]
	if err := alone.Transfer(ctx, ""); !errors.Is(err, kv.ErrNoSuccessor) {
		t.Errorf("alone: got %v, want ErrNoSuccessor", err)
	}
}
