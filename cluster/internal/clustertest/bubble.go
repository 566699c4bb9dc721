package clustertest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// bubbleDrain is longer than any timeout of a node: a goroutine of a node
// that is left afterwards has leaked, and fails the test.
const bubbleDrain = 2 * time.Minute

// checkpointDone is the time in which a leader makes the checkpoint that follows the first
// write, and all nodes compare it.
const checkpointDone = 3 * time.Second

// Bubble is a cluster inside a synctest bubble. Time passes only while all
// of it waits, so that a test may say what happens within a lease or before a tick.
type Bubble struct {
	*Pipes
	Nodes []*Node
	Disks map[*Node]*HangingFS
}

// OpenBubble is Open for the inside of a bubble. Networks and disks take
// no time. Commit is slow and nothing else tells it, so that followers learn late what is
// committed, and the lease is long: a test's acts fit into both.
func OpenBubble(t *testing.T, nodes int, change func(*cluster.Config)) *Bubble {
	t.Helper()
	t.Cleanup(func() { time.Sleep(bubbleDrain) })
	b := &Bubble{Pipes: NewPipes(), Disks: make(map[*Node]*HangingFS)}
	var disks []*HangingFS
	b.Nodes = openOn(t, nodes, func(cfg *cluster.Config) {
		disk := &HangingFS{FS: crashfs.New()}
		disks = append(disks, disk)
		inMemory(cfg, b.Pipes)
		cfg.FS, cfg.CheckpointInterval = disk, time.Hour // no entries but the test's
		cfg.Seams.Unhurried = true
		cfg.Timing = cluster.Timing{Heartbeat: time.Second, Election: time.Second, Lease: time.Second, Commit: time.Second}
		if change != nil {
			change(cfg)
		}
	})
	for i, n := range b.Nodes {
		b.Disks[n] = disks[i]
	}
	t.Cleanup(b.LetAll)
	MustPut(t, b.Nodes[0], "first", "")
	time.Sleep(checkpointDone)
	return b
}

// InBubble runs a sub-test in a bubble.
func InBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// inMemory puts a node on a network of pipes, with nothing of the machine below.
func inMemory(cfg *cluster.Config, network *Pipes) {
	cfg.DataDir, cfg.AdvertisePeer = "data", cfg.Name+":7001"
	cfg.PeerListener = network.Listen(cfg.AdvertisePeer)
	cfg.Seams.Dial = network.DialFrom(cfg.Name)
	cfg.Seams.OpenStable = StableInMemory
	cfg.Seams.LockDir = func(string) (io.Closer, error) { return io.NopCloser(nil), nil }
}

// StableInMemory is a value for Seams.OpenStable: a new store in memory.
func StableInMemory(string) (raft.StableStore, io.Closer, error) {
	return raft.NewInmemStore(), io.NopCloser(nil), nil
}

// StableKept returns a value for Seams.OpenStable: a store in memory, the same each time, and
// an empty file in its place, without which a second start would be refused.
func StableKept(files wal.FS) func(string) (raft.StableStore, io.Closer, error) {
	stable := raft.NewInmemStore()
	return func(path string) (raft.StableStore, io.Closer, error) {
		err := errors.Join(wal.MakeDir(files, filepath.Dir(path)), wal.WriteFileAtomic(files, path, nil))
		return stable, io.NopCloser(nil), err
	}
}

// Joiner opens a node that is in no cluster and that no gossip tells of, and
// closes it with the test.
func (b *Bubble) Joiner(t testing.TB, name string, change func(*cluster.Config)) *Node {
	t.Helper()
	cfg := cluster.Config{
		Name: name, AdvertiseHTTP: "127.0.0.1:1", GossipAddr: "127.0.0.1:1", FS: crashfs.New(), CheckpointInterval: time.Hour,
		Logger: slog.New(slog.DiscardHandler),
	}
	cfg.Seams.Discover = NewBoard().Post
	inMemory(&cfg, b.Pipes)
	cfg.Timing = b.Nodes[0].Config.Timing
	if change != nil {
		change(&cfg)
	}
	n, err := Try(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// HoldBetween holds both ways between one node and the others.
func (b *Bubble) HoldBetween(n *Node, others ...*Node) {
	for _, other := range others {
		b.Hold(n.Config.Name, other.Config.Name)
		b.Hold(other.Config.Name, n.Config.Name)
	}
}

// LeaderAndOthers returns the node that leads, and the two that don't.
func (b *Bubble) LeaderAndOthers(t testing.TB) (leader, one, two *Node) {
	t.Helper()
	leader = Leader(t, b.Nodes)
	others := Others(b.Nodes, leader)
	return leader, others[0], others[1]
}

// GoGet reads through a node in the background.
func GoGet(t testing.TB, n *Node, key string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	got := make(chan string, 1)
	go func() {
		result, err := n.Get(ctx, key, kv.ReadOptions{})
		switch {
		case err != nil:
			got <- "error: " + err.Error()
		case !result.Found:
			got <- "nothing"
		default:
			got <- string(result.Item.Value)
		}
	}()
	return got
}

// GoPut puts a key through a node in the background, and drops the result.
func GoPut(t testing.TB, n *Node, key string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = n.Do(ctx, kv.Put(key, nil))
	}()
	t.Cleanup(func() { cancel(); <-ended })
}
