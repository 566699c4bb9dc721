package cluster

import (
	"context"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/discovery"
	"github.com/kvorum/kvorum/transport"
)

// Announcement is a node's message to the others through gossip. It is a hint: only the
// address book and the leader's invitations follow from it.
type Announcement = discovery.Announcement

// announcedID returns the server id of the node that announces itself.
func announcedID(a Announcement) raft.ServerID { return raft.ServerID(a.ID) }

// gossip is a Discovery by package discovery.
type gossip struct{ *discovery.Gossip }

var _ Discovery = gossip{}

// openGossip begins to announce self and to look for others, as the configuration says.
func openGossip(ctx context.Context, cfg Config, self Announcement, foreign func(error)) (Discovery, error) {
	g, err := discovery.Open(ctx, discovery.Config{
		Addr: cfg.GossipAddr, Advertise: cfg.AdvertiseGossip, Join: cfg.Join, Key: cfg.GossipKey,
		Logger: cfg.Logger, LookupIP: cfg.Seams.LookupIP, Foreign: foreign,
	}, self)
	if err != nil {
		return nil, err // and no Discovery that is a nil pointer
	}
	return gossip{g}, nil
}

// Members implements Discovery.
func (g gossip) Members() map[raft.ServerID]Announcement {
	all := make(map[raft.ServerID]Announcement)
	for _, a := range g.Gossip.Members() {
		all[announcedID(a)] = a
	}
	return all
}

// addressBook is the address book with the types of raft and of the transport. Raft knows
// servers by id alone, so that a changed address needs no log entry.
type addressBook struct{ *discovery.Book }

var _ transport.Resolver = addressBook{}

// ResolvePeer implements transport.Resolver.
func (b addressBook) ResolvePeer(id raft.ServerID) (addr string, ok bool) {
	addr = b.PeerAddr(string(id))
	return addr, addr != ""
}

// httpAddr returns the address at which clients reach a node, "" if it is not known.
func (b addressBook) httpAddr(id raft.ServerID) string { return b.HTTPAddr(string(id)) }

// known implements transport.Config's Known.
func (b addressBook) known(id raft.ServerID) (transport.Identity, bool) {
	a, ok := b.Known(string(id))
	return transport.Identity{
		ID: id, PeerAddr: a.PeerAddr, HTTPAddr: a.HTTPAddr, Generation: a.Generation, CommandVersion: a.CommandVersion,
	}, ok
}

// unreached implements transport.Config's Unreached.
func (b addressBook) unreached(id raft.ServerID, addr string) { b.Unreached(string(id), addr) }

// begin stores this node's own announcement.
func (b addressBook) begin(self transport.Identity) { b.Begin(announcementOf(self)) }

// learn takes in the identity of a node from a handshake.
func (b addressBook) learn(peer transport.Identity) { b.Learn(announcementOf(peer)) }

func announcementOf(peer transport.Identity) Announcement {
	return Announcement{
		ID: string(peer.ID), Cluster: peer.Cluster, PeerAddr: peer.PeerAddr, HTTPAddr: peer.HTTPAddr, Generation: peer.Generation,
		CommandVersion: peer.CommandVersion,
	}
}
