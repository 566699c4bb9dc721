package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// mustGrant grants a lease through a node and returns its id.
func mustGrant(t *testing.T, n *clustertest.Node, ttl time.Duration) kv.LeaseID {
	t.Helper()
	got, err := n.Do(clustertest.Soon(t), kv.Grant(0, ttl))
	if err != nil || got.Results[0].TTL != ttl {
		t.Fatalf("grant: got %+v %v", got, err)
	}
	return got.Results[0].Lease
}

// mustAttach puts a key that is attached to a lease.
func mustAttach(t *testing.T, n *clustertest.Node, key string, lease kv.LeaseID) {
	t.Helper()
	if _, err := n.Do(clustertest.Soon(t), kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: key, Lease: lease}}}); err != nil {
		t.Fatal(err)
	}
}

// leaseBubble opens three nodes with the usual timing.
func leaseBubble(t *testing.T) *clustertest.Bubble {
	t.Helper()
	return clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) {
		cfg.Timing, cfg.Seams.Unhurried = cluster.Timing{}, false
		cfg.Seams.OpenStable = clustertest.StableKept(cfg.FS)
	})
}

// TestLease_Lives follows leases over their lives through all nodes: they are granted, kept alive,
// described, listed, and revoked, and they run out in time.
func TestLease_Lives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := leaseBubble(t)
		id := mustGrant(t, b.Nodes[0], 5*time.Second)
		mustAttach(t, b.Nodes[1], "b", id)
		mustAttach(t, b.Nodes[2], "a", id)
		time.Sleep(3 * time.Second)
		for _, n := range b.Nodes {
			status, err := n.TimeToLive(clustertest.Soon(t), id, true)
			if err != nil || status.TTL != 5*time.Second || !slices.Equal(status.Keys, []string{"a", "b"}) ||
				status.Remaining > 2100*time.Millisecond || status.Remaining < 1500*time.Millisecond {
				t.Errorf("%s: got %+v %v", n.Config.Name, status, err)
			}
			list, err := n.Leases(clustertest.Soon(t), 0, 0)
			if err != nil || len(list.Leases) != 1 || list.Leases[0] != (kv.Lease{ID: id, TTL: 5 * time.Second}) {
				t.Errorf("%s: got %+v %v", n.Config.Name, list, err)
			}
		}
		for i := range 9 { // through each node in turn
			if i > 0 {
				time.Sleep(3 * time.Second)
			}
			if ttl, err := b.Nodes[i%3].KeepAlive(clustertest.Soon(t), id); err != nil || ttl != 5*time.Second {
				t.Fatalf("keep-alive %d: got %v %v", i, ttl, err)
			}
		}
		kept := time.Now()
		time.Sleep(4900 * time.Millisecond)
		if got, err := b.Nodes[0].Get(clustertest.Soon(t), "a", kv.ReadOptions{}); err != nil || !got.Found {
			t.Errorf("gone before the lease has run out: %v", err)
		}
		watch, err := b.Nodes[1].Watch(clustertest.Soon(t), kv.WatchOptions{Span: kv.All()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = watch.Close() }()
		changes, err := watch.Next(clustertest.Soon(t))
		for err == nil && len(changes.Events) == 0 {
			changes, err = watch.Next(clustertest.Soon(t))
		}
		late := time.Since(kept.Add(5 * time.Second))
		if err != nil || len(changes.Events) != 2 || late < 0 || late > time.Second {
			t.Fatalf("%v after it ran out: got %+v %v", late, changes, err)
		}
		for i, key := range []string{"a", "b"} {
			if e := changes.Events[i]; e.Kind != kv.EventExpire || e.Item.Key != key || e.Item.ModRevision != changes.Events[0].Item.ModRevision {
				t.Errorf("event %d: got %+v", i, e)
			}
		}
		for _, n := range b.Nodes {
			if ttl, err := n.KeepAlive(clustertest.Soon(t), id); ttl != 0 || err != nil {
				t.Errorf("keep-alive after the end: got %v %v", ttl, err)
			}
			if _, err := n.TimeToLive(clustertest.Soon(t), id, true); !errors.Is(err, kv.ErrLeaseNotFound) {
				t.Errorf("time to live after the end: got %v", err)
			}
		}
		id = mustGrant(t, b.Nodes[2], time.Hour)
		if _, err := b.Nodes[1].Do(clustertest.Soon(t), kv.Revoke(id)); err != nil {
			t.Error(err)
		}
		if ttl, err := b.Nodes[0].KeepAlive(clustertest.Soon(t), id); ttl != 0 || err != nil {
			t.Errorf("keep-alive after a revoke: got %v %v", ttl, err)
		}
	})
}

