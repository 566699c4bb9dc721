package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/discovery"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/internal/loglimit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

const (
	// strangersPerRound is the maximum number of nodes that announce themselves and are asked in one round.
	strangersPerRound = 16
	// maxStrangerErrors is the maximum number of their errors that a round reports.
	maxStrangerErrors = 4
)

// learnLoop passes the announcements of other nodes by gossip to the address book.
func (n *Node) learnLoop(ctx context.Context) {
	for {
		cluster := n.identity().Cluster
		for _, a := range n.gossip.Members() {
			if a.Cluster == cluster && announcedID(a) != n.id() {
				n.book.Hint(a)
			}
		}
		select {
		case <-n.gossip.Changed():
		case <-time.After(reconcileTick):
		case <-ctx.Done():
			return
		}
	}
}

// learn takes in the identity of a peer that has shaken hands with this node.
func (n *Node) learn(peer transport.Identity) {
	if peer.Cluster != "" && peer.Cluster == n.identity().Cluster {
		n.book.learn(peer)
		if r, err := n.joined(); err == nil {
			r.VersionsChanged()
		}
	}
}

// admit refuses connections of incarnations that were removed from the cluster.
func (n *Node) admit(peer transport.Identity) error {
	_, err := n.joined()
	if err == nil && n.state.Retired(string(peer.ID)) {
		return kv.ErrRemoved
	}
	return nil
}

// reconcileLoop makes the configuration what it should be, on a leader.
// It looks at the state, not at events, so it finishes the work of an earlier
// leader. Gossip is only a hint: it never removes a member.
func (n *Node) reconcileLoop(ctx context.Context) {
	tick := time.NewTicker(reconcileTick)
	defer tick.Stop()
	lines := loglimit.ForLoop(n.log)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		r, err := n.joined()
		if err != nil {
			continue
		}
		round, cancel := context.WithTimeout(ctx, reconcileTimeout)
		if r.Leading() {
			err = n.settle(round, r)
		} else {
			err = n.checkMembership(round, r)
		}
		cancel()
		switch {
		case err == nil:
			lines.Over("", "membership settled")
		case ctx.Err() == nil:
			lines.Log(slog.LevelInfo, "", "membership not settled yet", "err", err)
		}
	}
}

// settle carries out one round. It removes retired incarnations and, if that is
// configured, dead members, promotes members that have caught up, and adds strangers.
// Members and strangers that don't answer delay no other change.
func (n *Node) settle(ctx context.Context, r *replica.Replica) error {
	n.forgetOthers(r)
	n.health.begin(r.Term())
	strangers, err := n.strangers(ctx, r)
	errs := []error{err, n.finishRetired(ctx, r), n.removeDead(ctx, r)}
	var nonvoters []raft.ServerID
	for _, s := range r.Servers() {
		if s.Suffrage != raft.Voter && !n.state.Retired(string(s.ID)) {
			nonvoters = append(nonvoters, s.ID)
		}
	}
	errs = append(errs, concurrently(nonvoters, func(id raft.ServerID) error {
		_, err := n.promote(ctx, r, id)
		return err
	}), concurrently(strangers, func(request kv.JoinRequest) error {
		_, err := n.addNonvoter(ctx, r, request)
		return err
	}))
	return errors.Join(errs...)
}

// concurrently calls do for all items at the same time, and returns its errors.
func concurrently[T any](items []T, do func(T) error) error {
	errs := make([]error, len(items))
	var doing sync.WaitGroup
	for i, item := range items {
		doing.Go(func() { errs[i] = do(item) })
	}
	doing.Wait()
	return errors.Join(errs...)
}

// finishRetired removes the members from the configuration that an earlier leader has retired.
func (n *Node) finishRetired(ctx context.Context, r *replica.Replica) error {
	var errs []error
	for _, s := range r.Servers() {
		if !n.state.Retired(string(s.ID)) {
			continue
		}
		errs = append(errs, n.exclusively(ctx, func() error {
			if _, member := r.Member(s.ID); !member {
				return nil
			}
			return r.Retire(ctx, s.ID)
		}))
	}
	return errors.Join(errs...)
}

