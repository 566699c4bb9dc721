package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// openJoiner opens a node that is in no cluster and that no gossip tells of, and
// closes it with the test.
func (b *bubble) openJoiner(t *testing.T, name string, change func(*Config)) *Node {
	t.Helper()
	alone := &board{members: make(map[*notice]Announcement)}
	cfg := Config{
		Name: name, AdvertiseHTTP: "127.0.0.1:1", GossipAddr: "127.0.0.1:1", FS: crashfs.New(), CheckpointInterval: time.Hour,
		Seams: Seams{Discover: alone.post},
	}
	inMemory(&cfg, b.pipes)
	cfg.Timing = b.nodes[0].cfg.Timing
	if change != nil {
		change(&cfg)
	}
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// joining is a join that is under way.
type joining struct {
	member kv.Member
	err    error
	done   chan struct{}
}

// goJoin has a node ask for another one to join, until ctx ends.
func goJoin(ctx context.Context, n, joiner *Node) *joining {
	j := &joining{done: make(chan struct{})}
	go func() {
		defer close(j.done)
		j.member, j.err = n.Join(ctx, kv.JoinRequest{ID: joiner.cfg.Name, PeerAddr: joiner.cfg.AdvertisePeer, HTTPAddr: "127.0.0.1:1"})
	}()
	return j
}

// openStuckJoin opens a cluster and has a fourth node join it that is cut off as soon
// as it is a member: it never catches up.
func openStuckJoin(t *testing.T, voters int, change func(*Config)) (b *bubble, joiner *Node, join *joining, cancel context.CancelFunc) {
	t.Helper()
	b = openBubble(t, voters, func(cfg *Config) {
		cfg.Timing.Commit = 10 * time.Millisecond
		if change != nil {
			change(cfg)
		}
	})
	joiner = b.openJoiner(t, fmt.Sprint("n", voters+1), nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(cancel)
	join = goJoin(ctx, b.nodes[0], joiner)
	leader := leaderOf(t, b.nodes)
	waitMembers(t, leader, false, membersWithout(append(b.nodes[:voters:voters], joiner), nil))
	b.holdBetween(joiner, b.nodes...)
	return b, joiner, join, cancel
}

// soon bounds a change that has to wait for nobody. A member that does not answer
// is waited for, for a second or two.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestJoin_NeverCatchesUp shows that a join which takes long holds up no other change
// of the membership, and that what its caller no longer waits for is finished.
func TestJoin_NeverCatchesUp(t *testing.T) {
	t.Run("Transfer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, joiner, join, cancel := openStuckJoin(t, 3, nil)
			leader, one, _ := b.leaderAndOthers(t)
			if err := leader.TransferLeadership(soon(t)); err != nil { // as at SIGTERM
				t.Errorf("transfer: %v", err)
			}
			if err := one.Transfer(soon(t), leader.cfg.Name); err != nil {
				t.Errorf("transfer back: %v", err)
			}
			cancel() // the caller goes away
			<-join.done
			if join.err != nil && !errors.Is(join.err, kv.ErrUnknownOutcome) && !errors.Is(join.err, kv.ErrNoLeader) || join.member.Voter {
				t.Errorf("join: got %+v, %v", join.member, join.err)
			}
			if all, voters := membersOf(leader, false), membersOf(leader, true); all != "[n1 n2 n3 n4]" || voters != "[n1 n2 n3]" {
				t.Errorf("got members %s, voters %s", all, voters)
			}
			b.letAll()
			waitMembers(t, leader, true, "[n1 n2 n3 n4]")
			eventually(t, "the joiner is ready", joiner.Ready)
		})
	})
	t.Run("Leave", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, _, _, _ := openStuckJoin(t, 3, nil)
			leader, one, _ := b.leaderAndOthers(t)
			if err := leader.Leave(soon(t), kv.LeaveRequest{ID: one.cfg.Name}); err != nil {
				t.Errorf("leave: %v", err)
			}
			waitMembers(t, leader, true, membersWithout(b.nodes, one))
		})
	})
	t.Run("DeadServer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, joiner, join, _ := openStuckJoin(t, 4, func(cfg *Config) { cfg.DeadServerAfter, cfg.minDeadServerAfter = 5*time.Second, time.Millisecond })
			leader, dead, _ := b.leaderAndOthers(t)
			if err := dead.Close(); err != nil {
				t.Fatal(err)
			}
			waitMembers(t, leader, true, membersWithout(b.nodes, dead))
			<-join.done // the one that joins does not answer either: it is removed, too
			if !errors.Is(join.err, kv.ErrUnknownNode) || !mustJoined(t, leader).fsm.Retired(string(joiner.id())) {
				t.Errorf("join: got %v, want ErrUnknownNode", join.err)
			}
		})
	})
}

// TestJoin_LeavesMeanwhile removes a node that is on its way to vote: its join
// ends with an error, and nothing adds it again.
func TestJoin_LeavesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, joiner, join, _ := openStuckJoin(t, 3, nil)
		leader, _, _ := b.leaderAndOthers(t)
		if err := leader.Leave(soon(t), kv.LeaveRequest{ID: joiner.cfg.Name}); err != nil {
			t.Fatalf("leave: %v", err)
		}
		<-join.done
		if !errors.Is(join.err, kv.ErrUnknownNode) {
			t.Errorf("join: got %v, want ErrUnknownNode", join.err)
		}
		b.letAll()
		time.Sleep(5 * reconcileTick)
		if got := membersOf(leader, false); got != "[n1 n2 n3]" {
			t.Errorf("got members %s", got)
		}
		again := goJoin(soon(t), leader, joiner)
		<-again.done
		if !errors.Is(again.err, kv.ErrNameTaken) {
			t.Errorf("the same incarnation joins again: got %v, want ErrNameTaken", again.err)
		}
	})
}

