package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/kv"
)

func TestHealth_Stable(t *testing.T) {
	h := newHealth()
	at := time.Unix(100, 0)
	for i, step := range []struct {
		applied uint64
		pass    time.Duration
		ok      bool
	}{
		{800, 0, false}, {900, time.Second, false}, // just caught up
		{900, promoteStable - 1, false}, {900, 1, true}, {1000, 0, true},
		{871, 0, false}, // behind again
		{1000, time.Second, false}, {1000, promoteStable, true},
	} {
		at = at.Add(step.pass)
		if err := h.stable("n", nodeInfo{AppliedIndex: step.applied}, 1000, at); (err == nil) != step.ok || err != nil && !errors.Is(err, kv.ErrBehind) {
			t.Errorf("step %d: got %v, want stable %t", i, err, step.ok)
		}
	}
	h.begin(7)
	if err := h.stable("n", nodeInfo{AppliedIndex: 1000}, 1000, at); err == nil {
		t.Error("what was seen in an earlier term still counts")
	}
}

func TestHealth_Observe(t *testing.T) {
	h := newHealth()
	at := time.Unix(100, 0)
	observe := func(pass time.Duration, answered map[raft.ServerID]bool) string {
		at = at.Add(pass)
		dead := h.observe(answered, 10*time.Second, at)
		slices.Sort(dead)
		return fmt.Sprint(dead)
	}
	down := map[raft.ServerID]bool{"a": true, "b": false, "c": false}
	for i, step := range []struct {
		pass     time.Duration
		answered map[raft.ServerID]bool
		want     string
	}{
		{0, down, "[]"},
		{9 * time.Second, down, "[]"},
		{time.Second, down, "[b c]"},
		{0, map[raft.ServerID]bool{"a": true, "b": true, "c": false}, "[c]"},
		{time.Hour, map[raft.ServerID]bool{"a": true, "b": false}, "[]"}, // c is no member any more
		{10 * time.Second, down, "[b]"},
	} {
		if got := observe(step.pass, step.answered); got != step.want {
			t.Errorf("step %d: got %s, want %s", i, got, step.want)
		}
	}
	h.begin(2)
	if got := observe(time.Second, down); got != "[]" {
		t.Errorf("in a new term: got %s, want none", got)
	}
}

// membersOf returns the names in n's configuration, voters only or all.
func membersOf(n *Node, voters bool) string {
	var names []string
	for _, m := range n.Status().Members {
		if m.Voter || !voters {
			names = append(names, m.ID)
		}
	}
	return fmt.Sprint(names)
}

func waitMembers(t *testing.T, n *Node, voters bool, want string) {
	t.Helper()
	eventually(t, n.cfg.Name+" sees "+want, func() error {
		if got := membersOf(n, voters); got != want {
			return errors.New("it sees " + got)
		}
		return nil
	})
}

// TestNode_RemoveDead shows that a leader removes a member that is dead, one at
// a time, and none when fewer than three voters would be left.
func TestNode_RemoveDead(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 4, func(cfg *Config) {
		cfg.DeadServerAfter, cfg.minDeadServerAfter = 300*time.Millisecond, time.Millisecond
	})
	leader := leaderOf(t, nodes)
	others := slices.DeleteFunc(slices.Clone(nodes), func(n *Node) bool { return n == leader })
	if err := others[0].Close(); err != nil {
		t.Fatal(err)
	}
	want := membersWithout(nodes, others[0])
	waitMembers(t, leader, true, want)
	if err := others[1].Close(); err != nil {
		t.Fatal(err)
	}
	r, err := leader.joined()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the leader refuses to go below three voters", func() error {
		err := leader.settle(t.Context(), r)
		if !errors.Is(err, kv.ErrQuorum) {
			return fmt.Errorf("got %v, want ErrQuorum", err)
		}
		return nil
	})
	if got := membersOf(leader, true); got != want {
		t.Errorf("got voters %s, want %s", got, want)
	}
}

func membersWithout(nodes []*Node, gone *Node) string {
	var names []string
	for _, n := range nodes {
		if n != gone {
			names = append(names, n.cfg.Name)
		}
	}
	return fmt.Sprint(names)
}

// TestNode_LeaveQuorum shows that a removal is refused when too few of those
// left are alive, and carried out by force.
func TestNode_LeaveQuorum(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 3, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	leader := leaderOf(t, nodes)
	others := slices.DeleteFunc(slices.Clone(nodes), func(n *Node) bool { return n == leader })
	if err := others[0].Close(); err != nil {
		t.Fatal(err)
	}
	// Two of three are alive: without the second one, one of two would be.
	if err := leader.Leave(ctx, kv.LeaveRequest{ID: others[1].cfg.Name}); !errors.Is(err, kv.ErrQuorum) {
		t.Fatalf("got %v, want ErrQuorum", err)
	}
	if err := leader.Leave(ctx, kv.LeaveRequest{ID: "nobody", Force: true}); !errors.Is(err, kv.ErrUnknownNode) {
		t.Errorf("unknown node: got %v", err)
	}
	// Without the dead one, both of two are.
	if err := leader.Leave(ctx, kv.LeaveRequest{ID: others[0].cfg.Name}); err != nil {
		t.Fatal(err)
	}
	waitMembers(t, leader, true, membersWithout(nodes, others[0]))
	if err := others[1].Close(); err != nil {
		t.Fatal(err)
	}
	if err := leader.Leave(ctx, kv.LeaveRequest{ID: leader.cfg.Name}); !errors.Is(err, kv.ErrQuorum) && !errors.Is(err, kv.ErrNoLeader) {
		t.Errorf("the only live voter leaves: got %v", err)
	}
}

// TestNode_NonVoter adds a read replica: it never votes, has the data, and
// serves linearizable reads and writes.
func TestNode_NonVoter(t *testing.T) {
	t.Parallel()
	var discover func(Announcement) (Discovery, error)
	nodes := openCluster(t, 3, func(cfg *Config) { discover = cfg.Seams.Discover })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	mustPut(t, nodes[0], "k", "v")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	replica, err := Open(ctx, Config{
		Name: "reader", DataDir: t.TempDir(), PeerListener: listener, AdvertisePeer: listener.Addr().String(),
		AdvertiseHTTP: "127.0.0.1:1", GossipAddr: "127.0.0.1:1", NonVoter: true, Seams: Seams{Discover: discover},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := replica.Close(); err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "the replica is ready", replica.Ready)
	if got, err := replica.Get(ctx, "k", kv.ReadOptions{}); err != nil || string(got.Item.Value) != "v" {
		t.Errorf("get: %q, %v", got.Item.Value, err)
	}
	mustPut(t, replica, "k", "w")
	leader := leaderOf(t, nodes)
	r, err := leader.joined()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replica is all that it is to be", func() error {
		voter, err := leader.promote(ctx, r, replica.id())
		if voter {
			t.Error("the replica was made a voter")
		}
		return err
	})
	if all, voters := membersOf(nodes[0], false), membersOf(nodes[0], true); all != "[n1 n2 n3 reader]" || voters != "[n1 n2 n3]" {
		t.Errorf("got members %s, voters %s", all, voters)
	}
	if err := nodes[0].Transfer(ctx, "reader"); !errors.Is(err, kv.ErrUnknownNode) {
		t.Errorf("transfer to it: got %v, want ErrUnknownNode", err)
	}
}
