package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

// spacedFS is a disk with as much room as a test says.
type spacedFS struct {
	wal.FS
	free *atomic.Int64
}

func (s spacedFS) Free(string) (int64, error) { return s.free.Load(), nil }

// TestNode_DiskNearlyFull lets the leader's disk run out of room, then all. A
// leader hands over to a node that has some; where none has, puts are refused as
// not done, on every node, while deletes and reads continue, until there is room.
func TestNode_DiskNearlyFull(t *testing.T) {
	t.Parallel()
	const ample, little = 1 << 40, 1 << 20
	var free [3]atomic.Int64
	made := 0
	nodes := openCluster(t, 3, func(cfg *Config) {
		free[made].Store(ample)
		cfg.FS, cfg.BallastBytes = spacedFS{wal.OS(), &free[made]}, 1<<20
		made++
	})
	mustPut(t, nodes[0], "k", "v")
	for _, n := range nodes {
		eventually(t, "there is a ballast", func() error {
			info, err := os.Stat(filepath.Join(n.cfg.DataDir, ballastFile))
			if err == nil && info.Size() != 1<<20 {
				err = fmt.Errorf("it has %d bytes", info.Size())
			}
			return err
		})
	}

	full := leaderOf(t, nodes)
	for i, n := range nodes {
		if n == full {
			free[i].Store(little)
		}
	}
	eventually(t, "another node leads", func() error {
		if leaderOf(t, nodes) == full {
			return errors.New("not yet")
		}
		return nil
	})
	mustPut(t, full, "k", "w")

	for i := range free {
		free[i].Store(little)
	}
	for _, n := range nodes {
		eventually(t, n.cfg.Name+" refuses puts", func() error {
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
			t.Errorf("%s: get: got %q, %v", n.cfg.Name, result.Item.Value, err)
		}
		if _, err := n.Do(t.Context(), kv.Delete("other")); err != nil {
			t.Errorf("%s: delete: %v", n.cfg.Name, err)
		}
	}
	for i := range free {
		free[i].Store(ample)
	}
	for _, n := range nodes {
		eventually(t, n.cfg.Name+" takes puts again", func() error {
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
	t.Parallel()
	const ample, little = 1 << 40, 20 << 20
	var free [3]atomic.Int64
	made := 0
	nodes := openCluster(t, 3, func(cfg *Config) {
		free[made].Store(ample)
		cfg.FS = spacedFS{wal.OS(), &free[made]}
		made++
	})
	mustPut(t, nodes[0], "k", "v")
	leader := leaderOf(t, nodes)
	for i, n := range nodes {
		if n != leader {
			free[i].Store(little)
		}
	}
	eventually(t, "the leader knows", func() error {
		if _, err := leader.Do(t.Context(), kv.Put("k2", nil)); !errors.Is(err, kv.ErrDiskFull) {
			return fmt.Errorf("got %v, want ErrDiskFull", err)
		}
		return nil
	})
	for _, n := range nodes {
		_, err := n.Do(t.Context(), kv.Put("k2", make([]byte, 1<<20)))
		if !errors.Is(err, kv.ErrDiskFull) || errors.Is(err, kv.ErrUnknownOutcome) || !strings.Contains(err.Error(), "has room for 0 bytes") {
			t.Errorf("%s: got %v, want ErrDiskFull with the others' room", n.cfg.Name, err)
		}
		if _, err := n.Do(t.Context(), kv.Delete("other")); err != nil {
			t.Errorf("%s: delete: %v", n.cfg.Name, err)
		}
	}
	for i := range free {
		free[i].Store(ample)
	}
	eventually(t, "puts are taken again", func() error {
		_, err := nodes[0].Do(t.Context(), kv.Put("k2", make([]byte, 1<<20)))
		return err
	})
	testkit.Outcome(t, "B4", "two followers without room: puts refused at once as not done, deletes taken, puts taken again with room")
}
