package replica_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/kv"
)

// TestD1_OldAnswers has an old leader read after another one has acknowledged a
// write. What it hears of the others was said before they left it. VerifyLeader
// takes that for a proof that it leads; a probe is answered by a term that has
// passed.
func TestD1_OldAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		confirm func(*raft.Raft) error
		want    string
	}{
		"WithoutMeasure": {func(r *raft.Raft) error { return r.VerifyLeader().Error() }, "old"},
		"OK":             {nil, "new"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) { cfg.Seams.ConfirmLeader = tt.confirm })
				leader, next, third := b.LeaderAndOthers(t)
				clustertest.MustPut(t, leader, "k", "old")
				b.Hold(next.Config.Name, leader.Config.Name)
				b.Hold(third.Config.Name, leader.Config.Name)
				time.Sleep(300 * time.Millisecond) // heartbeats are accepted, and their answers held
				clustertest.TellToCampaign(t, leader, next)
				clustertest.AwaitLeads(t, next)
				clustertest.MustPut(t, next, "k", "new")
				if leader.Raft().State() != raft.Leader {
					t.Fatal("the old leader knows already")
				}

				got := clustertest.GoGet(t, leader, "k")
				synctest.Wait()
				b.Hold(leader.Config.Name, third.Config.Name) // no news from there but what is under way
				b.Let(third.Config.Name, leader.Config.Name)
				synctest.Wait()
				if answered := len(got) == 1; answered != (tt.want == "old") {
					t.Errorf("the old leader has answered: %t", answered)
				}
				b.LetAll()
				if value := <-got; value != tt.want {
					t.Errorf("got %q, want %q", value, tt.want)
				}
			})
		})
	}
}

// newLeaderBehind returns a node that leads, and whose first entry can't be
// committed until mend is called, for the other follower's disk hangs. It does not
// know yet that key "k", which the old leader has acknowledged, is committed.
func newLeaderBehind(t *testing.T) (node *clustertest.Node, mend func()) {
	t.Helper()
	b := clustertest.OpenBubble(t, 3, nil)
	leader, next, third := b.LeaderAndOthers(t)
	clustertest.MustPut(t, leader, "k", "v")
	synctest.Wait() // both followers have it; who was first does not know that it is committed
	b.HoldBetween(leader, next, third)
	if next.Raft().CommitIndex() == leader.Raft().CommitIndex() {
		next, third = third, next
	}
	mend = sync.OnceFunc(b.Disks[third].Hang()) // what the new leader appends, but no votes
	clustertest.TellToCampaign(t, third, next)
	time.Sleep(100 * time.Millisecond)
	if next.Raft().State() != raft.Leader {
		t.Fatal("the new leader does not lead")
	}
	return next, mend
}

// TestD2_TermNotBegun reads from a new leader whose first entry is not committed
// yet. That it leads is true, but its commit index is behind what the old leader
// has acknowledged: to read there misses a write.
func TestD2_TermNotBegun(t *testing.T) {
	t.Run("WithoutMeasure", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			node, mend := newLeaderBehind(t)
			defer mend()
			// Whatever else is asked, the answer is yes.
			if err := node.Raft().VerifyLeader().Error(); err != nil {
				t.Errorf("VerifyLeader: %v", err)
			}
			if _, err := node.Replica().Probe(t.Context(), node.Raft().CurrentTerm(), 0); err != nil {
				t.Errorf("probe: %v", err)
			}
			if applied, commit := node.Raft().AppliedIndex(), node.Raft().CommitIndex(); applied != commit {
				t.Errorf("applied %d, committed %d", applied, commit)
			}
			if result, err := node.Get(t.Context(), "k", kv.ReadOptions{Level: kv.Stale}); err != nil || result.Found {
				t.Errorf("the new leader has the write at its commit index: %v, %v", result.Found, err)
			}
		})
	})
	t.Run("OK", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			node, mend := newLeaderBehind(t)
			defer mend()
			got := clustertest.GoGet(t, node, "k")
			time.Sleep(100 * time.Millisecond)
			if len(got) == 1 {
				t.Fatalf("it has answered before its term began: %s", <-got)
			}
			mend()
			if value := <-got; value != "v" {
				t.Errorf("got %q, want %q", value, "v")
			}
		})
	})
}

// TestReadIndex_Refuses shows what a leader refuses to read by: a term that it
// has not begun, a term that has passed, and voters that have gone beyond it or
// don't answer.
func TestReadIndex_Refuses(t *testing.T) {
	t.Parallel()
	nodes := clustertest.Open(t, 3, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	leader := clustertest.Leader(t, nodes)
	clustertest.MustPut(t, leader, "k", "")
	state, _ := leader.Replica().Leadership()
	if index, err := leader.Replica().ReadIndex(ctx, state.Term); err != nil || index < leader.State().AppliedIndex() {
		t.Errorf("got index %d, %v, want %d at least", index, err, leader.State().AppliedIndex())
	}
	if _, err := leader.Replica().ReadIndex(ctx, nil); !errors.Is(err, kv.ErrNotLeader) {
		t.Errorf("a term that has not begun: got %v", err)
	}
	earlier := leadership.BeginTerm(state.Term.Number()-1, nil)
	if _, err := leader.Replica().ReadIndex(ctx, earlier); !errors.Is(err, kv.ErrNotLeader) {
		t.Errorf("an earlier term: got %v", err)
	}
	if _, err := leader.Replica().Probe(ctx, state.Term.Number()-1, 0); !errors.Is(err, kv.ErrNotLeader) {
		t.Errorf("voters beyond the term: got %v", err)
	}
	for _, n := range nodes {
		if n != leader {
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := leader.Replica().Probe(ctx, state.Term.Number(), 0); !errors.Is(err, kv.ErrNoLeader) {
		t.Errorf("no voter answers: got %v", err)
	}
	brief, cancelBrief := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancelBrief()
	if _, err := leader.Get(brief, "k", kv.ReadOptions{}); err == nil {
		t.Error("a leader without voters has served a linearizable read")
	}
}

// TestProbe_OneVoterIsAway shows that a majority is enough.
func TestProbe_OneVoterIsAway(t *testing.T) {
	t.Parallel()
	nodes := clustertest.Open(t, 3, nil)
	leader := clustertest.Leader(t, nodes)
	for _, n := range nodes {
		if n != leader {
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	state, _ := leader.Replica().Leadership()
	for _, settle := range []time.Duration{0, 50 * time.Millisecond} {
		if answers, err := leader.Replica().Probe(t.Context(), state.Term.Number(), settle); err != nil || answers != 2 {
			t.Errorf("got %d answers, %v, want 2", answers, err)
		}
	}
}
