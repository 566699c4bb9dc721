package replica_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
)

// TestFreshness_SlowDisk holds an append up in a follower's disk: that long, what
// the follower knows has aged, however quickly the message came.
func TestFreshness_SlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) { cfg.Seams.Unhurried = false })
		leader, follower, _ := b.LeaderAndOthers(t)
		const held = 3 * time.Second // less than a transport's patience
		release := b.Disks[follower].Hang()
		clustertest.MustPut(t, leader, "k", "v")
		time.Sleep(held)
		release()
		synctest.Wait()
		// The heartbeat after the append says that it is committed, and waits with it.
		late := 2 * leader.Config.Timing.Heartbeat / 10
		if age := follower.Replica().Age(); age < held-late {
			t.Errorf("its state is %v old, it says; an append has waited for %v", age, held)
		}
	})
}

// TestFreshness_IdleLeader shows that the state of a follower stays young while its leader has
// nothing to tell.
func TestFreshness_IdleLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) { cfg.Seams.Unhurried = false })
		_, follower, _ := b.LeaderAndOthers(t)
		for range 20 {
			time.Sleep(time.Second)
			if age, limit := follower.Replica().Age(), follower.Config.Timing.Heartbeat/4; age > limit {
				t.Fatalf("its state is %v old, want %v at most", age, limit)
			}
		}
	})
}