// strangers returns the nodes that announce themselves and answer, and are in no cluster, or in
// this one and no member.
func (n *Node) strangers(ctx context.Context, r *replica.Replica) ([]kv.JoinRequest, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	members := make(map[raft.ServerID]bool)
	for _, s := range r.Servers() {
		members[s.ID] = true
	}
	cluster := n.identity().Cluster
	var (
		asking sync.WaitGroup
		mu     sync.Mutex
		found  []kv.JoinRequest
		errs   []error
		asked  int
	)
	for id, a := range n.gossip.Members() {
		if members[id] || n.state.Retired(a.ID) || (a.Cluster != "" && a.Cluster != cluster) {
			continue
		}
		if asked++; asked > strangersPerRound {
			break // the map's order is another one each time
		}
		asking.Go(func() {
			request := kv.JoinRequest{ID: nameOf(id), PeerAddr: a.PeerAddr, HTTPAddr: a.HTTPAddr}
			_, err := n.identify(ctx, request)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				found = append(found, request)
			} else if len(errs) < maxStrangerErrors {
				errs = append(errs, err)
			}
		})
	}
	asking.Wait()
	return found, errors.Join(errs...)
}

// forgetOthers drops the connections and figures of peers that are not members. It keeps those
// of the leader, which this node's configuration may not have yet.
func (n *Node) forgetOthers(r *replica.Replica) {
	state, _ := r.Leadership()
	keep := map[raft.ServerID]bool{state.Leader: true}
	for _, s := range r.Servers() {
		keep[s.ID] = true
	}
	for _, p := range n.peers.Peers() {
		if keep[p.ID] {
			continue
		}
		n.peers.Forget(p.ID)
		if n.state.Retired(string(p.ID)) {
			n.book.Forget(string(p.ID))
		}
	}
	r.Disconnected(func(id raft.ServerID) bool { return keep[id] })
}

// checkMembership finds out, while this node knows no leader, whether it was
// removed while it was away: then its peers don't admit it any more.
func (n *Node) checkMembership(ctx context.Context, r *replica.Replica) error {
	n.forgetOthers(r)
	if state, _ := r.Leadership(); state.Leader != "" {
		return nil
	}
	var asking sync.WaitGroup
	for _, s := range r.Servers() {
		if s.ID != n.id() {
			asking.Go(func() { n.askMember(ctx, s.ID) })
		}
	}
	asking.Wait()
	return nil
}

// askMember notes whether a member is reached, and stops this node if the member
// does not admit it any more.
func (n *Node) askMember(ctx context.Context, id raft.ServerID) {
	answer := kv.AskedAddress{Node: nameOf(id), Answer: "its address is not known"}
	if addr, ok := n.book.ResolvePeer(id); ok {
		probe, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		_, err := n.peers.Probe(probe, addr)
		answer.Addr, answer.Reached, answer.Answer = addr, err == nil, "answers"
		if err != nil {
			answer.Answer = peerReason(err)
		}
		var refused *transport.RefusedError
		if errors.As(err, &refused) && refused.Remote && refused.Reason == transport.RefusedNotAdmitted && refused.Peer.ID == id {
			n.fatal.Fail(&RemovedError{Name: n.cfg.Name, DataDir: n.cfg.DataDir})
		}
	}
	if ctx.Err() == nil {
		n.waits.setMember(string(id), answer)
	}
}

// peerReason returns the reason why a peer was not reached, in fewer words than err.
func peerReason(err error) string {
	var shaking *transport.HandshakeError
	var refused *transport.RefusedError
	switch {
	case errors.As(err, &refused):
		return refused.Error()
	case errors.As(err, &shaking) && errors.Is(err, context.DeadlineExceeded):
		return "connected, but no answer: something else listens there, or it hangs"
	}
	return discovery.DialReason(err)
}
