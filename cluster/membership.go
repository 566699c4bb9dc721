package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

const (
	// reconcileTick is how often the leader compares the configuration with what it should be.
	reconcileTick = time.Second
	// reconcileTimeout bounds one round of it.
	reconcileTimeout = 10 * time.Second
	// configTimeout bounds how long a configuration change may wait for raft to take it.
	configTimeout = 5 * time.Second
	// probeTimeout bounds asking a peer how far it is, or whether it lives.
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
		n.fatal.fail(kv.ErrRemoved)
	}
	return nil
}

// lead carries out a membership change on the leader.
func (n *Node) lead(ctx context.Context, r *replica, kind transport.Kind, payload []byte) ([]byte, error) {
	if !r.Leading() {
		return nil, kv.ErrNotLeader
	}
	if kind == kindTransfer {
		return nil, n.handleTransfer(ctx, r, payload)
	}
	if kind == kindLeave {
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

// exclusively runs change while no other change of the configuration, and no
// transfer of leadership that somebody asked for, of this node runs. A leader whose disk
// is nearly full or whose state has diverged hands over outside of it: it must not wait,
// and a change that runs meanwhile ends as with any loss of leadership. Whatever takes long (a node that catches
// up, one that does not answer) is waited for outside of it, and what was found out
// there is checked again by change.
func (n *Node) exclusively(ctx context.Context, change func() error) error {
	select {
	case n.changes <- struct{}{}:
		defer func() { <-n.changes }()
		return change()
	case <-ctx.Done():
		return fmt.Errorf("%w: another membership change is under way", kv.ErrOverloaded)
	}
}

// askInfo asks a peer how far it is.
func (r *replica) askInfo(ctx context.Context, id raft.ServerID) (info nodeInfo, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	answer, err := r.peers.Call(ctx, id, kindInfo, nil)
	if err == nil {
		err = json.Unmarshal(answer, &info)
	}
	if err != nil {
		return nodeInfo{}, fmt.Errorf("ask %s how far it is: %w", id, fromWire(err))
	}
	return info, nil
}

// remove takes a member out of the configuration, and returns those of its
// incarnations that are out.
func (n *Node) remove(ctx context.Context, r *replica, request kv.LeaveRequest) (removed []raft.ServerID, err error) {
	var ids, left []raft.ServerID // left: the voters that stay
	for _, s := range r.servers() {
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
		if err := r.quorumOf(ctx, left); err != nil {
			return nil, err
		}
	}
	if request.ID == n.cfg.Name {
		if err := r.transfer(ctx, ""); err != nil {
			return nil, fmt.Errorf("hand leadership over before leaving: %w", err)
		}
		return nil, kv.ErrNotLeader // the next leader removes this one: the caller finds it and asks again
	}
	for _, id := range ids {
		if err := r.retire(ctx, id); err != nil {
			return removed, err
		}
		removed = append(removed, id)
	}
	return removed, nil
}

// tellRemoved lets a removed node know, if it is there: raft itself may not.
func (n *Node) tellRemoved(ctx context.Context, id raft.ServerID) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if _, err := n.peers.Call(ctx, id, kindRemoved, nil); err != nil {
		n.log.Info("removed member not reached", "member", id, "err", err)
	}
}

// handleRemoved ends this node once a peer says, and its own state machine or
// the peer's standing as leader confirms, that it is no member any more.
func (n *Node) handleRemoved(r *replica, from transport.Identity) error {
	state, _ := r.leaders.Current()
	if state.Leader != from.ID && !r.fsm.Retired(string(r.id)) {
		return fmt.Errorf("%w: %s", kv.ErrNotLeader, from.ID)
	}
	n.fatal.fail(kv.ErrRemoved)
	return nil
}

// retire removes an incarnation for good: first no node admits it any more,
// then it leaves the configuration. The reconcile loop finishes the second
// where this node fails between the two.
func (r *replica) retire(ctx context.Context, id raft.ServerID) error {
	if _, err := r.proposer.Propose(ctx, r.fsm.RetireRequest(string(id)), true); err != nil {
		return fmt.Errorf("retire %s: %w", id, err)
	}
	r.versions.leave(id)
	if err := configError(r.asks.ask(func() error { return r.raft.RemoveServer(id, 0, configTimeout).Error() })); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	r.log.Info("member removed", "member", id)
	return nil
}

// servers returns the newest configuration, committed or not, for the caller to keep:
// what raft returns is shared by all who ask for it.
func (r *replica) servers() []raft.Server {
	future := r.raft.GetConfiguration()
	if future.Error() != nil {
		return nil // raft never fails it
	}
	return slices.Clone(future.Configuration().Servers)
}

// configError sorts the error of a configuration change as commit does one of a write.
func configError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout),
		errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", kv.ErrNotLeader, err)
	default:
		return fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
	}
}
