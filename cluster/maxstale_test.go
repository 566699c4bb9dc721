package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

// TestNode_MaxStale shows that a bounded stale read is served while the leader is
// heard, and refused when it has been silent for longer; an unbounded one continues.
func TestNode_MaxStale(t *testing.T) {
	t.Parallel()
	nodes := clustertest.Open(t, 3, nil)
	leader := clustertest.Leader(t, nodes)
	follower := nodes[0]
	if follower == leader {
		follower = nodes[1]
	}
	clustertest.MustPut(t, leader, "k", "v")
	get := func(n *clustertest.Node, bound time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := n.Get(ctx, "k", kv.ReadOptions{Level: kv.Stale, MaxStale: bound})
		return err
	}
	for _, n := range nodes {
		if err := get(n, time.Second); err != nil {
			t.Errorf("%s: got %v", n.Config.Name, err)
		}
	}
	for _, n := range nodes {
		if n != follower {
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	clustertest.Eventually(t, "the read is too stale", func() error {
		if err := get(follower, 200*time.Millisecond); !errors.Is(err, kv.ErrNoLeader) {
			return fmt.Errorf("got %v, want ErrNoLeader", err)
		}
		return nil
	})
	if err := get(follower, 0); err != nil {
		t.Errorf("without a bound: got %v", err)
	}
	var invalid *kv.ValidationError
	if _, err := follower.Get(t.Context(), "k", kv.ReadOptions{MaxStale: time.Second}); !errors.As(err, &invalid) {
		t.Errorf("a bound on a linearizable read: got %v", err)
	}
}

// TestNode_MaxStaleCatchingUp checks that a follower which gets the log piece by
// piece does not take a piece for all there is: its state is old until the last.
func TestNode_MaxStaleCatchingUp(t *testing.T) {
	t.Parallel()
	var configs []cluster.Config
	nodes := clustertest.Open(t, 3, func(c *cluster.Config) { configs = append(configs, *c) })
	leader := clustertest.Leader(t, nodes)
	i := slices.IndexFunc(nodes, func(n *clustertest.Node) bool { return n != leader })
	if err := nodes[i].Close(); err != nil {
		t.Fatal(err)
	}
	const writes = 400
	for v := range writes {
		clustertest.MustPut(t, leader, "k", fmt.Sprint(v))
	}
	time.Sleep(time.Second)
	configs[i].FS = clustertest.SlowFS{FS: wal.OS(), Takes: 50 * time.Millisecond}
	n := clustertest.OpenMoved(t, configs[i])
	clustertest.Eventually(t, "the follower is current", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		got, err := n.Get(ctx, "k", kv.ReadOptions{Level: kv.Stale, MaxStale: 200 * time.Millisecond})
		if want := strconv.Itoa(writes - 1); err == nil && string(got.Item.Value) != want {
			t.Fatalf("a read at most 200ms stale has %q; it has been %q for a second", got.Item.Value, want)
		}
		return err
	})
}
