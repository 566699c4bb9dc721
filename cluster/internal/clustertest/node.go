package clustertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// patience is how long Eventually waits.
const patience = 20 * time.Second

// Node is a node of a test.
type Node struct {
	*cluster.Node

	// Config is the configuration that the node was opened with. Its PeerListener is used up.
	Config cluster.Config

	id    atomic.Pointer[raft.ServerID]
	parts atomic.Pointer[parts]
}

// parts are the parts of a node that belongs to a cluster.
type parts struct {
	raft    *raft.Raft
	stores  *raftstore.Stores
	replica *replica.Replica
	state   *fsm.FSM
	peers   *transport.Transport
}

// ID returns the node's server id.
func (n *Node) ID() raft.ServerID { return *n.id.Load() }

// ClusterID returns the id of the node's cluster, "" while it is in none.
func (n *Node) ClusterID() string { return n.Status().ClusterID }

// Raft returns the node's raft instance. Like the methods below, it is for a node that
// belongs to a cluster.
func (n *Node) Raft() *raft.Raft { return n.parts.Load().raft }

// Stores returns what raft keeps on the node's disk.
func (n *Node) Stores() *raftstore.Stores { return n.parts.Load().stores }

// Replica returns the node's replica.
func (n *Node) Replica() *replica.Replica { return n.parts.Load().replica }

// State returns the node's state machine.
func (n *Node) State() *fsm.FSM { return n.parts.Load().state }

// Peers returns the node's transport.
func (n *Node) Peers() *transport.Transport { return n.parts.Load().peers }

// Try opens a node, and does not close it.
func Try(ctx context.Context, cfg cluster.Config) (*Node, error) {
	n := &Node{Config: cfg}
	if discover := cfg.Seams.Discover; discover != nil {
		cfg.Seams.Discover = func(self cluster.Announcement) (cluster.Discovery, error) {
			id := raft.ServerID(self.ID)
			n.id.Store(&id)
			return discover(self)
		}
	}
	var r *raft.Raft
	var stores *raftstore.Stores
	cfg.Seams.Started = func(one *raft.Raft, all *raftstore.Stores) { r, stores = one, all }
	cfg.Seams.Joined = func(member *replica.Replica, state *fsm.FSM, peers *transport.Transport) {
		id := peers.Identity().ID
		n.id.Store(&id)
		n.parts.Store(&parts{r, stores, member, state, peers})
	}
	var err error
	n.Node, err = cluster.Open(ctx, cfg)
	return n, err
}

// OpenOne opens a node, and closes it with the test, which an error of Close fails.
func OpenOne(t testing.TB, cfg cluster.Config) *Node {
	t.Helper()
	n, err := Try(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return n
}

// Open opens nodes named n1, n2 and so on that form a cluster, waits until they serve, and
// closes them with the test. They have ports and files of the machine. change, if it is not
// nil, changes the configuration of each.
func Open(t testing.TB, nodes int, change func(*cluster.Config)) []*Node {
	t.Helper()
	return openOn(t, nodes, func(cfg *cluster.Config) {
		*cfg = Listening(t, *cfg, "127.0.0.1:0")
		cfg.DataDir = filepath.Join(t.TempDir(), "data")
		if change != nil {
			change(cfg)
		}
	})
}

// openOn opens nodes that form a cluster. finish completes the configuration of each.
func openOn(t testing.TB, nodes int, finish func(*cluster.Config)) []*Node {
	t.Helper()
	board := NewBoard()
	var all []*Node
	for i := range nodes {
		cfg := cluster.Config{
			Name: fmt.Sprintf("n%d", i+1), AdvertiseHTTP: "127.0.0.1:1", GossipAddr: "127.0.0.1:1",
			Join: []string{"127.0.0.1:1"}, BootstrapExpect: nodes, Logger: slog.New(slog.DiscardHandler),
		}
		cfg.Seams.Discover = board.Post
		finish(&cfg)
		all = append(all, OpenOne(t, cfg))
	}
	for _, n := range all {
		Eventually(t, n.Config.Name+" is ready", n.Ready)
	}
	return all
}

// Listening returns cfg with a listener at addr, which may just have been closed by another
// node.
func Listening(t testing.TB, cfg cluster.Config, addr string) cluster.Config {
	t.Helper()
	Eventually(t, "listen", func() (err error) {
		cfg.PeerListener, err = net.Listen("tcp", addr)
		return err
	})
	cfg.AdvertisePeer = cfg.PeerListener.Addr().String()
	return cfg
}

// OpenMoved opens a node again, or a copy of it, at another address than before, and
// closes it with the test.
func OpenMoved(t testing.TB, cfg cluster.Config) *Node {
	t.Helper()
	n, err := Try(t.Context(), Listening(t, cfg, "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// Reopen closes a node, opens it again at the same address, and closes it with the test.
func Reopen(t testing.TB, n *Node) *Node {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	return OpenOne(t, Listening(t, n.Config, n.Config.AdvertisePeer))
}

// Eventually polls until check returns nil, and fails the test after 20 s.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	testkit.Eventually(t, patience, what, check)
}

// MustPut puts a value until that is done. The outcome of a write is unknown if
// leadership changes, which happens on a machine that is busy. A second put of the same
// changes nothing.
func MustPut(t testing.TB, n *Node, key, value string) {
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

// Leader returns the node that leads and has begun its term.
func Leader(t testing.TB, nodes []*Node) (leader *Node) {
	t.Helper()
	Eventually(t, "there is a leader", func() error {
		for _, n := range nodes {
			if n.Stats().Leader {
				leader = n
				return nil
			}
		}
		return kv.ErrNoLeader
	})
	return leader
}

// AwaitLeads returns once a node leads and has begun its term.
func AwaitLeads(t testing.TB, n *Node) {
	t.Helper()
	Eventually(t, n.Config.Name+" leads", func() error {
		if !n.Stats().Leader {
			return kv.ErrNotLeader
		}
		return nil
	})
}

// Others returns nodes without those that are left out.
func Others(nodes []*Node, without ...*Node) []*Node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n *Node) bool { return slices.Contains(without, n) })
}

// Names returns the names of nodes, as Members does.
func Names(nodes []*Node) string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Config.Name)
	}
	return fmt.Sprint(names)
}

// Members returns the names in a node's configuration, all or those of voters.
func Members(n *Node, voters bool) string {
	var names []string
	for _, m := range n.Status().Members {
		if m.Voter || !voters {
			names = append(names, m.ID)
		}
	}
	return fmt.Sprint(names)
}

// AwaitMembers returns once Members returns want.
func AwaitMembers(t testing.TB, n *Node, voters bool, want string) {
	t.Helper()
	Eventually(t, n.Config.Name+" sees "+want, func() error {
		if got := Members(n, voters); got != want {
			return errors.New("it sees " + got)
		}
		return nil
	})
}

// Stopped returns nil once a node has stopped by itself.
func Stopped(n *Node) error {
	if n.Err() == nil {
		return errors.New("it continues")
	}
	return nil
}

// TellToCampaign sends the message with which a leader ends a transfer. It does not
// wait for an answer, which may be held.
func TellToCampaign(t testing.TB, from, to *Node) {
	t.Helper()
	request := &raft.TimeoutNowRequest{RPCHeader: Header(from.ID())}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		// An error too is an answer: it may have been held for long.
		_ = from.Peers().Raft().TimeoutNow(to.ID(), raft.ServerAddress(to.ID()), request, new(raft.TimeoutNowResponse))
	}()
	t.Cleanup(func() { <-answered })
}

// Header returns the header of a message of raft's that a server sends.
func Header(id raft.ServerID) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(id)}
}
