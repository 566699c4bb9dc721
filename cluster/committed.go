package cluster

import (
	"context"

	"github.com/hashicorp/raft"
)

// raftCommitted is raft's commit index, 0 while this node does not lead. The transport
// tells it to followers; package transport says when, and why that is safe. A node that has
// lost its lease is still in its term, and tells nothing more: its followers would take it
// for their leader again.
func (n *Node) raftCommitted() uint64 {
	r, err := n.joined()
	if err != nil || r.raft.State() != raft.Leader {
		return 0
	}
	if committed := r.cfg.Seams.Committed; committed != nil {
		return committed(r.raft)
	}
	return r.raft.CommitIndex()
}

// allCommitted is raft's commit index once it covers all that previous leaders have
// acknowledged: when the first entry of this leader's term is committed. Until then it is 0.
// It is what a follower's state is compared with, to know how old that is.
func (n *Node) allCommitted() uint64 {
	r, err := n.joined()
	if err != nil || !r.Leading() {
		return 0
	}
	return r.raft.CommitIndex()
}

// tellCommitted has followers told what is committed whenever the leader has applied
// something, unless the next append tells it first. What no follower waits for (an entry
// that changes the members, when no command follows it) is told by raft's own appends.
func (r *replica) tellCommitted(ctx context.Context) {
	for {
		state, changed := r.leaders.Current()
		if state.Leader != r.id {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return
			}
		}
		applied := r.fsm.AppliedIndex()
		r.peers.TellCommitted(ctx)
		if r.fsm.WaitApplied(ctx, applied+1) != nil {
			return // the replica closes
		}
	}
}
