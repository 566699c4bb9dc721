package cluster_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// TestJoin_WaitsForTheBatchUnderWay has an older node join while a batch with a newer
// request, which was admitted before, is still being written: the join waits for that, and
// is refused. Otherwise the node would be a member, and be sent what it does not understand.
func TestJoin_WaitsForTheBatchUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 1, nil)
		n := b.Nodes[0]
		if _, err := n.Snapshot(t.Context(), ""); err != nil { // the checkpoint is in the log no more
			t.Fatal(err)
		}
		joiner := b.Joiner(t, "n2", func(cfg *cluster.Config) { cfg.MaxCommandVersion = 1 })
		release := b.Disks[n].Hang()
		written := make(chan error, 1)
		go func() {
			_, err := n.Do(t.Context(), clustertest.Two("a", "b"))
			written <- err
		}()
		synctest.Wait()
		join := clustertest.GoJoin(clustertest.Soon(t), n, joiner)
		time.Sleep(time.Second)
		release()
		<-join.Done
		if err := <-written; err != nil {
			t.Errorf("the request under way: %v", err)
		}
		if !errors.Is(join.Err, kv.ErrTooOld) {
			t.Errorf("join: got %+v, %v, want ErrTooOld", join.Member, join.Err)
		}
		if got := clustertest.Members(n, false); got != "[n1]" {
			t.Errorf("members: %s", got)
		}
	})
}

// TestVersions_NewLeaderAsksFirst has a member come back with less while the next leader
// does not reach it: the present leader alone hears of it. The next leader asks before it
// writes anything newer, though the member had announced more to it before.
func TestVersions_NewLeaderAsksFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		configs := make(map[string]cluster.Config)
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) {
			cfg.Timing.Commit = 10 * time.Millisecond // a successor must know what is committed
			cfg.Seams.OpenStable = clustertest.StableKept(cfg.FS)
			configs[cfg.Name] = *cfg
		})
		leader, next, lowered := b.LeaderAndOthers(t)
		mustTransfer(t, leader, next)
		mustTransfer(t, next, leader) // each has led, and knows what the others announce
		b.HoldBetween(next, lowered)
		if err := lowered.Close(); err != nil {
			t.Fatal(err)
		}
		cfg := configs[lowered.Config.Name]
		cfg.PeerListener, cfg.MaxCommandVersion = b.Listen(cfg.AdvertisePeer), 1
		again, err := clustertest.Try(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = again.Close() })
		clustertest.Eventually(t, "the leader hears of it", func() error {
			if version := announced(leader, again); version != 1 {
				return fmt.Errorf("it knows of version %d", version)
			}
			return nil
		})
		if version := announced(next, again); version != fsm.Version { // by gossip it is 1
			t.Fatalf("the next leader knows of version %d", version)
		}
		mustTransfer(t, leader, next)
		done := make(chan error, 1)
		go func() {
			_, err := next.Do(clustertest.Soon(t), clustertest.Two("a", "b"))
			done <- err
		}()
		time.Sleep(100 * time.Millisecond)
		b.LetAll()
		if err := <-done; !errors.Is(err, kv.ErrUnsupported) || !strings.Contains(err.Error(), again.Config.Name+" announces 1") {
			t.Errorf("got %v, want a kv.ErrUnsupported that names %s", err, again.Config.Name)
		}
	})
}

// announced returns the command version that another node has announced, as far as n knows.
func announced(n, other *clustertest.Node) int {
	for _, m := range n.Status().Members {
		if m.ID == other.Config.Name {
			return m.CommandVersion
		}
	}
	return 0
}

// mustTransfer has one node hand leadership to another.
func mustTransfer(t *testing.T, from, to *clustertest.Node) {
	t.Helper()
	if err := from.Transfer(clustertest.Soon(t), to.Config.Name); err != nil {
		t.Fatal(err)
	}
	clustertest.AwaitLeads(t, to)
}
