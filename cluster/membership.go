package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

const (
	// reconcileTick is how often the leader compares the configuration with what it should be.
	reconcileTick = time.Second
	// reconcileTimeout is the maximum time of one such round.
	reconcileTimeout = 10 * time.Second
	// probeTimeout is how long a peer is asked whether it lives.
	probeTimeout = time.Second
)

// Leave removes a member from the cluster; a leader hands leadership over
// first, which is tried at growing intervals until ctx ends. Any node may be asked.
// It returns ErrUnknownNode, ErrLastVoter, ErrQuorum, ErrNoSuccessor, or an error of
// not reaching the leader. Once this node itself has
// left, Fatal is closed with ErrRemoved.
func (n *Node) Leave(ctx context.Context, request kv.LeaveRequest) error {
	self := n.identity().Name
	if request.ID == "" {
		request.ID = self
	}
	if _, err := n.onLeader(ctx, kindLeave, request); err != nil {
		return err
	}
	if request.ID == self {
		n.fatal.Fail(kv.ErrRemoved)
	}
	return nil
}

// lead carries out a membership change on the leader.
func (n *Node) lead(ctx context.Context, r *replica.Replica, kind transport.Kind, payload []byte) ([]byte, error) {
	if !r.Leading() {
		return nil, kv.ErrNotLeader
	}
	switch kind {
	case kindTransfer:
		return nil, n.handleTransfer(ctx, r, payload)
	case kindRule:
		return n.handleRule(ctx, r, payload)
	case kindLeave:
		var request kv.LeaveRequest
		if err := json.Unmarshal(payload, &request); err != nil {
			return nil, &kv.ValidationError{Field: "id", Reason: "leave request is malformed"}
		}
		var removed []raft.ServerID
		err := n.exclusively(ctx, func() (err error) {
			removed, err = n.remove(ctx, r, request)
			return err
		})
		for _, id := range removed {
			n.tellRemoved(ctx, id)
		}
		return nil, err
	}
	var request kv.JoinRequest
	if err := json.Unmarshal(payload, &request); err != nil {
		return nil, &kv.ValidationError{Field: "id", Reason: "join request is malformed"}
	}
	member, err := n.add(ctx, r, request)
	if err != nil {
		return nil, err
	}
	return json.Marshal(member)
}

// exclusively runs change while no other change of the configuration, and no requested
// transfer of leadership, runs on this node. A leader whose disk
// is nearly full, or whose state has diverged, hands over outside of it: it must not wait,
// and a change that runs meanwhile ends as with any loss of leadership. Callers wait for slow
// steps, such as a node that catches up or does not answer, before they call exclusively, and
// change checks the results again.
func (n *Node) exclusively(ctx context.Context, change func() error) error {
	select {
	case n.changes <- struct{}{}:
		defer func() { <-n.changes }()
		return change()
	case <-ctx.Done():
		return fmt.Errorf("%w: another membership change is under way", kv.ErrOverloaded)
	}
}

// remove takes a member out of the configuration, and returns those of its
// incarnations that are out.
func (n *Node) remove(ctx context.Context, r *replica.Replica, request kv.LeaveRequest) (removed []raft.ServerID, err error) {
	var ids, left []raft.ServerID // left: the voters that stay
	for _, s := range r.Servers() {
		if nameOf(s.ID) == request.ID {
			ids = append(ids, s.ID)
		} else if s.Suffrage == raft.Voter {
			left = append(left, s.ID)
		}
	}
	switch {
	case len(ids) == 0:
		return nil, fmt.Errorf("%w: %q", kv.ErrUnknownNode, request.ID)
	case len(left) == 0:
		return nil, kv.ErrLastVoter
	}
	if !request.Force {
		if err := r.QuorumOf(ctx, left); err != nil {
			return nil, err
		}
	}
	if request.ID == n.cfg.Name {
		if err := r.Transfer(ctx, ""); err != nil {
			return nil, fmt.Errorf("hand leadership over before leaving: %w", err)
		}
		return nil, kv.ErrNotLeader // the next leader removes this one: the caller finds it and asks again
	}
	for _, id := range ids {
		if err := r.Retire(ctx, id); err != nil {
			return removed, err
		}
		removed = append(removed, id)
	}
	return removed, nil
}

// tellRemoved tells a removed node, if it runs: raft itself may not.
func (n *Node) tellRemoved(ctx context.Context, id raft.ServerID) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if _, err := n.peers.Call(ctx, id, kindRemoved, nil); err != nil {
		n.log.Info("removed member not reached", "member", id, "err", err)
	}
}

// handleRemoved stops this node if a peer says that it is no member any more. The peer must
// be the leader, or this node's own state machine must confirm it.
func (n *Node) handleRemoved(r *replica.Replica, from transport.Identity) error {
	state, _ := r.Leadership()
	if state.Leader != from.ID && !n.state.Retired(string(n.id())) {
		return fmt.Errorf("%w: %s", kv.ErrNotLeader, from.ID)
	}
	n.fatal.Fail(kv.ErrRemoved)
	return nil
}
