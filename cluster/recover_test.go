package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

// TestRecover loses two of three nodes for good, makes the third one a cluster
// of its own, and has a new node join that.
func TestRecover(t *testing.T) {
	t.Parallel()
	var configs []cluster.Config
	nodes := clustertest.Open(t, 3, func(cfg *cluster.Config) {
		cfg.SnapshotBytes = 16 << 10
		configs = append(configs, *cfg)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const keys = 200
	for i := range keys {
		clustertest.MustPut(t, nodes[i%3], fmt.Sprintf("k%03d", i), fmt.Sprint(i))
	}
	old := nodes[0].ClusterID()
	if _, err := recovery.Survey(wal.OS(), configs[0].DataDir); !errors.Is(err, cluster.ErrDataDirInUse) {
		t.Errorf("survey of a running node: got %v, want ErrDataDirInUse", err)
	}
	var survivors []recovery.Survivor
	for i, n := range nodes {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		s, err := recovery.Survey(wal.OS(), configs[i].DataDir)
		if err != nil {
			t.Fatal(err)
		}
		if s.Name != n.Config.Name || len(s.Voters) != 3 || s.LastIndex < 10 {
			t.Errorf("survey: got %+v", s)
		}
		survivors = append(survivors, s)
	}
	for left, want := range map[int]bool{1: true, 2: false, 3: false} {
		if got := recovery.MayLose(survivors[:left]); got != want {
			t.Errorf("%d of 3 left: got may lose %t, want %t", left, got, want)
		}
	}
	best := slices.MaxFunc(survivors, recovery.Survivor.Compare)
	id, err := recovery.Recover(wal.OS(), best.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if id == old {
		t.Error("the new cluster has the old one's id")
	}
	again, err := recovery.Survey(wal.OS(), best.Dir)
	if err != nil || again.Cluster != id || again.LastIndex != best.LastIndex || len(again.Voters) != 1 {
		t.Errorf("survey of the recovered node: got %+v, %v", again, err)
	}

	b := clustertest.NewBoard()
	open := func(cfg cluster.Config) *clustertest.Node {
		t.Helper()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg.PeerListener, cfg.AdvertisePeer, cfg.Seams.Discover = listener, listener.Addr().String(), b.Post
		n, err := clustertest.Try(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		clustertest.Eventually(t, cfg.Name+" is ready", n.Ready)
		return n
	}
	alone := open(configs[slices.Index(survivorNames(survivors), best.Name)])
	fresh := open(cluster.Config{
		Name: "n9", DataDir: filepath.Join(t.TempDir(), "data"), AdvertiseHTTP: "127.0.0.1:1", GossipAddr: "127.0.0.1:1",
		Logger: slog.New(slog.DiscardHandler),
	})
	for _, n := range []*clustertest.Node{alone, fresh} {
		for i := range keys {
			got, err := n.Get(ctx, fmt.Sprintf("k%03d", i), kv.ReadOptions{})
			if err != nil || string(got.Item.Value) != fmt.Sprint(i) {
				t.Fatalf("%s: key %d: got %q, %v", n.Config.Name, i, got.Item.Value, err)
			}
		}
	}
	clustertest.AwaitMembers(t, alone, true, fmt.Sprint([]string{best.Name, "n9"}))
	clustertest.MustPut(t, fresh, "k", "")
}

func survivorNames(survivors []recovery.Survivor) []string {
	var names []string
	for _, s := range survivors {
		names = append(names, s.Name)
	}
	return names
}
