package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// TestNode_CopiedDataDir runs a copy of a node's data directory beside it: one of
// the two stops, and says why, and the cluster goes on with the other. On a machine
// that is so busy that the node does not answer a ping for a second, it may be the
// node that stops.
func TestNode_CopiedDataDir(t *testing.T) { // not parallel: who answers within a second decides
	for _, role := range []string{"follower", "leader"} {
		t.Run(role, func(t *testing.T) {
			var configs []Config
			nodes := openCluster(t, 3, func(c *Config) { configs = append(configs, *c) })
			leader := leaderOf(t, nodes)
			victim := slices.IndexFunc(nodes, func(n *Node) bool { return (n == leader) == (role == "leader") })
			cfg := configs[victim]
			cfg.DataDir = copyDataDir(t, nodes[victim])
			twin := openMoved(t, cfg)
			writes := writeOn(t, slices.Delete(slices.Clone(nodes), victim, victim+1))
			stops, stays := oneStops(t, twin, nodes[victim])
			if err := stops.Err(); !errors.Is(err, ErrDuplicate) || !strings.Contains(err.Error(), stays.cfg.AdvertisePeer) ||
				!strings.Contains(err.Error(), string(stops.id())) || !strings.Contains(err.Error(), "copied") {
				t.Errorf("got %v, want ErrDuplicate with the id, the other's address and what to do", err)
			}
			if err := stops.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			time.Sleep(time.Second) // for whatever comes late
			writes()
			nodes[victim] = stays
			for _, n := range nodes {
				if err := n.Err(); err != nil {
					t.Errorf("%s stops: %v", n.cfg.Name, err)
				}
				if _, err := n.Get(t.Context(), "k", kv.ReadOptions{}); err != nil {
					t.Errorf("%s: %v", n.cfg.Name, err)
				}
			}
		})
	}
}

// TestNode_CopiedAfterwards starts a copy while the node is down, and the node
// then: the copy was first, so it stays, unless the machine is too busy.
func TestNode_CopiedAfterwards(t *testing.T) { // not parallel: who answers within a second decides
	var configs []Config
	nodes := openCluster(t, 3, func(c *Config) { configs = append(configs, *c) })
	if err := nodes[2].Close(); err != nil {
		t.Fatal(err)
	}
	cfg := configs[2]
	cfg.DataDir = copyDataDir(t, nodes[2])
	twin := openMoved(t, cfg)
	eventually(t, "the copy serves", twin.Ready)
	stops, stays := oneStops(t, openMoved(t, configs[2]), twin)
	if err := stops.Err(); !errors.Is(err, ErrDuplicate) {
		t.Errorf("got %v, want ErrDuplicate", err)
	}
	if err := stays.Err(); err != nil {
		t.Errorf("both stop: %v", err)
	}
	mustPut(t, stays, "k", "")
}

// oneStops waits until one of two nodes stops.
func oneStops(t *testing.T, a, b *Node) (stops, stays *Node) {
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
func copyDataDir(t *testing.T, n *Node) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(n.cfg.DataDir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// writeOn writes through all nodes until stop is called, which fails the test if
// they were without an answer for long.
func writeOn(t *testing.T, nodes []*Node) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		last := time.Now()
		for i := 0; ctx.Err() == nil; i++ {
			_, err := nodes[i%len(nodes)].Do(ctx, kv.Put("k", fmt.Append(nil, i)))
			if err == nil {
				last = time.Now()
			}
			if gap := time.Since(last); gap > 5*time.Second {
				done <- fmt.Errorf("no write was done for %v: %w", gap, err)
				return
			}
		}
		done <- nil
	}()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
