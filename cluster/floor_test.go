package cluster_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

// TestD11_Floor takes something away from a node's data directory that it has
// acknowledged or voted with: the node refuses to start, names it, and starts
// again once it is back. Without the floor each of them looks as if it had never
// been there.
func TestD11_Floor(t *testing.T) {
	t.Parallel()
	var cfg cluster.Config
	node := clustertest.Open(t, 1, func(c *cluster.Config) { cfg = *c })[0]
	for i := range 20 {
		clustertest.MustPut(t, node, "k", fmt.Sprint(i))
	}
	if err := node.Raft().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	aside := filepath.Join(t.TempDir(), "aside")
	for name, part := range map[string]string{
		clustertest.LogDir: wal.ManifestName, filepath.Join(clustertest.LogDir, wal.ManifestName): wal.ManifestName,
		clustertest.StableDir: clustertest.StableFile, filepath.Join(clustertest.StableDir, clustertest.StableFile): clustertest.StableFile,
		clustertest.SnapshotsDir: "snapshot at index", clustertest.FloorFile: clustertest.FloorFile,
	} {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			lost := filepath.Join(cfg.DataDir, name)
			if err := os.Rename(lost, aside); err != nil {
				t.Fatal(err)
			}
			var damage *wal.CorruptionError
			if _, err := clustertest.Try(t.Context(), clustertest.Listening(t, cfg, cfg.AdvertisePeer)); !errors.As(err, &damage) || !strings.Contains(err.Error(), part) {
				t.Errorf("open: got %v, want a CorruptionError that names %s", err, part)
			}
			if _, err := recovery.Survey(wal.OS(), cfg.DataDir); name != clustertest.FloorFile && !errors.As(err, &damage) {
				t.Errorf("survey: got %v, want a CorruptionError", err)
			}
			if _, err := recovery.Check(wal.OS(), cfg.DataDir); !errors.As(err, &damage) {
				t.Errorf("check: got %v, want a CorruptionError", err)
			}
			if err := os.RemoveAll(lost); err != nil { // the store may have made it again
				t.Fatal(err)
			}
			if err := os.Rename(aside, lost); err != nil {
				t.Fatal(err)
			}
		})
	}
	again := clustertest.Reopen(t, node)
	clustertest.Eventually(t, "it serves again", again.Ready)
	if got, err := again.Get(t.Context(), "k", kv.ReadOptions{}); err != nil || string(got.Item.Value) != "19" {
		t.Errorf("got %q, %v", got.Item.Value, err)
	}
}
