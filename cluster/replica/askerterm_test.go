package replica_test

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
)

// TestReadIndex_AskerCounts shows whose question for an index a leader answers without
// asking anybody else: a voter's that is not beyond its term, and with which it is a majority.
func TestReadIndex_AskerCounts(t *testing.T) {
	clustertest.InBubble(t, "Three", func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, nil)
		leader, other, _ := b.LeaderAndOthers(t)
		clustertest.MustPut(t, leader, "k", "v")
		voter, term := other.ID(), leader.Raft().CurrentTerm()
		for _, tt := range []struct {
			name  string
			asker raft.ServerID
			term  uint64
			want  bool
		}{
			{"a voter of this term", voter, term, true},
			{"a voter of an earlier term", voter, term - 1, true},
			{"a voter of a later term", voter, term + 1, false},
			{"no member", "n9.0000000000000000", term, false},
			{"the leader itself, which counts once", leader.ID(), term, false},
		} {
			applied := leader.State().AppliedIndex()
			index, ok := leader.Replica().IndexFor(tt.asker, tt.term)
			if ok != tt.want || (ok && index < applied) {
				t.Errorf("%s: got index %d, %v, want %v", tt.name, index, ok, tt.want)
			}
		}
	})
	clustertest.InBubble(t, "Five", func(t *testing.T) {
		b := clustertest.OpenBubble(t, 5, nil)
		leader := clustertest.Leader(t, b.Nodes)
		clustertest.MustPut(t, leader, "k", "v")
		for _, n := range b.Nodes {
			if _, ok := leader.Replica().IndexFor(n.ID(), leader.Raft().CurrentTerm()); ok {
				t.Errorf("of five voters, two are taken for a majority: %s", n.Config.Name)
			}
		}
	})
}

// TestReadIndex_AskerOfLaterTerm has a voter that has gone to a later term ask the old
// leader, which knows nothing of that, where to read. The old leader's index misses a
// write that was acknowledged in the later term, so that it must not answer by itself.
func TestReadIndex_AskerOfLaterTerm(t *testing.T) {
	for name, rule := range map[string]func(votes bool, askersTerm, term uint64) bool{
		"WithoutMeasure": func(votes bool, _, _ uint64) bool { return votes },
		"OK":             nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) { cfg.Seams.CountAsker = rule })
				leader, next, third := b.LeaderAndOthers(t)
				clustertest.MustPut(t, leader, "k", "old")
				b.Hold(next.Config.Name, leader.Config.Name)
				time.Sleep(300 * time.Millisecond)
				clustertest.TellToCampaign(t, leader, next)
				clustertest.AwaitLeads(t, next)
				clustertest.MustPut(t, next, "k", "new")
				if leader.Raft().State() != raft.Leader {
					t.Fatal("the old leader knows already")
				}
				written := next.Raft().CommitIndex()
				question := binary.BigEndian.AppendUint64(nil, third.Raft().CurrentTerm())
				answer, err := third.Peers().Call(t.Context(), leader.ID(), kindReadIndex, question)
				stale := err == nil && binary.BigEndian.Uint64(answer) < written
				if want := rule != nil; stale != want {
					t.Errorf("an index without the write: %v, want %v (%v)", stale, want, err)
				}
				b.LetAll()
			})
		})
	}
}
