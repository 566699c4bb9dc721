package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/fsm"
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

// Join asks the cluster to add a running node that is in no cluster yet, and
// waits until it votes, unless it never does, or ctx ends. Adding a member again is no error. Any
// node may be asked. It returns a *ValidationError, ErrUnreachable,
// ErrOtherCluster, ErrNameTaken, or an error of not reaching the leader.
func (n *Node) Join(ctx context.Context, request JoinRequest) (Member, error) {
	if err := errors.Join(validateName(request.ID), validateAddress("peer_addr", request.PeerAddr),
		validateAddress("http_addr", request.HTTPAddr)); err != nil {
		return Member{}, err
	}
	answer, err := n.onLeader(ctx, kindJoin, request)
	if err != nil {
		return Member{}, err
	}
	var member Member
	if err := json.Unmarshal(answer, &member); err != nil {
		return Member{}, fmt.Errorf("answer to join: %w", err)
	}
	return member, nil
}

// Leave removes a member from the cluster; a leader hands leadership over
// first, which is tried at growing intervals until ctx ends. Any node may be asked.
// It returns ErrUnknownNode, ErrLastVoter, ErrQuorum, ErrNoSuccessor, or an error of
// not reaching the leader. Once this node itself has
// left, Fatal is closed with ErrRemoved.
func (n *Node) Leave(ctx context.Context, request LeaveRequest) error {
	self := n.identity().Name
	if request.ID == "" {
		request.ID = self
	}
	if _, err := n.onLeader(ctx, kindLeave, request); err != nil {
		return err
	}
	if request.ID == self {
		n.fatal.fail(ErrRemoved)
	}
	return nil
}

