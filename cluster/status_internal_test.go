package cluster

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// TestNode_Status shows that a leader knows how far each peer is, and every node
// what its log, its queue and its state are like.
func TestNode_Status(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 3, func(cfg *Config) { cfg.CheckpointInterval = 50 * time.Millisecond })
	leader := leaderOf(t, nodes)
	mustPut(t, leader, "k", "v")
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
		mustPut(t, leader, "k", "w")
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

// TestNode_StatusOfRemoved shows that nothing is left of a member that was removed.
func TestNode_StatusOfRemoved(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 4, nil)
	leader := leaderOf(t, nodes)
	i := slices.IndexFunc(nodes, func(n *Node) bool { return n != leader })
	gone := nodes[i]
	if err := leader.Leave(t.Context(), kv.LeaveRequest{ID: gone.cfg.Name}); err != nil {
		t.Fatal(err)
	}
	for _, n := range slices.Delete(nodes, i, i+1) {
		eventually(t, n.cfg.Name+" shows the removed member no more", func() error {
			if _, err := leader.Do(t.Context(), kv.Put("k", nil)); err != nil {
				return err
			}
			for _, p := range n.Status().Peers {
				if p.ServerID == string(gone.id()) {
					return fmt.Errorf("peer %+v", p)
				}
			}
			return nil
		})
	}
	eventually(t, "the connections to it close", func() error {
		if open := gone.Stats().Transport.Connections; open != 0 {
			return fmt.Errorf("%d are open", open)
		}
		return nil
	})
	if known, ok := leader.book.ResolvePeer(gone.id()); ok {
		t.Errorf("the leader still looks for it at %s", known)
	}
}

// TestPeerStatus_Term shows that what a peer had in an earlier term is not told.
func TestPeerStatus_Term(t *testing.T) {
	p := transport.PeerStats{ID: "n2.x", Match: 40, MatchTerm: 3}
	for _, c := range []struct {
		leading              bool
		term, wantMatch, lag uint64
	}{{true, 3, 40, 10}, {true, 4, 0, 50}, {false, 3, 0, 0}} {
		if got := peerStatus(p, c.leading, c.term, 50); got.MatchIndex != c.wantMatch || got.Lag != c.lag {
			t.Errorf("term %d, leading %v: got %+v", c.term, c.leading, got)
		}
	}
}

// steppingDown is a raft that leads in term 7, and follows in term 8 once somebody has
// looked at its role.
type steppingDown struct{ looks int }

func (s *steppingDown) State() raft.RaftState {
	s.looks++
	if s.looks > 1 {
		return raft.Follower
	}
	return raft.Leader
}

func (s *steppingDown) CurrentTerm() uint64 { return 7 + uint64(min(s.looks, 1)) }

// TestStatus_RoleInItsTerm shows no leader in the term that ended its own: two leaders
// in one term would be what a reader concludes.
func TestStatus_RoleInItsTerm(t *testing.T) {
	if role, term := roleAndTerm(new(steppingDown)); role != raft.Follower || term != 8 {
		t.Errorf("got %v in term %d, want a follower in term 8", role, term)
	}
}
