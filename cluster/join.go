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
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// Join asks the cluster to add a running node that is in no cluster yet, and
// waits until it votes, unless it never does, or ctx ends. Adding a member again is no error. Any
// node may be asked. It returns a *ValidationError, ErrUnreachable,
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

// add makes a running node a member and waits until it is all it is to be. Other
// changes of the membership go on meanwhile, also ones that remove it again. What
// ctx leaves undone, the reconcile loop finishes.
func (n *Node) add(ctx context.Context, r *replica, request kv.JoinRequest) (kv.Member, error) {
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
// yet. Whom it can't add, it does not change: the node is asked to belong to this
// cluster, which is for good, once nothing speaks against it.
func (n *Node) addNonvoter(ctx context.Context, r *replica, request kv.JoinRequest) (raft.ServerID, error) {
	release, err := n.joining.acquire(ctx, request.ID)
	if err != nil {
		return "", err
	}
	defer release()
	peer, err := n.identify(ctx, request)
	if err != nil {
		return "", err
	}
	if _, member := r.member(peer.ID); member {
		return peer.ID, nil
	}
	gone, err := n.namesakesGone(ctx, r, peer.ID)
	if err != nil {
		return "", err
	}
	if err := r.checkVersion(ctx, peer.ID, peer.CommandVersion); err != nil {
		return "", err
	}
	if err := n.checkForgotten(ctx, r, peer, request.PeerAddr); err != nil {
		return "", err
	}
	if peer, err = n.askAccept(ctx, request.PeerAddr, acceptRequest{Cluster: n.identity().Cluster, Name: request.ID}); err != nil {
		return "", err
	}
	return peer.ID, n.exclusively(ctx, func() error { return r.addNonvoter(ctx, peer, gone) })
}

// addNonvoter is the change of the configuration alone, unless the one that there
// is now forbids it: gone are the members of the same name that don't answer. From its
// beginning on nothing is written that the new member does not understand.
func (r *replica) addNonvoter(ctx context.Context, peer transport.Identity, gone map[raft.ServerID]bool) error {
	id := peer.ID
	defer r.versions.join(id, peer.CommandVersion)()
	if err := r.settleWrites(ctx); err != nil {
		return err
	}
	if !r.Leading() {
		return kv.ErrNotLeader
	}
	if err := r.checkVersion(ctx, id, peer.CommandVersion); err != nil {
		return err
	}
	if r.fsm.Retired(string(id)) {
		return fmt.Errorf("%w: %s was removed meanwhile; empty its data directory to have it join again", kv.ErrNameTaken, id)
	}
	if _, member := r.member(id); member {
		return nil
	}
	for _, o := range r.namesakes(id) {
		if !gone[o] {
			return fmt.Errorf("%w: %s has joined meanwhile", kv.ErrNameTaken, o)
		}
	}
	if err := configError(r.asks.ask(func() error {
		return r.raft.AddNonvoter(id, raft.ServerAddress(id), 0, configTimeout).Error()
	})); err != nil {
		return fmt.Errorf("add %s: %w", id, err)
	}
	r.log.Info("member added", "member", id)
	return nil
}

// settleWrites returns when the batch under way, which may have been admitted before a
// node was to be added, has been applied.
func (r *replica) settleWrites(ctx context.Context) error {
	select {
	case r.writing <- struct{}{}:
		<-r.writing
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: a write is still under way", kv.ErrOverloaded)
	}
}

// checkForgotten refuses a node at addr that may be a removed incarnation which the state
// machine has forgotten, since it remembers only fsm.MaxRetired of them.
//
// Invariant: an incarnation that was removed is never added again once it holds
// something of the cluster. It is either among the retired ones, or, once some may have
// been forgotten, it is told by its log from a node that has accepted the cluster and
// whose addition did not come about: nobody sends entries to a node that is no member.
func (n *Node) checkForgotten(ctx context.Context, r *replica, peer transport.Identity, addr string) error {
	if !r.fsm.RetiredFull() || peer.Cluster == "" {
		return nil // it is in no cluster: a new incarnation
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var info nodeInfo
	_, answer, err := n.peers.CallAddr(ctx, addr, kindInfo, nil)
	if err == nil {
		err = json.Unmarshal(answer, &info)
	}
	if err != nil {
		return fmt.Errorf("%w: ask %s what it holds: %w", kv.ErrUnreachable, peer.ID, fromWire(err))
	}
	if !info.Empty {
		return fmt.Errorf("%w: %s holds entries of this cluster and is no member: it was removed; empty its data directory to have it join again",
			kv.ErrNameTaken, peer.ID)
	}
	return nil
}

// identify returns who answers at the address of a node that is to join.
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

// checkWanted returns what to tell who means the node wanted and has found another.
func checkWanted(found, wanted string) error {
	if found != wanted {
		return &kv.ValidationError{Field: "id", Reason: fmt.Sprintf("the node at this address is %s, not %s", found, wanted)}
	}
	return nil
}

// promote makes a member a voter once it has caught up, unless it never is to be
// one, and reports whether it is. Before that it retires earlier incarnations of the
// same name: a wiped node's old self can never answer again, and would only count
// against quorum. It returns ErrBehind, or that the member does not answer, while
// there is something to wait for.
func (n *Node) promote(ctx context.Context, r *replica, id raft.ServerID) (voter bool, err error) {
	if !r.Leading() {
		return false, kv.ErrNotLeader
	}
	suffrage, member := r.member(id)
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

// changeSuffrage is the changes of the configuration that promote makes. The
// holder of the slot for changes calls it: since promote has looked, the member may
// have stopped, or have left, and a vote that nobody casts may cost the quorum.
func (n *Node) changeSuffrage(ctx context.Context, r *replica, id raft.ServerID, gone map[raft.ServerID]bool) (voter bool, err error) {
	if !r.Leading() {
		return false, kv.ErrNotLeader
	}
	suffrage, member := r.member(id)
	switch {
	case !member || r.fsm.Retired(string(id)):
		return false, fmt.Errorf("%w: %s was removed meanwhile", kv.ErrUnknownNode, id)
	case suffrage == raft.Voter:
		return true, nil
	}
	info, err := n.keepsUp(ctx, r, id)
	if err != nil {
		return false, err
	}
	for _, o := range r.namesakes(id) {
		if !gone[o] {
			return false, fmt.Errorf("%w: %s has joined meanwhile", kv.ErrBehind, o) // looked at the next time
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

// keepsUp asks a member how far it is, and returns an error unless it has kept up
// with what is committed for a while.
func (n *Node) keepsUp(ctx context.Context, r *replica, id raft.ServerID) (nodeInfo, error) {
	n.health.begin(r.raft.CurrentTerm())
	info, err := r.askInfo(ctx, id)
	if err != nil {
		n.health.lost(id)
		return nodeInfo{}, err
	}
	return info, n.health.stable(id, info, r.raft.CommitIndex(), time.Now())
}

// member returns whether id is in the newest configuration, and what it is there.
func (r *replica) member(id raft.ServerID) (suffrage raft.ServerSuffrage, ok bool) {
	for _, s := range r.servers() {
		if s.ID == id {
			return s.Suffrage, true
		}
	}
	return 0, false
}

// namesakes returns the other members that have id's name: other incarnations.
func (r *replica) namesakes(id raft.ServerID) (ids []raft.ServerID) {
	for _, s := range r.servers() {
		if s.ID != id && nameOf(s.ID) == nameOf(id) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// namesakesGone returns the namesakes of id, none of which answers, or ErrNameTaken
// if one does.
func (n *Node) namesakesGone(ctx context.Context, r *replica, id raft.ServerID) (map[raft.ServerID]bool, error) {
	gone := make(map[raft.ServerID]bool)
	for _, o := range r.namesakes(id) {
		if n.alive(ctx, o) {
			return nil, fmt.Errorf("%w: %s", kv.ErrNameTaken, o)
		}
		gone[o] = true
	}
	return gone, nil
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

// nameLocks lets one node of each name join at a time: of two with one name only
// the first is asked to belong to the cluster. The zero value is ready for use.
type nameLocks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // guarded by mu; closed when the name is released
}

// acquire returns what releases the name, once nobody else has it.
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
