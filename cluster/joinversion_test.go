package cluster_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// TestJoin_TooOldForWhatIsWritten has an older node join after a newer command was written.
// It is refused, and not told to belong to the cluster, until the log of no voter has it.
func TestJoin_TooOldForWhatIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) {
			cfg.Timing.Commit = 10 * time.Millisecond
			cfg.CheckpointInterval = time.Hour
			withoutHistory(cfg)
		})
		leader, one, other := b.LeaderAndOthers(t)
		if _, err := leader.Do(t.Context(), clustertest.Two("a", "b")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)                 // until the checkpoint, which is newer too
		clustertest.MustPut(t, leader, "c", "") // a snapshot leaves its last entry in the log
		for _, n := range b.Nodes {             // all have applied that entry, and their snapshots cover the newer command
			if _, err := n.Get(t.Context(), "c", kv.ReadOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		joiner := b.Joiner(t, "n4", func(cfg *cluster.Config) { cfg.MaxCommandVersion = 1 })
		refused := func(what string) {
			t.Helper()
			join := clustertest.GoJoin(clustertest.Soon(t), leader, joiner)
			<-join.Done
			if !errors.Is(join.Err, kv.ErrTooOld) || !strings.Contains(join.Err.Error(), "--max-command-version") {
				t.Errorf("%s: got %+v, %v, want an ErrTooOld that names the flag", what, join.Member, join.Err)
			}
			if cluster := joiner.ClusterID(); cluster != "" {
				t.Errorf("%s: the joiner belongs to cluster %s", what, cluster)
			}
			if got := clustertest.Members(leader, false); got != "[n1 n2 n3]" {
				t.Errorf("%s: members: %s", what, got)
			}
		}
		refused("all logs have the newer command")
		for _, n := range []*clustertest.Node{leader, one} {
			if _, err := n.Snapshot(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
		}
		refused("one voter's log has it")
		if _, err := other.Snapshot(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		join := clustertest.GoJoin(clustertest.Soon(t), leader, joiner)
		<-join.Done
		if join.Err != nil || !join.Member.Voter {
			t.Errorf("no log has it: got %+v, %v", join.Member, join.Err)
		}
	})
}

// TestJoin_CountsFromBeforeItsEntry has an older node join while newer requests are sent:
// none gets into the log behind the entry that makes it a member, though that one is still
// being written. The node would stop there.
func TestJoin_CountsFromBeforeItsEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 1, withoutHistory)
		n := b.Nodes[0]
		if _, err := n.Snapshot(t.Context(), ""); err != nil { // the checkpoint is in the log no more
			t.Fatal(err)
		}
		joiner := b.Joiner(t, "n2", func(cfg *cluster.Config) { cfg.NonVoter, cfg.Seams.CommandVersion = true, 1 })
		release := b.Disks[n].Hang()
		join := clustertest.GoJoin(clustertest.Soon(t), n, joiner)
		time.Sleep(time.Second)
		if got := joiner.ClusterID(); got == "" {
			t.Fatal("the join has not come to its entry")
		}
		newer := make(chan error, 1)
		go func() {
			_, err := n.Do(clustertest.Soon(t), clustertest.Two("a", "b"))
			newer <- err
		}()
		synctest.Wait()
		release()
		if err := <-newer; !errors.Is(err, kv.ErrUnsupported) || !strings.Contains(err.Error(), "n2 announces 1") {
			t.Errorf("a newer request: got %v, want an ErrUnsupported that names n2", err)
		}
		<-join.Done
		if join.Err != nil {
			t.Errorf("join: %v", join.Err)
		}
		clustertest.MustPut(t, n, "k", "v")
		clustertest.Eventually(t, "the joiner is ready", joiner.Ready)
		select {
		case <-joiner.Fatal():
			t.Errorf("the joiner has stopped: %v", joiner.Err())
		default:
		}
	})
}
