package cluster

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestNode_Status shows that a leader knows how far each peer is, and every node
// what its log, its queue and its state are like.
func TestNode_Status(t *testing.T) {
	nodes := openCluster(t, 3, func(cfg *Config) { cfg.CheckpointInterval = 50 * time.Millisecond })
	leader := leaderOf(t, nodes)
	if _, err := leader.Put(t.Context(), "k", []byte("v"), Condition{}); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		eventually(t, n.cfg.Name+" tells", func() error {
			s := n.Status()
			switch {
			case s.Log.LastIndex < 2 || s.Log.FirstIndex != 1 || s.Log.Bytes == 0 || s.Log.Sync99Ms <= 0 || s.Log.OldestAgeSeconds <= 0:
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
	var down *Node
	for _, n := range nodes {
		if n != leader {
			down = n
		}
	}
	if err := down.Close(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := leader.Put(t.Context(), "k", []byte("w"), Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the leader sees what the node that is down lacks", func() error {
		for _, p := range leader.Status().Peers {
			if p.ID == down.cfg.Name && p.ServerID == string(down.id()) && !p.Connected && p.Lag >= 5 {
				return nil
			}
		}
		return errors.New("not yet")
	})
}
