package cluster_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// TestNode_CopiedDataDir runs a copy of a node's data directory beside it: one of
// the two stops, and says why, and the cluster continues with the other. On a machine
// that is so busy that the node does not answer a ping for a second, it may be the
// node that stops.
func TestNode_CopiedDataDir(t *testing.T) { // not parallel: who answers within a second decides
	for _, role := range []string{"follower", "leader"} {
		t.Run(role, func(t *testing.T) {
			var configs []cluster.Config
			nodes := clustertest.Open(t, 3, func(c *cluster.Config) { configs = append(configs, *c) })
			leader := clustertest.Leader(t, nodes)
			victim := slices.IndexFunc(nodes, func(n *clustertest.Node) bool { return (n == leader) == (role == "leader") })
			cfg := configs[victim]
			cfg.DataDir = copyDataDir(t, nodes[victim])
			twin := clustertest.OpenMoved(t, cfg)
			writer := clustertest.WriteOn(t, slices.Delete(slices.Clone(nodes), victim, victim+1))
			stops, stays := oneStops(t, twin, nodes[victim])
			if err := stops.Err(); !errors.Is(err, cluster.ErrDuplicate) || !strings.Contains(err.Error(), stays.Config.AdvertisePeer) ||
				!strings.Contains(err.Error(), string(stops.ID())) || !strings.Contains(err.Error(), "copied") {
				t.Errorf("got %v, want ErrDuplicate with the id, the other's address and what to do", err)
			}
			if err := stops.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			clustertest.Eventually(t, "the one that stays serves", stays.Ready)
			clustertest.MustPut(t, stays, "k", "") // the others take its connections, and it theirs
			writer.Await(100)
			writer.Stop()
			nodes[victim] = stays
			for _, n := range nodes {
				if err := n.Err(); err != nil {
					t.Errorf("%s stops: %v", n.Config.Name, err)
				}
				if _, err := n.Get(t.Context(), "k", kv.ReadOptions{}); err != nil {
					t.Errorf("%s: %v", n.Config.Name, err)
				}
			}
		})
	}
}

// TestNode_CopiedAfterwards starts a copy while the node is down, and the node
// then: the copy was first, so it stays, unless the machine is too busy.
func TestNode_CopiedAfterwards(t *testing.T) { // not parallel: who answers within a second decides
	var configs []cluster.Config
	nodes := clustertest.Open(t, 3, func(c *cluster.Config) { configs = append(configs, *c) })
	if err := nodes[2].Close(); err != nil {
		t.Fatal(err)
	}
	cfg := configs[2]
	cfg.DataDir = copyDataDir(t, nodes[2])
	twin := clustertest.OpenMoved(t, cfg)
	clustertest.Eventually(t, "the copy serves", twin.Ready)
	stops, stays := oneStops(t, clustertest.OpenMoved(t, configs[2]), twin)
	if err := stops.Err(); !errors.Is(err, cluster.ErrDuplicate) {
		t.Errorf("got %v, want ErrDuplicate", err)
	}
	if err := stays.Err(); err != nil {
		t.Errorf("both stop: %v", err)
	}
	clustertest.MustPut(t, stays, "k", "")
}

// oneStops waits until one of two nodes stops.
func oneStops(t *testing.T, a, b *clustertest.Node) (stops, stays *clustertest.Node) {
	t.Helper()
	select {
	case <-a.Fatal():
		return a, b
	case <-b.Fatal():
		return b, a
	case <-time.After(20 * time.Second):
		t.Fatal("both run")
		return nil, nil
	}
}

// copyDataDir copies what a node that may run has on disk.
func copyDataDir(t *testing.T, n *clustertest.Node) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(n.Config.DataDir)); err != nil {
		t.Fatal(err)
	}
	return dir
}
