package cluster_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// TestExpire_DiskFull shows that keys expire in time while no disk has room for puts.
func TestExpire_DiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ample, little = 1 << 40, 20 << 20
		var free atomic.Int64
		free.Store(ample)
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) {
			cfg.FS = clustertest.SpacedFS{FS: cfg.FS, Bytes: &free}
			cfg.Timing.Commit, cfg.Seams.Unhurried = 10*time.Millisecond, false
		})
		got, err := b.Nodes[0].Do(t.Context(), kv.PutTTL("k", nil, time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		free.Store(little)
		clustertest.Eventually(t, "puts are refused", func() error {
			if _, err := b.Nodes[0].Do(t.Context(), kv.Put("k2", nil)); !errors.Is(err, kv.ErrDiskFull) {
				return fmt.Errorf("got %v, want ErrDiskFull", err)
			}
			return nil
		})
		deadline := time.UnixMilli(got.Results[0].Deadline)
		for _, late := range []time.Duration{-50 * time.Millisecond, 50 * time.Millisecond} {
			time.Sleep(time.Until(deadline.Add(late)))
			for _, n := range b.Nodes {
				if got, err := n.Get(t.Context(), "k", kv.ReadOptions{Level: kv.Stale}); err != nil || got.Found != (late < 0) {
					t.Errorf("%s, %v after the deadline: found %t, %v", n.Config.Name, late, got.Found, err)
				}
			}
		}
		if _, err := b.Nodes[0].Do(t.Context(), kv.Put("k2", nil)); !errors.Is(err, kv.ErrDiskFull) {
			t.Errorf("a put: got %v, want ErrDiskFull", err)
		}
	})
}