// lead carries out a membership change on the leader, one at a time.
func (n *Node) lead(ctx context.Context, r *replica, kind transport.Kind, payload []byte) ([]byte, error) {
	if !r.leading() {
		return nil, ErrNotLeader
	}
	if kind == kindTransfer {
		return nil, n.handleTransfer(ctx, r, payload)
	}
	if kind == kindLeave {
		var request LeaveRequest
		if err := json.Unmarshal(payload, &request); err != nil {
			return nil, &ValidationError{Field: "id", Reason: "leave request is malformed"}
		}
		return nil, n.exclusively(ctx, func() error { return n.remove(ctx, r, request) })
	}
	var request JoinRequest
	if err := json.Unmarshal(payload, &request); err != nil {
		return nil, &ValidationError{Field: "id", Reason: "join request is malformed"}
	}
	var member Member
	err := n.exclusively(ctx, func() (err error) {
		member, err = n.add(ctx, r, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(member)
}

// exclusively runs change while no other membership change of this node runs.
func (n *Node) exclusively(ctx context.Context, change func() error) error {
	select {
	case n.changes <- struct{}{}:
		defer func() { <-n.changes }()
		return change()
	case <-ctx.Done():
		return fmt.Errorf("%w: another membership change is under way", ErrOverloaded)
	}
}

// add makes a running node a member and waits until it is all it is to be; what
// ctx leaves undone, the reconcile loop finishes.
func (n *Node) add(ctx context.Context, r *replica, request JoinRequest) (Member, error) {
	id, err := n.addNonvoter(ctx, r, request)
	if err != nil {
		return Member{}, err
	}
	for {
		voter, err := n.promote(ctx, r, id)
		if err != nil && (errors.Is(err, ErrNotLeader) || errors.Is(err, ErrNameTaken)) {
			return Member{}, err
		}
		settled := err == nil
		wait := time.NewTimer(retryDelay)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
		if settled || ctx.Err() != nil {
			return Member{ID: request.ID, PeerAddr: request.PeerAddr, HTTPAddr: request.HTTPAddr, Voter: voter}, nil
		}
	}
}

// addNonvoter adds the node at request.PeerAddr as a member that does not vote
// yet. Whom it can't add, it does not change: the node is asked to belong to this
// cluster, which is for good, once nothing speaks against it.
func (n *Node) addNonvoter(ctx context.Context, r *replica, request JoinRequest) (raft.ServerID, error) {
	peer, err := n.identify(ctx, request)
	if err != nil {
		return "", err
	}
	for _, s := range r.servers() {
		if s.ID == peer.ID {
			return peer.ID, nil
		}
		if nameOf(s.ID) == request.ID && n.alive(ctx, s.ID) {
			return "", fmt.Errorf("%w: %s", ErrNameTaken, s.ID)
		}
	}
	if peer, err = n.askAccept(ctx, request.PeerAddr, acceptRequest{Cluster: n.identity().Cluster, Name: request.ID}); err != nil {
		return "", err
	}
	if err := configError(r.asks.ask(func() error {
		return r.raft.AddNonvoter(peer.ID, raft.ServerAddress(peer.ID), 0, configTimeout).Error()
	})); err != nil {
		return "", fmt.Errorf("add %s: %w", peer.ID, err)
	}
	r.log.Info("member added", "member", peer.ID)
	return peer.ID, nil
}

// identify returns who answers at the address of a node that is to join.
func (n *Node) identify(ctx context.Context, request JoinRequest) (transport.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, bootstrapCallTimeout)
	defer cancel()
	peer, err := n.peers.Probe(ctx, request.PeerAddr)
	var refused *transport.RefusedError
	if errors.As(err, &refused) && refused.Reason == transport.RefusedOwnID {
		peer, err = n.peers.Identity(), nil // this node itself, or its copy: a member in any case
	}
	if err != nil {
		return peer, acceptError(err, peer, request.ID, request.PeerAddr)
	}
	return peer, checkWanted(nameOf(peer.ID), request.ID)
}

// checkWanted returns what to tell who means the node wanted and has found another.
func checkWanted(found, wanted string) error {
	if found != wanted {
		return &ValidationError{Field: "id", Reason: fmt.Sprintf("the node at this address is %s, not %s", found, wanted)}
	}
	return nil
}

// promote makes a member a voter once it has caught up, unless it never is to be
// one, and reports whether it is. Before that it retires earlier incarnations of the same name: a wiped
// node's old self can never answer again, and would only count against quorum.
func (n *Node) promote(ctx context.Context, r *replica, id raft.ServerID) (bool, error) {
	var old []raft.ServerID
	member := false
	for _, s := range r.servers() {
		switch {
		case s.ID == id && s.Suffrage == raft.Voter:
			return true, nil
		case s.ID == id:
			member = true
		case nameOf(s.ID) == nameOf(id):
			old = append(old, s.ID)
		}
	}
	if !member {
		return false, fmt.Errorf("%w: %s", ErrUnknownNode, id)
	}
	info, err := r.askInfo(ctx, id)
	if err != nil {
		n.health.lost(id)
		return false, err
	}
	if err := n.health.stable(id, info, r.raft.CommitIndex(), time.Now()); err != nil {
		return false, err
	}
	for _, o := range old {
		if n.alive(ctx, o) {
			return false, fmt.Errorf("%w: %s", ErrNameTaken, o)
		}
		if err := r.retire(ctx, o); err != nil {
			return false, err
		}
	}
	if info.NonVoter {
		return false, nil
	}
	if err := configError(r.asks.ask(func() error {
		return r.raft.AddVoter(id, raft.ServerAddress(id), 0, configTimeout).Error()
	})); err != nil {
		return false, fmt.Errorf("promote %s: %w", id, err)
	}
	n.health.lost(id) // of no interest any more
	r.log.Info("member votes", "member", id)
	return true, nil
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

// alive says whether the process at id's last address still answers as id.
func (n *Node) alive(ctx context.Context, id raft.ServerID) bool {
	addr, ok := n.book.ResolvePeer(id)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	peer, err := n.peers.Probe(ctx, addr)
	return err == nil && peer.ID == id
}

// remove takes a member out of the configuration, and tells it.
func (n *Node) remove(ctx context.Context, r *replica, request LeaveRequest) error {
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
		return fmt.Errorf("%w: %q", ErrUnknownNode, request.ID)
	case len(left) == 0:
		return ErrLastVoter
	}
	if !request.Force {
		if err := r.quorumOf(ctx, left); err != nil {
			return err
		}
	}
	if request.ID == n.cfg.Name {
		if err := r.transfer(ctx, ""); err != nil {
			return fmt.Errorf("hand leadership over before leaving: %w", err)
		}
		return ErrNotLeader // the next leader removes this one: the caller finds it and asks again
	}
	for _, id := range ids {
		if err := r.retire(ctx, id); err != nil {
			return err
		}
		n.tellRemoved(ctx, id)
	}
	return nil
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
	state, _ := r.leaders.current()
	if state.leader != from.ID && !r.fsm.Retired(string(r.id)) {
		return fmt.Errorf("%w: %s", ErrNotLeader, from.ID)
	}
	n.fatal.fail(ErrRemoved)
	return nil
}

// retire removes an incarnation for good: first no node admits it any more,
// then it leaves the configuration. The reconcile loop finishes the second
// where this node fails between the two.
func (r *replica) retire(ctx context.Context, id raft.ServerID) error {
	if _, err := r.proposer.propose(ctx, []fsm.Command{{Op: fsm.OpRetire, Key: string(id)}}, true); err != nil {
		return fmt.Errorf("retire %s: %w", id, err)
	}
	if err := configError(r.asks.ask(func() error { return r.raft.RemoveServer(id, 0, configTimeout).Error() })); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	r.log.Info("member removed", "member", id)
	return nil
}

// servers returns the newest configuration, committed or not.
func (r *replica) servers() []raft.Server {
	future := r.raft.GetConfiguration()
	if future.Error() != nil {
		return nil // raft never fails it
	}
	return future.Configuration().Servers
}

// configError sorts the error of a configuration change as commit does one of a write.
func configError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout),
		errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
}
