package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// Join asks the cluster to add a running node that is in no cluster yet, and
// waits until it votes, unless it is a read replica, or until ctx ends. It is no error to add a
// member again. Any node may be asked. It returns a *ValidationError, ErrUnreachable,
// ErrOtherCluster, ErrNameTaken, ErrTooOld if the node announces a lower command version
// than it may be sent, or an error of not reaching the leader.
func (n *Node) Join(ctx context.Context, request kv.JoinRequest) (kv.Member, error) {
	if err := errors.Join(validateName(request.ID), validateAddress("peer_addr", request.PeerAddr),
		validateAddress("http_addr", request.HTTPAddr)); err != nil {
		return kv.Member{}, err
	}
	answer, err := n.onLeader(ctx, kindJoin, request)
	if err != nil {
		return kv.Member{}, err
	}
	var member kv.Member
	if err := json.Unmarshal(answer, &member); err != nil {
		return kv.Member{}, fmt.Errorf("answer to join: %w", err)
	}
	return member, nil
}

// add makes a running node a member, and waits until it votes or is found to be a read replica.
// Other changes of the membership continue meanwhile, also ones that remove it again. If ctx ends
// first, the reconcile loop finishes the work.
func (n *Node) add(ctx context.Context, r *replica.Replica, request kv.JoinRequest) (kv.Member, error) {
	id, err := n.addNonvoter(ctx, r, request)
	if err != nil {
		return kv.Member{}, err
	}
	for {
		voter, err := n.promote(ctx, r, id)
		if errors.Is(err, kv.ErrNotLeader) || errors.Is(err, kv.ErrNameTaken) || errors.Is(err, kv.ErrUnknownNode) {
			return kv.Member{}, err
		}
		if err != nil {
			select {
			case <-time.After(leadership.RetryDelay):
				continue
			case <-ctx.Done():
			}
		}
		version, _ := n.announcedBy(id)
		return kv.Member{
			ID: request.ID, PeerAddr: request.PeerAddr, HTTPAddr: request.HTTPAddr, Voter: voter, CommandVersion: int(version),
		}, nil
	}
}

// addNonvoter adds the node at request.PeerAddr as a member that does not vote
// yet. It leaves a node that can't be added as it is: a node accepts a cluster for good, so
// it is asked only after all checks have passed.
func (n *Node) addNonvoter(ctx context.Context, r *replica.Replica, request kv.JoinRequest) (raft.ServerID, error) {
	release, err := n.joining.acquire(ctx, request.ID)
	if err != nil {
		return "", err
	}
	defer release()
	peer, err := n.identify(ctx, request)
	if err != nil {
		return "", err
	}
	if _, member := r.Member(peer.ID); member {
		return peer.ID, nil
	}
	gone, err := n.namesakesGone(ctx, r, peer.ID)
	if err != nil {
		return "", err
	}
	if err := r.CheckVersion(ctx, peer.ID, peer.CommandVersion); err != nil {
		return "", err
	}
	if err := n.checkForgotten(ctx, r, peer, request.PeerAddr); err != nil {
		return "", err
	}
	if peer, err = n.askAccept(ctx, request.PeerAddr, acceptRequest{Cluster: n.identity().Cluster, Name: request.ID}); err != nil {
		return "", err
	}
	return peer.ID, n.exclusively(ctx, func() error { return r.AddNonvoter(ctx, peer, gone) })
}

// checkForgotten refuses a node at addr that may be a removed incarnation that the state
// machine has forgotten, because it remembers only fsm.MaxRetired of them.
//
// Invariant: a removed incarnation is never added again once it has entries of the cluster. It
// is among the retired ones that are remembered, or, once some may have been forgotten, its log
// shows it: a node that has accepted the cluster and was never added has no entries, because
// nobody sends entries to a node that is no member.
func (n *Node) checkForgotten(ctx context.Context, r *replica.Replica, peer transport.Identity, addr string) error {
	if !n.state.RetiredFull() || peer.Cluster == "" {
		return nil // it is in no cluster: a new incarnation
	}
	info, err := r.AskInfoAt(ctx, addr)
	if err != nil {
		return fmt.Errorf("%w: ask %s what it holds: %w", kv.ErrUnreachable, peer.ID, err)
	}
	if !info.Empty {
		return fmt.Errorf("%w: %s holds entries of this cluster and is no member: it was removed; empty its data directory to have it join again",
			kv.ErrNameTaken, peer.ID)
	}
	return nil
}

