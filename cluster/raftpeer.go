package cluster

import (
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/kv"
)

// raftTerm is raft's current term, 0 while this node has no raft. The transport
// asks for it.
func (n *Node) raftTerm() uint64 {
	r, err := n.joined()
	if err != nil {
		return 0
	}
	return r.raft.CurrentTerm()
}

// heard is told by the transport of each append and heartbeat of the leader's.
func (n *Node) heard(commit uint64, arrived time.Time) {
	if r, err := n.joined(); err == nil {
		r.fresh.heard(commit, r.fsm.AppliedIndex(), arrived)
	}
}

// startWait bounds how long a command waits for raft to start. A leader that is told
// no waits longer and longer before it asks again.
const startWait = 4 * time.Second

// roomFor tells the transport whether this node's disk has room for a command of
// the leader's, once raft has started.
func (n *Node) roomFor(command any) (done func(), err error) {
	r, err := n.joined()
	for began := time.Now(); errors.Is(err, kv.ErrNotJoined) && time.Since(began) < startWait; r, err = n.joined() {
		time.Sleep(leadership.RetryDelay)
	}
	if err != nil {
		return nil, err
	}
	return r.admitCommand(command)
}

// staleSnapshot tells the transport whether raft must not install a snapshot.
// Its error, while raft only starts, makes the leader try again.
func (n *Node) staleSnapshot(request *raft.InstallSnapshotRequest) (bool, error) {
	r, err := n.joined()
	if err != nil {
		return false, err
	}
	return r.staleSnapshot(request), nil
}

// staleSnapshot reports whether this replica has everything that a snapshot of
// its current leader stands for. Raft would install it all the same, take its
// state machine back in time and give up entries that were acknowledged.
//
// What the log remembers of the newest snapshot does not count: a snapshot that
// conflicts with what is stored has to be installed.
func (r *replica) staleSnapshot(request *raft.InstallSnapshotRequest) bool {
	if request.Term != r.raft.CurrentTerm() {
		return false
	}
	if r.fsm.AppliedIndex() >= request.LastLogIndex {
		return true
	}
	return r.logs.Holds(request.LastLogIndex, request.LastLogTerm)
}
