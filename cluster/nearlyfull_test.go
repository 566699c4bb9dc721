package cluster_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

// TestNode_DiskNearlyFull lets the leader's disk run out of room, then all. A
// leader hands over to a node that has some; where none has, puts are refused as
// not done, on every node, while deletes and reads continue, until there is room.
func TestNode_DiskNearlyFull(t *testing.T) {
	t.Parallel()
	const ample, little = 1 << 40, 1 << 20
	var free [3]atomic.Int64
	made := 0
	nodes := clustertest.Open(t, 3, func(cfg *cluster.Config) {
		free[made].Store(ample)
		cfg.FS, cfg.BallastBytes = clustertest.SpacedFS{FS: wal.OS(), Bytes: &free[made]}, 1<<20
		made++
	})
	clustertest.MustPut(t, nodes[0], "k", "v")
	for _, n := range nodes {
		clustertest.Eventually(t, "there is a ballast", func() error {
			info, err := os.Stat(filepath.Join(n.Config.DataDir, clustertest.BallastFile))
			if err == nil && info.Size() != 1<<20 {
				err = fmt.Errorf("it has %d bytes", info.Size())
			}
			return err
		})
	}

	full := clustertest.Leader(t, nodes)
	for i, n := range nodes {
		if n == full {
			free[i].Store(little)
		}
	}
	clustertest.Eventually(t, "another node leads", func() error {
		if clustertest.Leader(t, nodes) == full {
			return errors.New("not yet")
		}
		return nil
	})
	clustertest.MustPut(t, full, "k", "w")
	once := kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "once"}}, IdempotencyKey: "once"}
	clustertest.Eventually(t, "a put with an idempotency key is done", func() error {
		_, err := full.Do(t.Context(), once)
		return err
	})

	for i := range free {
		free[i].Store(little)
	}
	for _, n := range nodes {
		clustertest.Eventually(t, n.Config.Name+" refuses puts", func() error {
			began := time.Now()
			_, err := n.Do(t.Context(), kv.Put("k2", nil))
			if !errors.Is(err, kv.ErrDiskFull) || errors.Is(err, kv.ErrUnknownOutcome) {
				return fmt.Errorf("got %v after %v, want ErrDiskFull", err, time.Since(began))
			}
			return nil
		})
	}
	for _, n := range nodes {
		if result, err := n.Get(t.Context(), "k", kv.ReadOptions{}); err != nil || string(result.Item.Value) != "w" {
			t.Errorf("%s: get: got %q, %v", n.Config.Name, result.Item.Value, err)
		}
		if _, err := n.Do(t.Context(), kv.Delete("other")); err != nil {
			t.Errorf("%s: delete: %v", n.Config.Name, err)
		}
		if got, err := n.Do(t.Context(), once); err != nil || !got.Replayed {
			t.Errorf("%s: a retry of what was done: got %+v, %v", n.Config.Name, got, err)
		}
	}
	for i := range free {
		free[i].Store(ample)
	}
	for _, n := range nodes {
		clustertest.Eventually(t, n.Config.Name+" takes puts again", func() error {
			_, err := n.Do(t.Context(), kv.Put("k", []byte("x")))
			return err
		})
	}
}

// TestTrial_B4_MajorityWithoutRoom lets the disks of both followers run out of room.
// The leader's has enough, but no put could be committed: it is refused, as not done,
// at once and not after a wait. A follower that is out of room loses nothing and does
// not stop.
func TestTrial_B4_MajorityWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ample, little = 1 << 40, 20 << 20
		free := map[string]*atomic.Int64{}
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) {
			free[cfg.Name] = new(atomic.Int64)
			free[cfg.Name].Store(ample)
			cfg.FS = clustertest.SpacedFS{FS: cfg.FS, Bytes: free[cfg.Name]}
		})
		clustertest.MustPut(t, b.Nodes[0], "k", "v")
		leader, one, two := b.LeaderAndOthers(t)
		free[one.Config.Name].Store(little)
		free[two.Config.Name].Store(little)
		clustertest.Eventually(t, "the leader knows", func() error {
			if _, err := leader.Do(t.Context(), kv.Put("k2", nil)); !errors.Is(err, kv.ErrDiskFull) {
				return fmt.Errorf("got %v, want ErrDiskFull", err)
			}
			return nil
		})
		for _, n := range b.Nodes {
			began := time.Now()
			_, err := n.Do(t.Context(), kv.Put("k2", make([]byte, 1<<20)))
			if !errors.Is(err, kv.ErrDiskFull) || errors.Is(err, kv.ErrUnknownOutcome) || !strings.Contains(err.Error(), "has room for 0 bytes") {
				t.Errorf("%s: got %v, want ErrDiskFull with the others' room", n.Config.Name, err)
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("%s: refused after %v", n.Config.Name, took)
			}
			if _, err := n.Do(t.Context(), kv.Delete("other")); err != nil {
				t.Errorf("%s: delete: %v", n.Config.Name, err)
			}
		}
		for _, bytes := range free {
			bytes.Store(ample)
		}
		clustertest.Eventually(t, "puts are taken again", func() error {
			_, err := b.Nodes[0].Do(t.Context(), kv.Put("k2", make([]byte, 1<<20)))
			return err
		})
	})
	if !t.Failed() {
		testkit.Outcome(t, "B4", "two followers without room: puts refused at once as not done, deletes taken, puts taken again with room")
	}
}
