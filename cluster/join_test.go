package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// openStuckJoin opens a cluster and has a fourth node join it that is cut off as soon
// as it is a member: it never catches up.
func openStuckJoin(t *testing.T, voters int, change func(*cluster.Config)) (b *clustertest.Bubble, joiner *clustertest.Node, join *clustertest.Joining, cancel context.CancelFunc) {
	t.Helper()
	b = clustertest.OpenBubble(t, voters, func(cfg *cluster.Config) {
		cfg.Timing.Commit = 10 * time.Millisecond
		if change != nil {
			change(cfg)
		}
	})
	joiner = b.Joiner(t, fmt.Sprint("n", voters+1), nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(cancel)
	join = clustertest.GoJoin(ctx, b.Nodes[0], joiner)
	leader := clustertest.Leader(t, b.Nodes)
	clustertest.AwaitMembers(t, leader, false, clustertest.Names(append(b.Nodes[:voters:voters], joiner)))
	b.HoldBetween(joiner, b.Nodes...)
	return b, joiner, join, cancel
}

// TestJoin_NeverCatchesUp shows that a join which takes long holds up no other change
// of the membership, and that what its caller no longer waits for is finished.
func TestJoin_NeverCatchesUp(t *testing.T) {
	t.Run("Transfer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, joiner, join, cancel := openStuckJoin(t, 3, nil)
			leader, one, _ := b.LeaderAndOthers(t)
			if err := leader.TransferLeadership(clustertest.Soon(t)); err != nil { // as at SIGTERM
				t.Errorf("transfer: %v", err)
			}
			if err := one.Transfer(clustertest.Soon(t), leader.Config.Name); err != nil {
				t.Errorf("transfer back: %v", err)
			}
			cancel() // the caller goes away
			<-join.Done
			if join.Err != nil && !errors.Is(join.Err, kv.ErrUnknownOutcome) && !errors.Is(join.Err, kv.ErrNoLeader) || join.Member.Voter {
				t.Errorf("join: got %+v, %v", join.Member, join.Err)
			}
			if all, voters := clustertest.Members(leader, false), clustertest.Members(leader, true); all != "[n1 n2 n3 n4]" || voters != "[n1 n2 n3]" {
				t.Errorf("got members %s, voters %s", all, voters)
			}
			b.LetAll()
			clustertest.AwaitMembers(t, leader, true, "[n1 n2 n3 n4]")
			clustertest.Eventually(t, "the joiner is ready", joiner.Ready)
		})
	})
	t.Run("Leave", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, _, _, _ := openStuckJoin(t, 3, nil)
			leader, one, _ := b.LeaderAndOthers(t)
			if err := leader.Leave(clustertest.Soon(t), kv.LeaveRequest{ID: one.Config.Name}); err != nil {
				t.Errorf("leave: %v", err)
			}
			clustertest.AwaitMembers(t, leader, true, clustertest.Names(clustertest.Others(b.Nodes, one)))
		})
	})
	t.Run("DeadServer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, joiner, join, _ := openStuckJoin(t, 4, func(cfg *cluster.Config) {
				cfg.DeadServerAfter, cfg.Seams.MinDeadServerAfter = 5*time.Second, time.Millisecond
			})
			leader, dead, _ := b.LeaderAndOthers(t)
			if err := dead.Close(); err != nil {
				t.Fatal(err)
			}
			clustertest.AwaitMembers(t, leader, true, clustertest.Names(clustertest.Others(b.Nodes, dead)))
			<-join.Done // the one that joins does not answer either: it is removed, too
			if !errors.Is(join.Err, kv.ErrUnknownNode) || !leader.State().Retired(string(joiner.ID())) {
				t.Errorf("join: got %v, want ErrUnknownNode", join.Err)
			}
		})
	})
}

// TestJoin_LeavesMeanwhile removes a node that is on its way to vote: its join
// ends with an error, and nothing adds it again.
func TestJoin_LeavesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, joiner, join, _ := openStuckJoin(t, 3, nil)
		leader, _, _ := b.LeaderAndOthers(t)
		if err := leader.Leave(clustertest.Soon(t), kv.LeaveRequest{ID: joiner.Config.Name}); err != nil {
			t.Fatalf("leave: %v", err)
		}
		<-join.Done
		if !errors.Is(join.Err, kv.ErrUnknownNode) {
			t.Errorf("join: got %v, want ErrUnknownNode", join.Err)
		}
		b.LetAll()
		time.Sleep(5 * time.Second)
		if got := clustertest.Members(leader, false); got != "[n1 n2 n3]" {
			t.Errorf("got members %s", got)
		}
		again := clustertest.GoJoin(clustertest.Soon(t), leader, joiner)
		<-again.Done
		if !errors.Is(again.Err, kv.ErrNameTaken) {
			t.Errorf("the same incarnation joins again: got %v, want ErrNameTaken", again.Err)
		}
	})
}

