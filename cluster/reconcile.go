package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/transport"
)

// learnLoop writes what gossip announces into the address book.
func (n *Node) learnLoop(ctx context.Context) {
	for {
		cluster := n.identity().Cluster
		for _, a := range n.gossip.Members() {
			if a.Cluster == cluster {
				n.book.Learn(a.identity())
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

// learn is told by the transport of every peer that shook hands with this node.
func (n *Node) learn(peer transport.Identity) {
	if peer.Cluster != "" && peer.Cluster == n.identity().Cluster {
		n.book.Learn(peer)
	}
}

// admit refuses connections of incarnations that were removed from the cluster.
func (n *Node) admit(peer transport.Identity) error {
	r, err := n.joined()
	if err == nil && r.fsm.Retired(string(peer.ID)) {
		return ErrRemoved
	}
	return nil
}

// reconcileLoop is where a leader makes the configuration what it should be.
// It looks at the state as it is, not at events, so it finishes what an earlier
// leader began. Gossip is only a hint: it never removes anybody.
func (n *Node) reconcileLoop(ctx context.Context) {
	tick := time.NewTicker(reconcileTick)
	defer tick.Stop()
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
		if r.leading() {
			err = n.exclusively(round, func() error { return n.reconcile(round, r) })
		} else {
			err = n.checkMembership(round, r)
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			n.log.Info("membership not settled yet", "err", err)
		}
	}
}

// reconcile removes retired incarnations and, where that is asked for, dead
// members, promotes those that have caught up, and adds nodes that announce
// themselves and are in no cluster.
func (n *Node) reconcile(ctx context.Context, r *replica) error {
	n.health.begin(r.raft.CurrentTerm())
	errs := []error{n.removeDead(ctx, r)}
	members := make(map[raft.ServerID]bool)
	for _, s := range r.servers() {
		members[s.ID] = true
		if r.fsm.Retired(string(s.ID)) {
			errs = append(errs, r.retire(ctx, s.ID))
		} else if s.Suffrage != raft.Voter {
			_, err := n.promote(ctx, r, s.ID)
			errs = append(errs, err)
		}
	}
	cluster := n.identity().Cluster
	for id, a := range n.gossip.Members() {
		if members[id] || r.fsm.Retired(a.ID) || (a.Cluster != "" && a.Cluster != cluster) {
			continue
		}
		_, err := n.addNonvoter(ctx, r, JoinRequest{ID: nameOf(id), PeerAddr: a.PeerAddr, HTTPAddr: a.HTTPAddr})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// checkMembership finds out, while this node knows no leader, whether it was
// removed while it was away: then its peers don't admit it any more.
func (n *Node) checkMembership(ctx context.Context, r *replica) error {
	if state, _ := r.leaders.current(); state.leader != "" {
		return nil
	}
	for _, s := range r.servers() {
		addr, ok := n.book.ResolvePeer(s.ID)
		if s.ID == r.id || !ok {
			continue
		}
		probe, cancel := context.WithTimeout(ctx, probeTimeout)
		_, err := n.peers.Probe(probe, addr)
		cancel()
		var refused *transport.RefusedError
		if errors.As(err, &refused) && refused.Remote && refused.Reason == transport.RefusedNotAdmitted && refused.Peer.ID == s.ID {
			n.fatal.fail(&RemovedError{Name: n.cfg.Name, DataDir: n.cfg.DataDir})
			return nil
		}
	}
	return nil
}
