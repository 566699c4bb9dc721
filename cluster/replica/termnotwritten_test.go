package replica_test

import (
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/raftstore"
)

// brittleStable is a stable store whose disk fails when it is told to.
type brittleStable struct {
	raft.StableStore
	broken *atomic.Bool
}

func (b brittleStable) Set(key, value []byte) error {
	if b.broken.Load() {
		return syscall.EIO
	}
	return b.StableStore.Set(key, value)
}

// TestD7_TermNotWritten has a term that can't be made durable stop the node, and
// not the program that it is part of, which raft's panic would end.
func TestD7_TermNotWritten(t *testing.T) {
	t.Parallel()
	var broken [3]atomic.Bool
	made := 0
	nodes := clustertest.Open(t, 3, func(cfg *cluster.Config) {
		mine := &broken[made]
		made++
		cfg.Seams.OpenStable = func(path string) (raft.StableStore, io.Closer, error) {
			inner, closer, err := raftstore.OpenBolt(path)
			return brittleStable{inner, mine}, closer, err
		}
	})
	leader := clustertest.Leader(t, nodes)
	bad := slices.IndexFunc(nodes, func(n *clustertest.Node) bool { return n != leader })
	broken[bad].Store(true)
	clustertest.Eventually(t, "the node stops", func() error {
		_ = clustertest.Leader(t, nodes).Transfer(t.Context(), "") // a new term
		return clustertest.Stopped(nodes[bad])
	})
	if err := nodes[bad].Err(); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v, want EIO", err)
	}
	if err := nodes[bad].Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	clustertest.MustPut(t, nodes[(bad+1)%3], "k", "w")
}
