package cluster

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestReadIndex_AskerCounts shows whose question for an index a leader answers without
// asking anybody else: a voter's that is not beyond its term, and with which it is a majority.
func TestReadIndex_AskerCounts(t *testing.T) {
	t.Parallel()
	three := openCluster(t, 3, nil)
	leader := leaderOf(t, three)
	r := mustJoined(t, leader)
	mustPut(t, leader, "k", "v")
	term := r.raft.CurrentTerm()
	var voter raft.ServerID
	for _, n := range three {
		if n != leader {
			voter = n.id()
		}
	}
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
		{"the leader itself, which counts once", leader.id(), term, false},
	} {
		index, ok := r.leaderIndexFor(tt.asker, tt.term)
		if ok != tt.want || (ok && index < r.fsm.AppliedIndex()) {
			t.Errorf("%s: got index %d, %v, want %v", tt.name, index, ok, tt.want)
		}
	}

	five := openCluster(t, 5, nil)
	leader = leaderOf(t, five)
	mustPut(t, leader, "k", "v")
	r = mustJoined(t, leader)
	for _, n := range five {
		if _, ok := r.leaderIndexFor(n.id(), r.raft.CurrentTerm()); ok {
			t.Errorf("of five voters, two are taken for a majority: %s", n.cfg.Name)
		}
	}
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
				b := openBubble(t, 3, func(cfg *Config) { cfg.Seams.CountAsker = rule })
				leader, next, third := b.leaderAndOthers(t)
				mustPut(t, leader, "k", "old")
				b.hold(next.cfg.Name, leader.cfg.Name)
				time.Sleep(300 * time.Millisecond)
				tellToCampaign(t, leader, next)
				awaitLeads(t, next)
				mustPut(t, next, "k", "new")
				if mustJoined(t, leader).raft.State() != raft.Leader {
					t.Fatal("the old leader knows already")
				}
				asker := mustJoined(t, third)
				written := mustJoined(t, next).raft.CommitIndex()
				question := binary.BigEndian.AppendUint64(nil, asker.raft.CurrentTerm())
				answer, err := asker.peers.Call(t.Context(), leader.id(), kindReadIndex, question)
				stale := err == nil && binary.BigEndian.Uint64(answer) < written
				if want := rule != nil; stale != want {
					t.Errorf("an index without the write: %v, want %v (%v)", stale, want, err)
				}
				b.letAll()
			})
		})
	}
}
