package replica_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// goTryPut puts a key in the background, and returns where the error comes.
func goTryPut(t *testing.T, n *clustertest.Node, key string) <-chan error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	ended := make(chan error, 1)
	go func() {
		_, err := n.Do(ctx, kv.Put(key, []byte("v")))
		ended <- err
	}()
	return ended
}

// logEnd returns the index of the last entry of a node's log, also of one that it still
// writes.
func logEnd(t *testing.T, n *clustertest.Node) uint64 {
	t.Helper()
	last, err := n.Stores().Log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// pendingPut returns a cluster with a put that only the followers have: the leader's disk
// hangs until release is called. The put's entry is the one behind before.
func pendingPut(t *testing.T, change func(*cluster.Config)) (b *clustertest.Bubble, before uint64, put <-chan error, release func()) {
	t.Helper()
	b = clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) {
		cfg.Timing.Stall, cfg.Timing.StallFatal = 10*time.Minute, 20*time.Minute
		if change != nil {
			change(cfg)
		}
	})
	leader, one, two := b.LeaderAndOthers(t)
	clustertest.MustPut(t, leader, "before", "v")
	clustertest.Eventually(t, "all have applied all", func() error {
		for _, n := range b.Nodes {
			if n.State().AppliedIndex() != logEnd(t, leader) {
				return errors.New("not yet")
			}
		}
		return nil
	})
	before = logEnd(t, leader)
	release = b.Disks[leader].Hang()
	put = goTryPut(t, leader, "overlapped")
	clustertest.Eventually(t, "the followers have the entry", func() error {
		if logEnd(t, one) != before+1 || logEnd(t, two) != before+1 {
			return errors.New("not yet")
		}
		return nil
	})
	return b, before, put, release
}

// wantApplied fails the test if a node has applied more than entry want, or says that more is
// committed.
func wantApplied(t *testing.T, nodes []*clustertest.Node, want uint64) {
	t.Helper()
	for _, n := range nodes {
		if got := n.State().AppliedIndex(); got != want {
			t.Errorf("%s has applied entry %d, and the leader has only %d", n.Config.Name, got, want)
		}
		if got := n.Status().CommitIndex; got != want {
			t.Errorf("%s says that entry %d is committed, and the leader has only %d", n.Config.Name, got, want)
		}
	}
}

// TestOverlap has a put wait for the leader's disk. The followers already have the entry, and
// raft takes it for committed. But nobody acknowledges it, applies it, or says that it is
// committed, before it is durable on the leader.
func TestOverlap(t *testing.T) {
	clustertest.InBubble(t, "Put", func(t *testing.T) {
		b, before, put, release := pendingPut(t, nil)
		leader, one, _ := b.LeaderAndOthers(t)
		time.Sleep(20 * time.Second) // simulated; heartbeats and appends have gone round many times
		if got := leader.Raft().CommitIndex(); got != before+1 {
			t.Errorf("raft has committed entry %d, want %d: this test shows nothing", got, before+1)
		}
		wantApplied(t, b.Nodes, before)
		select {
		case err := <-put:
			t.Errorf("the put has ended: %v", err)
		default:
		}
		release()
		if err := <-put; err != nil {
			t.Errorf("put: %v", err)
		}
		if got := <-clustertest.GoGet(t, one, "overlapped"); got != "v" {
			t.Errorf("a follower reads %q", got)
		}
	})
	clustertest.InBubble(t, "Close", func(t *testing.T) {
		b, before, put, release := pendingPut(t, func(cfg *cluster.Config) { cfg.Timing.Commit = 50 * time.Millisecond })
		leader, one, two := b.LeaderAndOthers(t)
		closed := make(chan error, 1)
		go func() { closed <- leader.Close() }()
		looks := 0
		for range 20 { // raft sends appends until its part of the transport is closed
			time.Sleep(20 * time.Millisecond)
			if l := one.Status().Leader; l == nil || l.ID != leader.Config.Name {
				break // the others have begun to elect
			}
			wantApplied(t, []*clustertest.Node{one, two}, before)
			looks++
		}
		if looks < 5 {
			t.Errorf("%d looks while the leader closes: this test shows nothing", looks)
		}
		if err := <-put; !errors.Is(err, kv.ErrUnknownOutcome) && !errors.Is(err, kv.ErrClosed) {
			t.Errorf("put: %v", err)
		}
		release()
		if err := <-closed; err != nil {
			t.Errorf("close: %v", err)
		}
	})
	clustertest.InBubble(t, "BrokenDisk", func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, nil)
		leader, _, _ := b.LeaderAndOthers(t)
		clustertest.MustPut(t, leader, "before", "v")
		b.Disks[leader].Fail(errors.New("broken disk"))
		if err := <-goTryPut(t, leader, "k"); !errors.Is(err, kv.ErrUnknownOutcome) {
			t.Errorf("put on a broken disk: %v, want an unknown outcome", err)
		}
		if err := leader.Raft().Snapshot().Error(); err == nil {
			t.Error("a node whose log has failed takes a snapshot")
		}
		if err := putWithin(t, b.Nodes, leader, 10*time.Second); err != nil {
			t.Errorf("the node whose disk broke leads on: %v", err)
		}
	})
	clustertest.InBubble(t, "AnotherLeader", func(t *testing.T) {
		b, _, put, release := pendingPut(t, func(cfg *cluster.Config) { cfg.Timing.Stall = 10 * time.Second })
		leader, one, _ := b.LeaderAndOthers(t)
		if err := putWithin(t, b.Nodes, leader, time.Minute); err != nil {
			t.Errorf("put through others: %v", err)
		}
		if err := <-put; !errors.Is(err, kv.ErrUnknownOutcome) {
			t.Errorf("put that the leader's disk did not take: %v, want an unknown outcome", err)
		}
		release()
		// The followers had the entry, so the new leader has committed it.
		for _, n := range []*clustertest.Node{one, leader} {
			if got := <-clustertest.GoGet(t, n, "overlapped"); got != "v" {
				t.Errorf("%s reads %q", n.Config.Name, got)
			}
		}
	})
}