// identify returns the identity of the node that answers at the address of one that is to join.
func (n *Node) identify(ctx context.Context, request kv.JoinRequest) (transport.Identity, error) {
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

// checkWanted returns an error unless the node that was found is the one that is wanted.
func checkWanted(found, wanted string) error {
	if found != wanted {
		return &kv.ValidationError{Field: "id", Reason: fmt.Sprintf("the node at this address is %s, not %s", found, wanted)}
	}
	return nil
}

// promote makes a member a voter once it has caught up, unless it is a read replica, and reports
// whether it votes. Before that it retires earlier incarnations of the
// same name: the earlier incarnation of a wiped node can never answer again, and would only
// make a quorum harder. While the caller should wait, the error is ErrBehind, or says that the
// member does not answer.
func (n *Node) promote(ctx context.Context, r *replica.Replica, id raft.ServerID) (voter bool, err error) {
	if !r.Leading() {
		return false, kv.ErrNotLeader
	}
	suffrage, member := r.Member(id)
	switch {
	case !member:
		return false, fmt.Errorf("%w: %s", kv.ErrUnknownNode, id)
	case suffrage == raft.Voter:
		return true, nil
	}
	info, err := n.keepsUp(ctx, r, id)
	if err != nil {
		return false, err
	}
	gone, err := n.namesakesGone(ctx, r, id)
	if err != nil || info.NonVoter && len(gone) == 0 {
		return false, err
	}
	err = n.exclusively(ctx, func() (err error) {
		voter, err = n.changeSuffrage(ctx, r, id, gone)
		return err
	})
	return voter, err
}

// changeSuffrage makes promote's changes of the configuration. Its caller has the slot for
// changes. It checks everything again: the member may have stopped, or left, since promote
// has looked, and a voter that does not answer may cost the quorum.
func (n *Node) changeSuffrage(ctx context.Context, r *replica.Replica, id raft.ServerID, gone map[raft.ServerID]bool) (voter bool, err error) {
	if !r.Leading() {
		return false, kv.ErrNotLeader
	}
	suffrage, member := r.Member(id)
	switch {
	case !member || n.state.Retired(string(id)):
		return false, fmt.Errorf("%w: %s was removed meanwhile", kv.ErrUnknownNode, id)
	case suffrage == raft.Voter:
		return true, nil
	}
	info, err := n.keepsUp(ctx, r, id)
	if err != nil {
		return false, err
	}
	for _, o := range r.Namesakes(id) {
		if !gone[o] {
			return false, fmt.Errorf("%w: %s has joined meanwhile", kv.ErrBehind, o) // looked at the next time
		}
		if err := r.Retire(ctx, o); err != nil {
			return false, err
		}
	}
	if info.NonVoter {
		return false, nil
	}
	if err := r.AddVoter(id); err != nil {
		return false, err
	}
	n.health.lost(id) // of no interest any more
	return true, nil
}

// keepsUp asks a member how far it is, and returns an error unless it has kept up
// with the commit index for a while.
func (n *Node) keepsUp(ctx context.Context, r *replica.Replica, id raft.ServerID) (replica.Info, error) {
	n.health.begin(r.Term())
	info, err := r.AskInfo(ctx, id)
	if err != nil {
		n.health.lost(id)
		return replica.Info{}, err
	}
	return info, n.health.stable(id, info, r.CommitIndex(), time.Now())
}

// namesakesGone returns the namesakes of id, none of which answers, or ErrNameTaken
// if one does.
func (n *Node) namesakesGone(ctx context.Context, r *replica.Replica, id raft.ServerID) (map[raft.ServerID]bool, error) {
	gone := make(map[raft.ServerID]bool)
	for _, o := range r.Namesakes(id) {
		if n.alive(ctx, o) {
			return nil, fmt.Errorf("%w: %s", kv.ErrNameTaken, o)
		}
		gone[o] = true
	}
	return gone, nil
}

// alive reports whether the process at id's newest known address answers as id.
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

// nameLocks lets one node of each name join at a time. Of two nodes with one name, only
// the first is asked to belong to the cluster. The zero value is ready for use.
type nameLocks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // guarded by mu; closed when the name is released
}

// acquire returns once nobody else has the name. release gives it up.
func (l *nameLocks) acquire(ctx context.Context, name string) (release func(), err error) {
	for {
		l.mu.Lock()
		busy := l.held[name]
		if busy == nil {
			mine := make(chan struct{})
			if l.held == nil {
				l.held = make(map[string]chan struct{})
			}
			l.held[name] = mine
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				delete(l.held, name)
				close(mine)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: another node named %s is joining", kv.ErrOverloaded, name)
		}
	}
}
