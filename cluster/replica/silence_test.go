package replica_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// TestSilence_FoundInTime cuts the leader off ten times, while no log is ahead of
// another. Its successor leads after the heartbeat timeout and half of it at worst. Raft
// by itself takes up to three timeouts.
func TestSilence_FoundInTime(t *testing.T) {
	clustertest.InBubble(t, "OK", func(t *testing.T) {
		if worst, limit := worstElection(t, false); worst > limit {
			t.Errorf("%v from a cut until another node leads, want %v at most", worst, limit)
		}
	})
	clustertest.InBubble(t, "WithoutMeasure", func(t *testing.T) {
		if worst, limit := worstElection(t, true); worst <= limit {
			t.Errorf("%v at worst from a cut until another node leads: raft looks in time by itself, or this is no control", worst)
		}
	})
}

// worstElection cuts a leader off ten times, and returns the longest time until another
// node led, and what it may be.
func worstElection(t *testing.T, patient bool) (worst, limit time.Duration) {
	b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) { cfg.Seams.Patient = patient })
	timeout := b.Nodes[0].Config.Timing.Heartbeat
	for range 10 {
		leader, one, two := b.LeaderAndOthers(t)
		b.HoldBetween(leader, one, two)
		cut := time.Now()
		for !one.Replica().Leading() && !two.Replica().Leading() {
			time.Sleep(10 * time.Millisecond)
		}
		worst = max(worst, time.Since(cut))
		b.LetAll()
		clustertest.Eventually(t, leader.Config.Name+" follows another one", func() error {
			if state, _ := leader.Replica().Leadership(); state.Leader == "" || state.Leader == leader.ID() {
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
		b := clustertest.OpenBubble(t, 3, nil)
		leader, one, two := b.LeaderAndOthers(t)
		term := leader.Raft().CurrentTerm()
		for range 20 {
			b.HoldBetween(leader, one, two)
			time.Sleep(leader.Config.Timing.Heartbeat * 3 / 4) // and a fifth at most since its last heartbeat
			b.LetAll()
			time.Sleep(leader.Config.Timing.Heartbeat)
		}
		if now := leader.Raft().CurrentTerm(); now != term || !leader.Replica().Leading() {
			t.Errorf("term %d, led by the same node: %v; it was %d", now, leader.Replica().Leading(), term)
		}
	})
}

// TestElectAlone forms a cluster of one, and starts its node again. There is no leader
// for which it could wait: it does not take the heartbeat timeout, for which raft waits
// by itself, and which is longer here than the test has patience.
func TestElectAlone(t *testing.T) {
	t.Parallel()
	nodes := clustertest.Open(t, 1, func(cfg *cluster.Config) {
		cfg.Timing = cluster.Timing{Heartbeat: time.Hour, Election: time.Hour, Lease: time.Second, Commit: time.Second}
	})
	clustertest.MustPut(t, nodes[0], "key", "value")
	again := clustertest.Reopen(t, nodes[0])
	clustertest.Eventually(t, "the node serves again", again.Ready)
	if got := <-clustertest.GoGet(t, again, "key"); got != "value" {
		t.Errorf("got %q", got)
	}
}

// TestElectAlone_WithReplica checks that a look at who votes leaves the configuration as
// it is, which raft hands to all who ask.
func TestElectAlone_WithReplica(t *testing.T) {
	t.Parallel()
	n := clustertest.Open(t, 1, nil)[0]
	for _, id := range []raft.ServerID{"replica.1", "replica.2"} {
		if err := n.Raft().AddNonvoter(id, raft.ServerAddress(id), 0, 5*time.Second).Error(); err != nil {
			t.Fatal(err)
		}
	}
	want := fmt.Sprint(n.Replica().Servers())
	n.Replica().ElectAlone()
	if got := fmt.Sprint(n.Replica().Servers()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
