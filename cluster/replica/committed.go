package replica

import (
	"context"
	"math"

	"github.com/hashicorp/raft"
)

// commitIndex returns the index up to which entries are committed, as this node may say and
// use: raft's, without the entries that this node, as the leader, still writes to its disk.
// Raft counts the leader as a member that has them. Raft's index is read first: what is durable
// later was written no later.
func (r *Replica) commitIndex() uint64 {
	committed := r.raft.CommitIndex()
	return min(committed, r.Durable())
}

// Committed returns the commit index, 0 while this node does not lead. The transport
// tells it to followers; package transport says when, and why that is safe. A leader that
// has lost its lease is still in its term, and tells nothing more: its followers would take it
// for their leader again.
func (r *Replica) Committed() uint64 {
	if r.raft.State() != raft.Leader {
		return 0
	}
	if committed := r.cfg.Seams.Committed; committed != nil {
		return committed(r.raft)
	}
	return r.commitIndex()
}

// Durable returns the index up to which this node's log is durable: the greatest uint64 while
// nothing is being written.
func (r *Replica) Durable() uint64 {
	if r.cfg.Seams.Hasty {
		return math.MaxUint64
	}
	return r.logs.Durable()
}

// AwaitDurable waits until this node's log is durable up to an index, or gone is closed. Its
// error is the failure of the log, or kv.ErrClosed.
func (r *Replica) AwaitDurable(index uint64, gone <-chan struct{}) error {
	if r.cfg.Seams.Hasty {
		return nil
	}
	return r.logs.AwaitDurable(index, gone)
}

// AllCommitted returns the commit index once it covers all that previous leaders have
// acknowledged: when the first entry of this leader's term is committed. Until then it is 0.
// A follower's state is compared with it, to know how old that is.
func (r *Replica) AllCommitted() uint64 {
	if !r.Leading() {
		return 0
	}
	return r.commitIndex()
}

// tellCommitted makes the transport tell followers what is committed, whenever the leader has
// applied something, unless the next append tells it first. Raft's own appends tell the rest,
// for which no follower waits: an entry that changes the members, if no command follows it.
func (r *Replica) tellCommitted(ctx context.Context) {
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
		applied := r.machine.AppliedIndex()
		r.peers.TellCommitted(ctx)
		if r.machine.WaitApplied(ctx, applied+1) != nil {
			return // the replica closes
		}
	}
}
