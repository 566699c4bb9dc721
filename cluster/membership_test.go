package cluster_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
)

// TestNode_RemoveDead shows that a leader removes a member that is dead, one at
// a time, and none when fewer than three voters would be left.
func TestNode_RemoveDead(t *testing.T) {
	t.Parallel()
	var lines testkit.Log
	nodes := clustertest.Open(t, 4, func(cfg *cluster.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(&lines, nil))
		cfg.DeadServerAfter, cfg.Seams.MinDeadServerAfter = 300*time.Millisecond, time.Millisecond
	})
	leader := clustertest.Leader(t, nodes)
	others := slices.DeleteFunc(slices.Clone(nodes), func(n *clustertest.Node) bool { return n == leader })
	if err := others[0].Close(); err != nil {
		t.Fatal(err)
	}
	want := clustertest.Names(clustertest.Others(nodes, others[0]))
	clustertest.AwaitMembers(t, leader, true, want)
	if err := others[1].Close(); err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, 20*time.Second, "the leader refuses to go below three voters", func() bool {
		return lines.Count("only 2 voters would be left") > 0
	})
	if got := clustertest.Members(leader, true); got != want {
		t.Errorf("got voters %s, want %s", got, want)
	}
}

// TestNode_LeaveQuorum shows that a removal is refused when too few of those
// left are alive, and carried out by force.
func TestNode_LeaveQuorum(t *testing.T) {
	t.Parallel()
	nodes := clustertest.Open(t, 3, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	leader := clustertest.Leader(t, nodes)
	others := slices.DeleteFunc(slices.Clone(nodes), func(n *clustertest.Node) bool { return n == leader })
	if err := others[0].Close(); err != nil {
		t.Fatal(err)
	}
	// Two of three are alive: without the second one, one of two would be.
	if err := leader.Leave(ctx, kv.LeaveRequest{ID: others[1].Config.Name}); !errors.Is(err, kv.ErrQuorum) {
		t.Fatalf("got %v, want ErrQuorum", err)
	}
	if err := leader.Leave(ctx, kv.LeaveRequest{ID: "nobody", Force: true}); !errors.Is(err, kv.ErrUnknownNode) {
		t.Errorf("unknown node: got %v", err)
	}
	// Without the dead one, both of two are.
	if err := leader.Leave(ctx, kv.LeaveRequest{ID: others[0].Config.Name}); err != nil {
		t.Fatal(err)
	}
	clustertest.AwaitMembers(t, leader, true, clustertest.Names(clustertest.Others(nodes, others[0])))
	if err := others[1].Close(); err != nil {
		t.Fatal(err)
	}
	if err := leader.Leave(ctx, kv.LeaveRequest{ID: leader.Config.Name}); !errors.Is(err, kv.ErrQuorum) && !errors.Is(err, kv.ErrNoLeader) {
		t.Errorf("the only live voter leaves: got %v", err)
	}
}

// TestNode_NonVoter adds a read replica: it never votes, has the data, and
// serves linearizable reads and writes.
func TestNode_NonVoter(t *testing.T) {
	t.Parallel()
	var discover func(cluster.Announcement) (cluster.Discovery, error)
	nodes := clustertest.Open(t, 3, func(cfg *cluster.Config) { discover = cfg.Seams.Discover })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	clustertest.MustPut(t, nodes[0], "k", "v")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reader, err := clustertest.Try(ctx, cluster.Config{
		Name: "reader", DataDir: t.TempDir(), PeerListener: listener, AdvertisePeer: listener.Addr().String(),
		AdvertiseHTTP: "127.0.0.1:1", GossipAddr: "127.0.0.1:1", NonVoter: true, Seams: cluster.Seams{Discover: discover},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
	}()
	clustertest.Eventually(t, "the replica is ready", reader.Ready)
	if got, err := reader.Get(ctx, "k", kv.ReadOptions{}); err != nil || string(got.Item.Value) != "v" {
		t.Errorf("get: %q, %v", got.Item.Value, err)
	}
	clustertest.MustPut(t, reader, "k", "w")
	leader := clustertest.Leader(t, nodes)
	member, err := leader.Join(ctx, kv.JoinRequest{ID: "reader", PeerAddr: reader.Config.AdvertisePeer, HTTPAddr: "127.0.0.1:1"})
	if err != nil || member.Voter { // it returns once the replica is all that it is to be
		t.Errorf("got %+v, %v, want a member that does not vote", member, err)
	}
	if all, voters := clustertest.Members(nodes[0], false), clustertest.Members(nodes[0], true); all != "[n1 n2 n3 reader]" || voters != "[n1 n2 n3]" {
		t.Errorf("got members %s, voters %s", all, voters)
	}
	if err := nodes[0].Transfer(ctx, "reader"); !errors.Is(err, kv.ErrUnknownNode) {
		t.Errorf("transfer to it: got %v, want ErrUnknownNode", err)
	}
}