// TestJoin_WipedMeanwhile has the node that joins come back with an empty disk before
// it has caught up: the new incarnation becomes the member, the old one is retired.
func TestJoin_WipedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, joiner, join, _ := openStuckJoin(t, 3, nil)
		leader, _, _ := b.LeaderAndOthers(t)
		old := joiner.ID()
		b.LetAll()
		if err := joiner.Close(); err != nil {
			t.Fatal(err)
		}
		wiped := b.Joiner(t, "n4", nil)
		again := clustertest.GoJoin(clustertest.Soon(t), leader, wiped)
		<-again.Done
		if again.Err != nil || !again.Member.Voter {
			t.Errorf("second join: got %+v, %v", again.Member, again.Err)
		}
		<-join.Done
		if join.Err == nil && join.Member.Voter || !leader.State().Retired(string(old)) {
			t.Errorf("first join: got %+v, %v; retired: %t", join.Member, join.Err, leader.State().Retired(string(old)))
		}
		if suffrage, ok := leader.Replica().Member(wiped.ID()); !ok || suffrage != 0 {
			t.Errorf("the new incarnation: member %t, suffrage %v", ok, suffrage)
		}
	})
}

// TestJoin_TwoAtOnce has two nodes join at the same time, and two of one name, of
// which one is refused and not told to belong to the cluster.
func TestJoin_TwoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) { cfg.Timing.Commit = 10 * time.Millisecond })
		leader, one, two := b.LeaderAndOthers(t)
		joiners := []*clustertest.Node{
			b.Joiner(t, "n4", nil),
			b.Joiner(t, "n5", nil),
			b.Joiner(t, "n6", func(cfg *cluster.Config) {
				cfg.AdvertisePeer = "other:7001"
				cfg.PeerListener = b.Listen("other:7001")
				cfg.Seams.Dial = b.DialFrom("other")
			}),
			b.Joiner(t, "n6", nil),
		}
		joins := make([]*clustertest.Joining, len(joiners))
		for i, via := range []*clustertest.Node{one, leader, two, leader} {
			joins[i] = clustertest.GoJoin(clustertest.Soon(t), via, joiners[i])
		}
		var waiting sync.WaitGroup
		for _, j := range joins {
			waiting.Go(func() { <-j.Done })
		}
		waiting.Wait()
		refused := 0
		for i, j := range joins {
			switch {
			case j.Err == nil && j.Member.Voter:
			case i >= 2 && errors.Is(j.Err, kv.ErrNameTaken):
				refused++
				if cluster := joiners[i].ClusterID(); cluster != "" {
					t.Errorf("the one that was refused belongs to cluster %s", cluster)
				}
			default:
				t.Errorf("join %d: got %+v, %v", i, j.Member, j.Err)
			}
		}
		if got := clustertest.Members(leader, true); refused != 1 || got != "[n1 n2 n3 n4 n5 n6]" {
			t.Errorf("%d refused, voters %s", refused, got)
		}
	})
}

// kindAccept is the kind of the RPC that asks a node to belong to a cluster.
const kindAccept transport.Kind = 4

// TestJoin_RetiredAndForgotten shows that a removed incarnation stays out when so many
// were removed since that the state machine has forgotten it; one that has accepted
// the cluster and was never added is not taken for it.
func TestJoin_RetiredAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) { cfg.Timing.Commit = 10 * time.Millisecond })
		leader, _, _ := b.LeaderAndOthers(t)
		disk := crashfs.New()
		stable := clustertest.StableKept(disk)
		open := func() *clustertest.Node {
			return b.Joiner(t, "n4", func(cfg *cluster.Config) {
				cfg.FS = disk
				cfg.Seams.OpenStable = stable
			})
		}
		removed := open()
		join := clustertest.GoJoin(clustertest.Soon(t), leader, removed)
		<-join.Done
		if join.Err != nil || !join.Member.Voter {
			t.Fatalf("join: got %+v, %v", join.Member, join.Err)
		}
		if err := leader.Leave(clustertest.Soon(t), kv.LeaveRequest{ID: "n4"}); err != nil {
			t.Fatal(err)
		}
		if err := removed.Close(); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < fsm.MaxRetired; i += 500 {
			var retired wire.Requests
			for j := range 500 {
				one := fsm.RetireRequest(fmt.Sprintf("pod-%d.%016x", i+j, i+j))
				retired.Note(one)
				retired.Data = append(retired.Data, one.Data...)
			}
			if err := leader.Raft().Apply(clustertest.Entry(retired), 5*time.Second).Error(); err != nil {
				t.Fatal(err)
			}
		}
		if leader.State().Retired(string(removed.ID())) || !leader.State().RetiredFull() {
			t.Fatalf("%s is still known to be retired", removed.ID())
		}

		again := clustertest.GoJoin(clustertest.Soon(t), leader, open())
		<-again.Done
		if !errors.Is(again.Err, kv.ErrNameTaken) {
			t.Errorf("the removed incarnation joins: got %+v, %v, want ErrNameTaken", again.Member, again.Err)
		}
		accepted := b.Joiner(t, "n5", nil)
		request := fmt.Appendf(nil, `{"cluster":%q,"name":"n5"}`, leader.ClusterID())
		if _, _, err := leader.Peers().CallAddr(clustertest.Soon(t), accepted.Config.AdvertisePeer, kindAccept, request); err != nil {
			t.Fatal(err)
		}
		join = clustertest.GoJoin(clustertest.Soon(t), leader, accepted)
		<-join.Done
		if join.Err != nil || !join.Member.Voter {
			t.Errorf("one that was not added yet joins: got %+v, %v", join.Member, join.Err)
		}
		if got := clustertest.Members(leader, false); got != "[n1 n2 n3 n5]" {
			t.Errorf("got members %s", got)
		}
	})
}
