package replica_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/kv"
)

// putWithin tries to put through each node but one until limit has passed.
func putWithin(t *testing.T, nodes []*clustertest.Node, without *clustertest.Node, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var err error = kv.ErrNoLeader
	for i := 0; ctx.Err() == nil; i++ {
		if n := nodes[i%len(nodes)]; n != without {
			attempt, cancel := context.WithTimeout(ctx, limit/4)
			_, err = n.Do(attempt, kv.Put("k", fmt.Append(nil, i)))
			cancel()
			if err == nil {
				return nil
			}
		}
	}
	return err
}

// TestIssue503_D6_HungDisk has the disk of a leader hang. Raft's heartbeats continue,
// so that it leads for as long as that takes, and nothing is written (hashicorp/raft
// issues 503, 614 and 666). A node that is silent meanwhile lets another one lead,
// and follows when the disk comes back; one whose disk does not, stops.
func TestIssue503_D6_HungDisk(t *testing.T) {
	const outage = 10 * time.Minute
	hang := func(t *testing.T, stall, fatal time.Duration) (b *clustertest.Bubble, leader *clustertest.Node, release func()) {
		b = clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) { cfg.Timing.Stall, cfg.Timing.StallFatal = stall, fatal })
		leader = clustertest.Leader(t, b.Nodes)
		return b, leader, b.Disks[leader].Hang()
	}
	clustertest.InBubble(t, "WithoutMeasure", func(t *testing.T) {
		b, leader, release := hang(t, 2*outage, 3*outage)
		defer release()
		if err := putWithin(t, b.Nodes, leader, outage); err == nil {
			t.Error("a write was done although the leader's disk hangs: issue 503 is fixed, or this is no control")
		}
		if leader.Status().Role != "leader" {
			t.Error("the node does not lead any more: issue 503 is fixed, or this is no control")
		}
	})
	clustertest.InBubble(t, "OK", func(t *testing.T) {
		b, leader, release := hang(t, replica.DefaultStall, outage)
		if err := putWithin(t, b.Nodes, leader, replica.DefaultStall+10*time.Second); err != nil {
			t.Errorf("put while the leader's disk hangs: %v", err)
		}
		if leader.Err() != nil {
			t.Errorf("the node has stopped: %v", leader.Err())
		}
		release()
		if got := <-clustertest.GoGet(t, leader, "k"); got == "" || strings.HasPrefix(got, "error") {
			t.Errorf("a read through the node whose disk is back: %q", got)
		}
	})
	clustertest.InBubble(t, "Fatal", func(t *testing.T) {
		b, leader, release := hang(t, replica.DefaultStall, replica.DefaultStallFatal)
		defer release()
		if err := putWithin(t, b.Nodes, leader, replica.DefaultStall+10*time.Second); err != nil {
			t.Errorf("put: %v", err)
		}
		select {
		case <-leader.Fatal():
		case <-time.After(replica.DefaultStallFatal):
			t.Fatal("the node has not stopped")
		}
		if !strings.Contains(fmt.Sprint(leader.Err()), "a write to the log does not return") {
			t.Errorf("got %v, want that a write does not return", leader.Err())
		}
	})
}