// TestJoin_WipedMeanwhile has the node that joins come back with an empty disk before
// it has caught up: the new incarnation becomes the member, the old one is retired.
func TestJoin_WipedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, joiner, join, _ := openStuckJoin(t, 3, nil)
		leader, _, _ := b.leaderAndOthers(t)
		old := joiner.id()
		b.letAll()
		if err := joiner.Close(); err != nil {
			t.Fatal(err)
		}
		wiped := b.openJoiner(t, "n4", nil)
		again := goJoin(soon(t), leader, wiped)
		<-again.done
		if again.err != nil || !again.member.Voter {
			t.Errorf("second join: got %+v, %v", again.member, again.err)
		}
		<-join.done
		r := mustJoined(t, leader)
		if join.err == nil && join.member.Voter || !r.fsm.Retired(string(old)) {
			t.Errorf("first join: got %+v, %v; retired: %t", join.member, join.err, r.fsm.Retired(string(old)))
		}
		if suffrage, ok := r.member(wiped.id()); !ok || suffrage != 0 {
			t.Errorf("the new incarnation: member %t, suffrage %v", ok, suffrage)
		}
	})
}

// TestJoin_TwoAtOnce has two nodes join at the same time, and two of one name, of
// which one is refused and not told to belong to the cluster.
func TestJoin_TwoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBubble(t, 3, func(cfg *Config) { cfg.Timing.Commit = 10 * time.Millisecond })
		leader, one, two := b.leaderAndOthers(t)
		joiners := []*Node{
			b.openJoiner(t, "n4", nil),
			b.openJoiner(t, "n5", nil),
			b.openJoiner(t, "n6", func(cfg *Config) {
				cfg.AdvertisePeer = "other:7001"
				cfg.PeerListener = b.listen("other:7001")
				cfg.Seams.Dial = b.dialFrom("other")
			}),
			b.openJoiner(t, "n6", nil),
		}
		joins := make([]*joining, len(joiners))
		for i, via := range []*Node{one, leader, two, leader} {
			joins[i] = goJoin(soon(t), via, joiners[i])
		}
		var waiting sync.WaitGroup
		for _, j := range joins {
			waiting.Go(func() { <-j.done })
		}
		waiting.Wait()
		refused := 0
		for i, j := range joins {
			switch {
			case j.err == nil && j.member.Voter:
			case i >= 2 && errors.Is(j.err, kv.ErrNameTaken):
				refused++
				if cluster := joiners[i].identity().Cluster; cluster != "" {
					t.Errorf("the one that was refused belongs to cluster %s", cluster)
				}
			default:
				t.Errorf("join %d: got %+v, %v", i, j.member, j.err)
			}
		}
		if got := membersOf(leader, true); refused != 1 || got != "[n1 n2 n3 n4 n5 n6]" {
			t.Errorf("%d refused, voters %s", refused, got)
		}
	})
}

// TestJoin_RetiredAndForgotten shows that a removed incarnation stays out when so many
// were removed since that the state machine has forgotten it; one that has accepted
// the cluster and was never added is not taken for it.
func TestJoin_RetiredAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBubble(t, 3, func(cfg *Config) { cfg.Timing.Commit = 10 * time.Millisecond })
		leader, _, _ := b.leaderAndOthers(t)
		disk, stable := crashfs.New(), raft.NewInmemStore()
		open := func() *Node {
			return b.openJoiner(t, "n4", func(cfg *Config) {
				cfg.FS = disk
				cfg.Seams.OpenStable = func(path string) (raft.StableStore, io.Closer, error) {
					mustMkdir(t, disk, filepath.Dir(path)) // term and vote are in memory, but looked for
					mustWrite(t, disk, path, nil)
					return stable, io.NopCloser(nil), nil
				}
			})
		}
		removed := open()
		join := goJoin(soon(t), leader, removed)
		<-join.done
		if join.err != nil || !join.member.Voter {
			t.Fatalf("join: got %+v, %v", join.member, join.err)
		}
		if err := leader.Leave(soon(t), kv.LeaveRequest{ID: "n4"}); err != nil {
			t.Fatal(err)
		}
		if err := removed.Close(); err != nil {
			t.Fatal(err)
		}
		r := mustJoined(t, leader)
		for i := 0; i < fsm.MaxRetired; i += 500 {
			var retired wire.Requests
			for j := range 500 {
				one := fsm.RetireRequest(fmt.Sprintf("pod-%d.%016x", i+j, i+j))
				retired.Note(one)
				retired.Data = append(retired.Data, one.Data...)
			}
			if _, err := r.proposer.Propose(soon(t), retired, true); err != nil {
				t.Fatal(err)
			}
		}
		if r.fsm.Retired(string(removed.id())) || !r.fsm.RetiredFull() {
			t.Fatalf("%s is still known to be retired", removed.id())
		}

		again := goJoin(soon(t), leader, open())
		<-again.done
		if !errors.Is(again.err, kv.ErrNameTaken) {
			t.Errorf("the removed incarnation joins: got %+v, %v, want ErrNameTaken", again.member, again.err)
		}
		accepted := b.openJoiner(t, "n5", nil)
		if _, err := leader.askAccept(soon(t), accepted.cfg.AdvertisePeer, acceptRequest{Cluster: leader.identity().Cluster, Name: "n5"}); err != nil {
			t.Fatal(err)
		}
		join = goJoin(soon(t), leader, accepted)
		<-join.done
		if join.err != nil || !join.member.Voter {
			t.Errorf("one that was not added yet joins: got %+v, %v", join.member, join.err)
		}
		if got := membersOf(leader, false); got != "[n1 n2 n3 n5]" {
			t.Errorf("got members %s", got)
		}
	})
}
