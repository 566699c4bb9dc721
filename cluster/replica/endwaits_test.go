package replica_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// TestFatal_EndsWaits has a node that knows no leader, or has lost its majority, be asked
// for writes, reads and a change of the membership, and then find that it must stop. All
// are told at once, and what may have happened is said to be unknown: a node that waits
// for its clients comes back that much later.
func TestFatal_EndsWaits(t *testing.T) {
	t.Run("NoLeader", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := clustertest.OpenBubble(t, 3, nil)
			leader, one, two := b.LeaderAndOthers(t)
			b.HoldBetween(leader, one, two)
			b.HoldBetween(one, two)
			time.Sleep(10 * leader.Config.Timing.Lease)
			endWaits(t, leader, kv.ErrClosed)
			b.LetAll()
		})
	})
	t.Run("Sent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := clustertest.OpenBubble(t, 3, nil)
			leader, one, two := b.LeaderAndOthers(t)
			b.HoldBetween(leader, one, two)
			endWaits(t, leader, kv.ErrUnknownOutcome)
			b.LetAll()
		})
	})
}

// endWaits makes requests of a node, has it find that it must stop, and wants each to end
// at that moment; a write with an error.
func endWaits(t *testing.T, n *clustertest.Node, write error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	results := map[string]chan error{}
	ask := func(what string, request func() error) {
		result := make(chan error, 1)
		results[what] = result
		go func() { result <- request() }()
	}
	ask("put", func() error { _, err := n.Do(ctx, kv.Put("k", nil)); return err })
	ask("get", func() error { _, err := n.Get(ctx, "k", kv.ReadOptions{}); return err })
	ask("get of a revision to come", func() error {
		_, err := n.Get(ctx, "k", kv.ReadOptions{Level: kv.Stale, MinRevision: n.State().Revision() + 1})
		return err
	})
	if n.Raft().State() != raft.Leader {
		ask("leave", func() error { return n.Leave(ctx, kv.LeaveRequest{ID: "n2"}) })
	}
	synctest.Wait()
	began := time.Now()
	n.Replica().Fail(errors.New("the disk has failed"))
	for what, result := range results {
		err := <-result
		if err == nil || (what == "put" && !errors.Is(err, write)) {
			t.Errorf("%s: got %v", what, err)
		}
		if took := time.Since(began); took > n.Config.Timing.Heartbeat/10 {
			t.Errorf("%s: told after %v", what, took)
		}
	}
}
