package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/wal"
)

// spacedFS is a disk with as much room as a test says.
type spacedFS struct {
	wal.FS
	free *atomic.Int64
}

func (s spacedFS) Free(string) (int64, error) { return s.free.Load(), nil }

// TestNode_DiskNearlyFull lets one disk after the other run out of room. A
// leader hands over to a node that has some; where none has, puts are refused as
// not done, on every node, while deletes and reads go on, until there is room.
func TestNode_DiskNearlyFull(t *testing.T) {
	const ample, little = 1 << 40, 1 << 20
	var free [3]atomic.Int64
	made := 0
	nodes := openCluster(t, 3, func(cfg *Config) {
		free[made].Store(ample)
		cfg.FS, cfg.BallastBytes = spacedFS{wal.OS(), &free[made]}, 1<<20
		made++
	})
	putUntilDone(t, nodes[0], "v")
	for _, n := range nodes {
		eventually(t, "there is a ballast", func() error {
			info, err := os.Stat(filepath.Join(n.cfg.DataDir, ballastFile))
			if err == nil && info.Size() != 1<<20 {
				err = fmt.Errorf("it has %d bytes", info.Size())
			}
			return err
		})
	}

	for range 2 {
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
		putUntilDone(t, full, "w")
	}

	for i := range free {
		free[i].Store(little)
	}
	for _, n := range nodes {
		eventually(t, n.cfg.Name+" refuses puts", func() error {
			began := time.Now()
			_, err := n.Put(t.Context(), "k2", nil, Condition{})
			if !errors.Is(err, ErrDiskFull) || errors.Is(err, ErrUnknownOutcome) {
				return fmt.Errorf("got %v after %v, want ErrDiskFull", err, time.Since(began))
			}
			return nil
		})
	}
	for _, n := range nodes {
		if result, err := n.Get(t.Context(), "k", ReadOptions{}); err != nil || string(result.Item.Value) != "w" {
			t.Errorf("%s: get: got %q, %v", n.cfg.Name, result.Item.Value, err)
		}
		if _, err := n.Delete(t.Context(), "other", Condition{}); err != nil {
			t.Errorf("%s: delete: %v", n.cfg.Name, err)
		}
	}
	for i := range free {
		free[i].Store(ample)
	}
	for _, n := range nodes {
		putUntilDone(t, n, "x")
	}
}
