package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// The transport runs before a node has a replica. This file passes the transport's questions to
// the replica, and has the answers while there is none.

// raftTerm returns raft's current term, 0 without a replica.
func (n *Node) raftTerm() uint64 {
	r, err := n.joined()
	if err != nil {
		return 0
	}
	return r.Term()
}

// committed returns the commit index that a leader tells its followers, 0 without a replica.
func (n *Node) committed() uint64 {
	r, err := n.joined()
	if err != nil {
		return 0
	}
	return r.Committed()
}

// allCommitted returns an index that covers all that previous leaders have acknowledged, 0
// without a replica.
func (n *Node) allCommitted() uint64 {
	r, err := n.joined()
	if err != nil {
		return 0
	}
	return r.AllCommitted()
}

// writing reports whether a batch is on its way into the log, false without a replica.
func (n *Node) writing() bool {
	r, err := n.joined()
	return err == nil && r.Writing()
}

// durable returns the index up to which this node's log is known to be durable. Raft sends
// appends until its part of the transport is closed, also while the node closes.
func (n *Node) durable() uint64 {
	n.mu.RLock()
	r := n.replica
	n.mu.RUnlock()
	if r == nil {
		return 0
	}
	return r.Durable()
}

// awaitDurable waits until this node's log is durable up to an index.
func (n *Node) awaitDurable(index uint64, gone <-chan struct{}) error {
	r, err := n.joined()
	if err != nil {
		return err
	}
	return r.AwaitDurable(index, gone)
}

// heard is told of each append and heartbeat of the leader's.
func (n *Node) heard(commit uint64, arrived time.Time) {
	if r, err := n.joined(); err == nil {
		r.Heard(commit, arrived)
	}
}

// startWait is how long a command waits for raft to start. A leader that is refused
// waits longer and longer before it asks again.
const startWait = 4 * time.Second

// roomFor returns an error if this node's disk has no room for a command of
// the leader's. It waits until raft has started.
func (n *Node) roomFor(command any) (done func(), err error) {
	r, err := n.joined()
	for began := time.Now(); errors.Is(err, kv.ErrNotJoined) && time.Since(began) < startWait; r, err = n.joined() {
		time.Sleep(leadership.RetryDelay)
	}
	if err != nil {
		return nil, err
	}
	return r.Room(command)
}

// staleSnapshot reports whether raft must not install a snapshot.
// Its error, while raft only starts, makes the leader try again.
func (n *Node) staleSnapshot(request *raft.InstallSnapshotRequest) (bool, error) {
	r, err := n.joined()
	if err != nil {
		return false, err
	}
	return r.StaleSnapshot(request), nil
}

// tellLostTail tells a follower that its log has lost what it had acknowledged.
func (n *Node) tellLostTail(ctx context.Context, lost *transport.LostTailError) {
	if r, err := n.joined(); err == nil {
		r.TellLostTail(ctx, lost)
	}
}
