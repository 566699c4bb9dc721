package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/kv"
)

func TestMedianClock(t *testing.T) {
	for name, tt := range map[string]struct {
		walls []int64
		want  int64
	}{
		"Alone":        {[]int64{7}, 7},
		"TwoOneFast":   {[]int64{1 << 60, 7}, 7},
		"ThreeOneFast": {[]int64{8, 1 << 60, 7}, 8},
		"ThreeOneSlow": {[]int64{8, 0, 7}, 7},
		"Four":         {[]int64{1, 2, 3, 4}, 2},
		"Five":         {[]int64{5, 1, 4, 2, 3}, 3},
	} {
		var answers []probeAnswer
		for _, w := range tt.walls {
			answers = append(answers, probeAnswer{wall: w})
		}
		if got := medianClock(answers); got != tt.want {
			t.Errorf("%s: got %d, want %d", name, got, tt.want)
		}
	}
}

func TestProbeAnswer_Encoding(t *testing.T) {
	want := probeAnswer{term: 1<<63 + 5, wall: -3}
	if got, err := decodeProbeAnswer(want.encode()); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, b := range [][]byte{nil, make([]byte, 15), make([]byte, 17)} {
		if _, err := decodeProbeAnswer(b); err == nil {
			t.Errorf("%d bytes: got no error", len(b))
		}
	}
}

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
				b := openBubble(t, 3, func(cfg *Config) { cfg.Seams.ConfirmLeader = tt.confirm })
				leader, next, third := b.leaderAndOthers(t)
				mustPut(t, leader, "k", "old")
				b.hold(next.cfg.Name, leader.cfg.Name)
				b.hold(third.cfg.Name, leader.cfg.Name)
				time.Sleep(300 * time.Millisecond) // heartbeats are accepted, and their answers held
				tellToCampaign(t, leader, next)
				awaitLeads(t, next)
				mustPut(t, next, "k", "new")
				if r := mustJoined(t, leader); r.raft.State() != raft.Leader {
					t.Fatal("the old leader knows already")
				}

				got := goGet(t, leader, "k")
				synctest.Wait()
				b.hold(leader.cfg.Name, third.cfg.Name) // no news from there but what is under way
				b.let(third.cfg.Name, leader.cfg.Name)
				synctest.Wait()
				if answered := len(got) == 1; answered != (tt.want == "old") {
					t.Errorf("the old leader has answered: %t", answered)
				}
				b.letAll()
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
func newLeaderBehind(t *testing.T) (node *Node, mend func()) {
	t.Helper()
	b := openBubble(t, 3, nil)
	leader, next, third := b.leaderAndOthers(t)
	mustPut(t, leader, "k", "v")
	synctest.Wait() // both followers have it; who was first does not know that it is committed
	b.holdBetween(leader, next, third)
	if mustJoined(t, next).raft.CommitIndex() == mustJoined(t, leader).raft.CommitIndex() {
		next, third = third, next
	}
	mend = sync.OnceFunc(b.disks[third].hang()) // what the new leader appends, but no votes
	tellToCampaign(t, third, next)
	time.Sleep(100 * time.Millisecond)
	if mustJoined(t, next).raft.State() != raft.Leader {
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
			r := mustJoined(t, node)
			// Whatever else is asked, the answer is yes.
			if err := r.raft.VerifyLeader().Error(); err != nil {
				t.Errorf("VerifyLeader: %v", err)
			}
			if _, err := r.probe(t.Context(), r.raft.CurrentTerm(), 0); err != nil {
				t.Errorf("probe: %v", err)
			}
			if applied, commit := r.raft.AppliedIndex(), r.raft.CommitIndex(); applied != commit {
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
			got := goGet(t, node, "k")
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
	nodes := openCluster(t, 3, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	leader := leaderOf(t, nodes)
	mustPut(t, leader, "k", "")
	r, err := leader.joined()
	if err != nil {
		t.Fatal(err)
	}
	state, _ := r.leaders.Current()
	if index, err := r.leaderReadIndex(ctx, state.Term); err != nil || index < r.fsm.AppliedIndex() {
		t.Errorf("got index %d, %v, want %d at least", index, err, r.fsm.AppliedIndex())
	}
	if _, err := r.leaderReadIndex(ctx, nil); !errors.Is(err, kv.ErrNotLeader) {
		t.Errorf("a term that has not begun: got %v", err)
	}
	earlier := leadership.BeginTerm(state.Term.Number()-1, 0)
	if _, err := r.leaderReadIndex(ctx, earlier); !errors.Is(err, kv.ErrNotLeader) {
		t.Errorf("an earlier term: got %v", err)
	}
	if _, err := r.probe(ctx, state.Term.Number()-1, 0); !errors.Is(err, kv.ErrNotLeader) {
		t.Errorf("voters beyond the term: got %v", err)
	}
	for _, n := range nodes {
		if n != leader {
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := r.probe(ctx, state.Term.Number(), 0); !errors.Is(err, kv.ErrNoLeader) {
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
	nodes := openCluster(t, 3, nil)
	leader := leaderOf(t, nodes)
	for _, n := range nodes {
		if n != leader {
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	r, err := leader.joined()
	if err != nil {
		t.Fatal(err)
	}
	state, _ := r.leaders.Current()
	for _, settle := range []time.Duration{0, clockSettle} {
		if answers, err := r.probe(t.Context(), state.Term.Number(), settle); err != nil || len(answers) != 2 {
			t.Errorf("got %d answers, %v, want 2", len(answers), err)
		}
	}
}