// TestLease_NewLeaders restarts leaders again and again. A lease that is kept alive never ends, and
// each lease ends in time once nobody keeps it alive.
func TestLease_NewLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := leaseBubble(t)
		nodes := slices.Clone(b.Nodes)
		kept := mustGrant(t, nodes[0], 3*time.Second)
		mustAttach(t, nodes[0], "kept", kept)
		ctx, cancel := context.WithCancel(t.Context())
		var keeping sync.WaitGroup
		var mu sync.Mutex // guards nodes, which the test replaces
		node := func(i int) *clustertest.Node {
			mu.Lock()
			defer mu.Unlock()
			return nodes[i%3]
		}
		keeping.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				attempt, cancel := context.WithTimeout(ctx, 700*time.Millisecond)
				ttl, err := node(i).KeepAlive(attempt, kept)
				cancel()
				if err == nil && ttl == 0 {
					t.Error("the lease that is kept alive has ended")
					return
				}
				time.Sleep(333 * time.Millisecond)
			}
		})
		for i := range 4 {
			lost := mustGrant(t, node(i), 2*time.Second)
			mustAttach(t, node(i), "lost", lost)
			time.Sleep(time.Second)
			leader := clustertest.Leader(t, nodes)
			if err := leader.Close(); err != nil {
				t.Fatal(err)
			}
			rest := clustertest.Others(nodes, leader)
			clustertest.AwaitLeads(t, clustertest.Leader(t, rest))
			if got, err := rest[0].Get(clustertest.Soon(t), "lost", kv.ReadOptions{}); err != nil || !got.Found {
				t.Errorf("leader %d: a lease has ended at the beginning of a term: %v", i, err)
			}
			at := slices.Index(nodes, leader)
			again := []*clustertest.Node{leader}
			openAgain(t, b, again)
			mu.Lock()
			nodes[at] = again[0]
			mu.Unlock()
			time.Sleep(4 * time.Second)
			if got, err := rest[1].Get(clustertest.Soon(t), "lost", kv.ReadOptions{}); err != nil || got.Found {
				t.Errorf("leader %d: a lease lives on: %v", i, err)
			}
			if got, err := rest[0].Get(clustertest.Soon(t), "kept", kv.ReadOptions{}); err != nil || !got.Found {
				t.Errorf("leader %d: the key of the lease that is kept alive is gone: %v", i, err)
			}
		}
		cancel()
		keeping.Wait()
	})
}

// TestLease_KeepAlivesShareMessages keeps many leases alive at once through a follower.
func TestLease_KeepAlivesShareMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := leaseBubble(t)
		_, follower, _ := b.LeaderAndOthers(t)
		ids := make([]kv.LeaseID, 300)
		for i := range ids {
			ids[i] = mustGrant(t, b.Nodes[i%3], 3*time.Second)
		}
		var all sync.WaitGroup
		for i, id := range ids {
			all.Go(func() {
				want := 3 * time.Second
				if i%10 == 0 {
					id, want = id+1, 0 // nobody's
				}
				if ttl, err := follower.KeepAlive(clustertest.Soon(t), id); err != nil || ttl != want {
					t.Errorf("lease %d: got %v %v, want %v", i, ttl, err, want)
				}
			})
		}
		all.Wait()
		time.Sleep(5 * time.Second)
		if list, err := follower.Leases(clustertest.Soon(t), 0, 10); err != nil || len(list.Leases) != 0 {
			t.Errorf("after all have run out: got %+v %v", list, err)
		}
	})
}

// TestLease_NoLeader shows that without a leader no lease ends, and that nothing is said about one.
func TestLease_NoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := leaseBubble(t)
		id := mustGrant(t, b.Nodes[0], 2*time.Second)
		mustAttach(t, b.Nodes[0], "k", id)
		for _, n := range b.Nodes[1:] {
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if ttl, err := b.Nodes[0].KeepAlive(ctx, id); kv.Classify(err) == nil || kv.Classify(err).Outcome != kv.NotDone {
			t.Errorf("keep-alive: got %v %v", ttl, err)
		}
		if got, err := b.Nodes[0].Get(t.Context(), "k", kv.ReadOptions{Level: kv.Stale}); err != nil || !got.Found {
			t.Errorf("the key is gone: %v", err)
		}
	})
}

// BenchmarkLease_KeepAlive keeps leases alive through all nodes of a cluster with 100,000 of them.
func BenchmarkLease_KeepAlive(b *testing.B) {
	nodes := clustertest.Open(b, 3, nil)
	const leases = 100_000
	var granting sync.WaitGroup
	for worker := range 200 {
		granting.Go(func() {
			for i := worker; i < leases; i += 200 {
				if _, err := nodes[i%3].Do(b.Context(), kv.Grant(kv.LeaseID(i+1), time.Hour)); err != nil {
					b.Error(fmt.Errorf("grant %d: %w", i, err))
					return
				}
			}
		})
	}
	granting.Wait()
	b.SetParallelism(500)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if ttl, err := nodes[i%3].KeepAlive(b.Context(), kv.LeaseID(i%leases+1)); err != nil || ttl == 0 {
				b.Errorf("got %v %v", ttl, err)
				return
			}
		}
	})
}
