package cluster_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
)

// TestExpire_MemberDown stops a leader, restarts the others, and then starts it again with a
// lower command version. Keys are hidden in time: also while a new leader asks the members for
// their versions, one of which does not answer, and while one has too low a version, so that no
// entry may remove keys.
func TestExpire_MemberDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) {
			cfg.Timing, cfg.Seams.Unhurried = cluster.Timing{}, false
			cfg.Seams.OpenStable = clustertest.StableKept(cfg.FS)
		})
		l := &lives{keys: map[string]life{}, gone: map[string]bool{}}
		for i := range 100 {
			l.put(t, b.Nodes, i%3, fmt.Sprintf("k%02d", i), time.Duration(i+1)*211*time.Millisecond)
		}
		leader, one, two := b.LeaderAndOthers(t)
		nodes := []*clustertest.Node{one, two}
		if err := leader.Close(); err != nil {
			t.Fatal(err)
		}
		clustertest.AwaitLeads(t, clustertest.Leader(t, nodes))
		l.watch(t, nodes, 3*time.Second)
		closeAll(t, nodes)
		openAgain(t, b, nodes)
		l.watch(t, nodes, 6*time.Second)
		for _, n := range nodes {
			if at := n.State().NextDeadline(); at <= n.State().Clock()/int64(time.Millisecond) {
				t.Errorf("%s: a key that is due is not removed", n.Config.Name)
			}
		}
		cfg := leader.Config
		cfg.PeerListener, cfg.MaxCommandVersion = b.Listen(cfg.AdvertisePeer), 3
		lowered, err := clustertest.Try(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = lowered.Close() })
		l.watch(t, nodes, 15*time.Second)
		if lowered.State().Expiring() == 0 {
			t.Error("keys are removed although a member announces that it can't do it")
		}
		t.Logf("keys were readable up to %v after their deadlines", l.worst)
	})
}
