package cluster

import (
	"cmp"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
)

// Status returns what this node knows of itself and its cluster, at once.
func (n *Node) Status() Status {
	ident := n.identity()
	s := Status{ID: ident.Name, ClusterID: ident.Cluster, Role: "joining", Members: []Member{}}
	r, err := n.joined()
	if err != nil {
		return s
	}
	s.Role = strings.ToLower(r.raft.State().String())
	s.Term = r.raft.CurrentTerm()
	s.CommitIndex = r.raft.CommitIndex()
	s.AppliedIndex = r.fsm.AppliedIndex()
	s.Revision = r.fsm.Revision()
	if state, _ := r.leaders.current(); state.leader != "" {
		s.Leader = &Leader{ID: nameOf(state.leader), HTTPAddr: n.book.HTTPAddr(state.leader)}
	}
	for _, server := range r.servers() {
		peer, _ := n.book.ResolvePeer(server.ID)
		s.Members = append(s.Members, Member{
			ID: nameOf(server.ID), PeerAddr: peer, HTTPAddr: n.book.HTTPAddr(server.ID),
			Voter: server.Suffrage == raft.Voter,
		})
	}
	slices.SortFunc(s.Members, func(a, b Member) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.PeerAddr, b.PeerAddr))
	})
	return s
}

// Stats are the figures of a node that change all the time.
type Stats struct {
	Leader        bool   // this node leads and has begun its term
	HasLeader     bool   // this node knows a leader
	Ready         bool   // this node can serve linearizable requests
	Term          uint64 // current term
	CommitIndex   uint64 // as far as this node knows
	AppliedIndex  uint64
	Revision      uint64
	Keys          int            // in the state machine
	Bytes         int64          // of keys and values in the state machine
	PendingBytes  int64          // of writes queued or under way at this node
	Checkpoint    fsm.Checkpoint // the newest state hash that this node has noted
	VerifiedIndex uint64         // of the newest checkpoint at which a majority of voters has this node's state
	Log           wal.Stats
	Peers         transport.Stats
}

// Stats returns the node's figures as of now; all zero but Peers while the node is in no cluster.
func (n *Node) Stats() Stats {
	s := Stats{Ready: n.Ready() == nil, Peers: n.peers.Stats()}
	r, err := n.joined()
	if err != nil {
		return s
	}
	state, _ := r.leaders.current()
	s.Leader, s.HasLeader = r.leading(), state.leader != ""
	s.Term, s.CommitIndex = r.raft.CurrentTerm(), r.raft.CommitIndex()
	s.AppliedIndex, s.Revision = r.fsm.AppliedIndex(), r.fsm.Revision()
	s.Keys, s.Bytes = r.fsm.Len(), r.fsm.Size()
	s.PendingBytes = r.proposer.pending.Load()
	if all := r.fsm.Checkpoints(); len(all) > 0 {
		s.Checkpoint = all[len(all)-1]
	}
	s.VerifiedIndex = r.verified.Load()
	s.Log = r.wal.Stats()
	return s
}
