package cluster

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/kv"
)

// TestSilence_FoundInTime cuts the leader off ten times, while no log is ahead of
// another. Its successor leads after the heartbeat timeout and half of it at worst. Raft
// by itself takes up to three timeouts.
func TestSilence_FoundInTime(t *testing.T) {
	inBubble(t, "OK", func(t *testing.T) {
		if worst, limit := worstElection(t, false); worst > limit {
			t.Errorf("%v from a cut until another node leads, want %v at most", worst, limit)
		}
	})
	inBubble(t, "WithoutMeasure", func(t *testing.T) {
		if worst, limit := worstElection(t, true); worst <= limit {
			t.Errorf("%v at worst from a cut until another node leads: raft looks in time by itself, or this is no control", worst)
		}
	})
}

// worstElection cuts a leader off ten times, and returns the longest time until another
// node led, and what it may be.
func worstElection(t *testing.T, patient bool) (worst, limit time.Duration) {
	b := openBubble(t, 3, func(cfg *Config) { cfg.patient = patient })
	timeout := b.nodes[0].cfg.Timing.Heartbeat
	for range 10 {
		leader, one, two := b.leaderAndOthers(t)
		b.holdBetween(leader, one, two)
		cut := time.Now()
		for !mustJoined(t, one).Leading() && !mustJoined(t, two).Leading() {
			time.Sleep(10 * time.Millisecond)
		}
		worst = max(worst, time.Since(cut))
		b.letAll()
		eventually(t, leader.cfg.Name+" follows another one", func() error {
			if state, _ := mustJoined(t, leader).leaders.Current(); state.Leader == "" || state.Leader == leader.id() {
				return kv.ErrNoLeader
			}
			return nil
		})
		time.Sleep(10 * timeout)
	}
	return worst, timeout * 3 / 2
}

// TestSilence_OfNobody lets a cluster be, whose leader is silent for less than the
// heartbeat timeout now and then: it leads on.
func TestSilence_OfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBubble(t, 3, nil)
		leader, one, two := b.leaderAndOthers(t)
		term := mustJoined(t, leader).raft.CurrentTerm()
		for range 20 {
			b.holdBetween(leader, one, two)
			time.Sleep(leader.cfg.Timing.Heartbeat * 3 / 4) // and a fifth at most since its last heartbeat
			b.letAll()
			time.Sleep(leader.cfg.Timing.Heartbeat)
		}
		if now := mustJoined(t, leader).raft.CurrentTerm(); now != term || !mustJoined(t, leader).Leading() {
			t.Errorf("term %d, led by the same node: %v; it was %d", now, mustJoined(t, leader).Leading(), term)
		}
	})
}

// TestElectAlone forms a cluster of one, and starts its node again. There is no leader
// for which it could wait: it does not take the heartbeat timeout, for which raft waits
// by itself, and which is longer here than the test has patience.
func TestElectAlone(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 1, func(cfg *Config) {
		cfg.Timing = Timing{Heartbeat: time.Hour, Election: time.Hour, Lease: time.Second, Commit: time.Second}
	})
	mustPut(t, nodes[0], "key", "value")
	again := reopen(t, nodes[0])
	eventually(t, "the node serves again", again.Ready)
	if got := <-goGet(t, again, "key"); got != "value" {
		t.Errorf("got %q", got)
	}
}

// TestElectAlone_WithReplica checks that a look at who votes leaves the configuration as
// it is, which raft hands to all who ask.
func TestElectAlone_WithReplica(t *testing.T) {
	t.Parallel()
	r := mustJoined(t, openCluster(t, 1, nil)[0])
	for _, id := range []raft.ServerID{"replica.1", "replica.2"} {
		if err := r.raft.AddNonvoter(id, raft.ServerAddress(id), 0, configTimeout).Error(); err != nil {
			t.Fatal(err)
		}
	}
	want := fmt.Sprint(r.servers())
	r.electAlone()
	if got := fmt.Sprint(r.servers()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
