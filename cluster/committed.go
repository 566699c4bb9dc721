package cluster

import (
	"context"
)

// raftCommitted is raft's commit index, 0 while this node has no raft. The transport
// tells it to followers; package transport says when, and why that is safe.
func (n *Node) raftCommitted() uint64 {
	r, err := n.joined()
	if err != nil {
		return 0
	}
	if committed := r.cfg.Seams.Committed; committed != nil {
		return committed(r.raft)
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
