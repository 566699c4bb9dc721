package cluster_test

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
)

// TestSettings_MemberBelowAnswersLater sets a length of values while a member that has no memory
// for it does not answer. The setting is taken, and the leader logs the member's name later.
func TestSettings_MemberBelowAnswersLater(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		const large = 10_000
		var lines testkit.Log
		b := clustertest.OpenBubble(t, 1, func(c *cluster.Config) {
			c.MaxValueBytes, c.Logger = large, slog.New(slog.NewTextHandler(&lines, nil))
		})
		leader := b.Nodes[0]
		small := b.Joiner(t, "n2", func(c *cluster.Config) { c.NonVoter, c.MaxValueBytes = true, large-1 })
		join := clustertest.GoJoin(clustertest.Soon(t), leader, small)
		if <-join.Done; join.Err != nil {
			t.Fatal(join.Err)
		}
		b.HoldBetween(small, leader)
		if err := leader.SetSettings(t.Context(), kv.Settings{MaxValueBytes: large}); err != nil {
			t.Fatal(err)
		}
		const line = "members take longer values than their memory"
		if lines.Count(line) != 0 {
			t.Error("logged before the member answers")
		}
		b.LetAll()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := lines.Count(line); got != 1 || lines.Count(`members="[{ID:n2 `) != 1 {
			t.Errorf("logged %d times, want once, with n2", got)
		}
	})
}
