package cluster

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// bubbleDrain is longer than any timeout of a node: what is left of one after it
// has leaked, and fails the test.
const bubbleDrain = 2 * time.Minute

// bubble is a cluster inside a synctest bubble, where time passes only while all
// of it waits, so that a test may say what happens within a lease or before a tick.
type bubble struct {
	*pipes
	nodes []*Node
	disks map[*Node]*hangingFS
}

// openBubble is openCluster for the inside of a bubble. Networks and disks take
// no time. Commit is slow and nothing else tells it, so that followers learn late what is committed, and
// the lease long: what a test does fits into both.
func openBubble(t *testing.T, n int, change func(*Config)) *bubble {
	t.Helper()
	t.Cleanup(func() { time.Sleep(bubbleDrain) })
	b := &bubble{pipes: newPipes(), disks: make(map[*Node]*hangingFS)}
	var disks []*hangingFS
	b.nodes = openNodes(t, n, func(cfg *Config) {
		disk := &hangingFS{FS: crashfs.New()}
		disks = append(disks, disk)
		inMemory(cfg, b.pipes)
		cfg.FS, cfg.CheckpointInterval = disk, time.Hour // no entries but the test's
		cfg.unhurried = true
		cfg.Timing = Timing{Heartbeat: time.Second, Election: time.Second, Lease: time.Second, Commit: time.Second}
		if change != nil {
			change(cfg)
		}
	})
	for i, node := range b.nodes {
		b.disks[node] = disks[i]
	}
	t.Cleanup(b.letAll)
	mustPut(t, b.nodes[0], "first", "")
	time.Sleep(3 * compareTick) // its leader has made the checkpoint that follows
	return b
}

// inMemory puts a node on a network of pipes, with nothing of the machine below.
func inMemory(cfg *Config, net *pipes) {
	cfg.DataDir, cfg.AdvertisePeer = "data", cfg.Name+":7001"
	cfg.PeerListener = net.listen(cfg.AdvertisePeer)
	cfg.Seams.Dial = net.dialFrom(cfg.Name)
	cfg.Seams.OpenStable = func(string) (raft.StableStore, io.Closer, error) {
		return raft.NewInmemStore(), io.NopCloser(nil), nil
	}
	cfg.Seams.LockDir = func(string) (io.Closer, error) { return io.NopCloser(nil), nil }
}

// holdBetween holds both ways between one node and the others.
func (b *bubble) holdBetween(n *Node, others ...*Node) {
	for _, other := range others {
		b.hold(n.cfg.Name, other.cfg.Name)
		b.hold(other.cfg.Name, n.cfg.Name)
	}
}

// leaderAndOthers returns the node that leads, and the two that don't.
func (b *bubble) leaderAndOthers(t *testing.T) (leader, one, two *Node) {
	t.Helper()
	leader = leaderOf(t, b.nodes)
	var others []*Node
	for _, n := range b.nodes {
		if n != leader {
			others = append(others, n)
		}
	}
	return leader, others[0], others[1]
}

// tellToCampaign sends what a leader sends at the end of a transfer. It does not
// wait for an answer, which may be held.
func tellToCampaign(t *testing.T, from, to *Node) {
	t.Helper()
	request := &raft.TimeoutNowRequest{RPCHeader: headerOf(from.id())}
	answered := make(chan error, 1)
	go func() {
		answered <- from.peers.Raft().TimeoutNow(to.id(), raft.ServerAddress(to.id()), request, new(raft.TimeoutNowResponse))
	}()
	t.Cleanup(func() { <-answered }) // an error too: it may have been held for long
}

// awaitLeads returns when a node leads and has begun its term.
func awaitLeads(t *testing.T, n *Node) {
	t.Helper()
	r := mustJoined(t, n)
	eventually(t, n.cfg.Name+" leads", func() error {
		if !r.Leading() {
			return kv.ErrNotLeader
		}
		return nil
	})
}

// headerOf is the header of what a server sends.
func headerOf(id raft.ServerID) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(id)}
}

// mustJoined returns the node's replica.
func mustJoined(t *testing.T, n *Node) *replica {
	t.Helper()
	r, err := n.joined()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// goGet reads through a node in the background.
func goGet(t *testing.T, n *Node, key string) <-chan string {
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
