package discovery

import (
	"encoding/json"
	"fmt"

	"github.com/hashicorp/memberlist"

	"github.com/kvorum/kvorum/kv"
)

// gossipDelegate gives this node's announcement to memberlist.
type gossipDelegate struct{ g *Gossip }

// NodeMeta implements memberlist.Delegate. Open has checked that the announcement fits.
func (d gossipDelegate) NodeMeta(limit int) []byte {
	meta, err := json.Marshal(d.g.announced())
	if err != nil || len(meta) > limit {
		panic(fmt.Sprintf("discovery: announcement of %d bytes, limit %d: %v", len(meta), limit, err))
	}
	return meta
}

// NotifyMsg implements memberlist.Delegate.
func (gossipDelegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (gossipDelegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (gossipDelegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (gossipDelegate) MergeRemoteState([]byte, bool) {}

// gossipEvents keeps track of the live processes, and refuses nodes of other clusters.
// Its methods run under memberlist's locks and must not block.
type gossipEvents struct {
	g       *Gossip
	listSeq int // number of the list; events of an earlier list are ignored
}

// NotifyJoin implements memberlist.EventDelegate.
func (e gossipEvents) NotifyJoin(node *memberlist.Node) { e.saw(node, true) }

// NotifyLeave implements memberlist.EventDelegate.
func (e gossipEvents) NotifyLeave(node *memberlist.Node) { e.saw(node, false) }

// NotifyUpdate implements memberlist.EventDelegate.
func (e gossipEvents) NotifyUpdate(node *memberlist.Node) { e.saw(node, true) }

// saw stores a node's announcement. Memberlist changes its Node later, so saw reads it
// at once, under memberlist's lock.
func (e gossipEvents) saw(node *memberlist.Node, alive bool) {
	a, err := decodeAnnouncement(node.Meta)
	e.g.mu.Lock()
	if e.listSeq == e.g.listSeq {
		delete(e.g.live, node.Name)
		if alive && err == nil {
			e.g.live[node.Name] = liveNode{a, node.Address(), e.listSeq}
		}
	}
	e.g.mu.Unlock()
	select {
	case e.g.changed <- struct{}{}:
	default:
	}
}

// NotifyAlive implements memberlist.AliveDelegate.
func (e gossipEvents) NotifyAlive(peer *memberlist.Node) error { return e.check(peer) }

// NotifyMerge implements memberlist.MergeDelegate.
func (e gossipEvents) NotifyMerge(peers []*memberlist.Node) error {
	var err error
	for _, peer := range peers {
		if err = e.check(peer); err != nil {
			break
		}
	}
	if err != nil {
		e.g.mu.Lock()
		e.g.refused = err
		e.g.mu.Unlock()
	}
	return err
}

// check refuses a node that belongs to another cluster than this one.
func (e gossipEvents) check(peer *memberlist.Node) error {
	a, err := decodeAnnouncement(peer.Meta)
	if err != nil {
		return err
	}
	self := e.g.announced()
	if self.Cluster != "" && a.Cluster != "" && a.Cluster != self.Cluster {
		return fmt.Errorf("%w: %s at %s is of cluster %s, this node of %s",
			kv.ErrOtherCluster, a.ID, a.PeerAddr, a.Cluster, self.Cluster)
	}
	return nil
}
