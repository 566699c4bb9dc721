package cluster_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// TestNode_Status shows that a leader knows how far each peer is, and every node
// what its log, its queue and its state are like.
func TestNode_Status(t *testing.T) {
	t.Parallel()
	nodes := clustertest.Open(t, 3, func(cfg *cluster.Config) { cfg.CheckpointInterval = 50 * time.Millisecond })
	leader := clustertest.Leader(t, nodes)
	clustertest.MustPut(t, leader, "k", "v")
	for _, n := range nodes {
		clustertest.Eventually(t, n.Config.Name+" tells", func() error {
			s := n.Status()
			switch {
			case s.Log.LastIndex < 2 || s.Log.FirstIndex != 1 || s.Log.Bytes == 0 || s.Log.CacheBytes == 0 || s.Log.Sync99Ms <= 0 || s.Log.OldestAgeSeconds <= 0:
				return fmt.Errorf("log %+v", s.Log)
			case s.Queue.PendingBytes != 0 || s.Queue.Unapplied != 0:
				return fmt.Errorf("queue %+v", s.Queue)
			case s.State.Index == 0 || len(s.State.Hash) != 16 || s.State.VerifiedIndex != s.State.Index:
				return fmt.Errorf("state %+v", s.State)
			case len(s.Peers) != 2:
				return fmt.Errorf("peers %+v", s.Peers)
			}
			for _, p := range s.Peers {
				if !p.Connected || p.LastContactSeconds < 0 || p.RoundTripMs < 0 || n == leader && (p.MatchIndex == 0 || p.Lag != 0) || n != leader && p.MatchIndex != 0 {
					return fmt.Errorf("peer %+v", p)
				}
			}
			return nil
		})
	}
	var down *clustertest.Node
	for _, n := range nodes {
		if n != leader {
			down = n
		}
	}
	if err := down.Close(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		clustertest.MustPut(t, leader, "k", "w")
	}
	clustertest.Eventually(t, "the leader sees what the node that is down lacks", func() error {
		for _, p := range leader.Status().Peers {
			if p.ID == down.Config.Name && p.ServerID == string(down.ID()) && !p.Connected && p.Lag >= 5 {
				return nil
			}
		}
		return errors.New("not yet")
	})
}

// TestNode_StatusOfRemoved shows that nothing is left of a member that was removed.
func TestNode_StatusOfRemoved(t *testing.T) {
	t.Parallel()
	nodes := clustertest.Open(t, 4, nil)
	leader := clustertest.Leader(t, nodes)
	i := slices.IndexFunc(nodes, func(n *clustertest.Node) bool { return n != leader })
	gone := nodes[i]
	if err := leader.Leave(t.Context(), kv.LeaveRequest{ID: gone.Config.Name}); err != nil {
		t.Fatal(err)
	}
	for _, n := range slices.Delete(nodes, i, i+1) {
		clustertest.Eventually(t, n.Config.Name+" shows the removed member no more", func() error {
			if _, err := leader.Do(t.Context(), kv.Put("k", nil)); err != nil {
				return err
			}
			for _, p := range n.Status().Peers {
				if p.ServerID == string(gone.ID()) {
					return fmt.Errorf("peer %+v", p)
				}
			}
			return nil
		})
	}
	clustertest.Eventually(t, "the connections to it close", func() error {
		if open := gone.Stats().Transport.Connections; open != 0 {
			return fmt.Errorf("%d are open", open)
		}
		return nil
	})
	clustertest.Eventually(t, "the leader has forgotten its address", func() error {
		book, err := os.ReadFile(filepath.Join(leader.Config.DataDir, clustertest.BookFile))
		if err == nil && bytes.Contains(book, []byte(gone.ID())) {
			err = errors.New("it is in the address book")
		}
		return err
	})
}
