package replica

import (
	"time"

	"github.com/hashicorp/raft"
)

// The transport asks these questions of the member that it serves.

// Term returns raft's current term.
func (r *Replica) Term() uint64 { return r.raft.CurrentTerm() }

// Heard takes in an append or a heartbeat of the leader's: its commit index, and when it
// arrived.
func (r *Replica) Heard(commit uint64, arrived time.Time) {
	r.fresh.heard(commit, r.machine.AppliedIndex(), arrived)
}

// StaleSnapshot reports whether this replica has everything that a snapshot of
// its current leader has. Raft would install it all the same, set its
// state machine back in time, and drop entries that were acknowledged.
//
// The index and term of the newest snapshot, which the log remembers, do not count: a
// snapshot that contradicts what is stored has to be installed.
func (r *Replica) StaleSnapshot(request *raft.InstallSnapshotRequest) bool {
	if request.Term != r.raft.CurrentTerm() {
		return false
	}
	if r.machine.AppliedIndex() >= request.LastLogIndex {
		return true
	}
	return r.logs.Holds(request.LastLogIndex, request.LastLogTerm)
}
