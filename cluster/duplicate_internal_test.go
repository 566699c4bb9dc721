package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNode_CopiedDataDir runs a copy of a node's data directory beside it: the
// copy stops, and says why, and the cluster goes on with the node.
func TestNode_CopiedDataDir(t *testing.T) {
	for _, role := range []string{"follower", "leader"} {
		t.Run(role, func(t *testing.T) {
			var configs []Config
			nodes := openCluster(t, 3, func(c *Config) { configs = append(configs, *c) })
			leader := leaderOf(t, nodes)
			victim := 0
			for i, n := range nodes {
				if (n == leader) == (role == "leader") {
					victim = i
				}
			}
			cfg := configs[victim]
			cfg.DataDir = copyDataDir(t, nodes[victim])
			twin := openMoved(t, cfg)
			writes := writeOn(t, nodes)
			select {
			case <-twin.Fatal():
			case <-time.After(20 * time.Second):
				t.Fatal("both run")
			}
			if err := twin.Err(); !errors.Is(err, ErrDuplicate) || !strings.Contains(err.Error(), configs[victim].AdvertisePeer) ||
				!strings.Contains(err.Error(), string(twin.id())) || !strings.Contains(err.Error(), "copied") {
				t.Errorf("got %v, want ErrDuplicate with the id, the other's address and what to do", err)
			}
			if err := twin.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			time.Sleep(time.Second) // for whatever comes late
			writes()
			for _, n := range nodes {
				if err := n.Err(); err != nil {
					t.Errorf("%s stops: %v", n.cfg.Name, err)
				}
				if _, err := n.Get(t.Context(), "k", ReadOptions{}); err != nil {
					t.Errorf("%s: %v", n.cfg.Name, err)
				}
			}
		})
	}
}

// TestNode_CopiedAfterwards starts a copy while the node is down, and the node
// then: the copy was first, so it stays.
func TestNode_CopiedAfterwards(t *testing.T) {
	var configs []Config
	nodes := openCluster(t, 3, func(c *Config) { configs = append(configs, *c) })
	if err := nodes[2].Close(); err != nil {
		t.Fatal(err)
	}
	cfg := configs[2]
	cfg.DataDir = copyDataDir(t, nodes[2])
	twin := openMoved(t, cfg)
	eventually(t, "the copy serves", twin.Ready)
	original := openMoved(t, configs[2])
	select {
	case <-original.Fatal():
	case <-time.After(20 * time.Second):
		t.Fatal("both run")
	}
	if err := original.Err(); !errors.Is(err, ErrDuplicate) {
		t.Errorf("got %v, want ErrDuplicate", err)
	}
	if err := twin.Err(); err != nil {
		t.Errorf("the copy stops: %v", err)
	}
	if _, err := twin.Put(t.Context(), "k", nil, Condition{}); err != nil {
		t.Error(err)
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
			_, err := nodes[i%len(nodes)].Put(ctx, "k", fmt.Append(nil, i), Condition{})
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
