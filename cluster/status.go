package cluster

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// Status describes this node and its cluster, as far as the node knows, without a wait.
func (n *Node) Status() kv.Status {
	ident := n.identity()
	s := kv.Status{ID: ident.Name, ClusterID: ident.Cluster, Role: "joining", Members: []kv.Member{}, Waiting: n.Waiting(), Descriptors: n.descriptors()}
	s.Certificate = n.certificate()
	s.Versions = &kv.VersionStatus{Understands: int(n.cfg.understands()), Announces: int(n.cfg.announcedVersion())}
	r, err := n.joined()
	if err != nil {
		return s
	}
	r.Describe(&s)
	settings := n.state.Settings()
	s.Settings = &settings
	s.Limits = n.limitStatus()
	if state, _ := r.Leadership(); state.Leader != "" {
		s.Leader = &kv.Leader{ID: state.LeaderName(), HTTPAddr: n.book.httpAddr(state.Leader)}
	}
	for _, server := range r.Servers() {
		peer, _ := n.book.ResolvePeer(server.ID)
		version, _ := n.announcedBy(server.ID)
		s.Members = append(s.Members, kv.Member{
			ID: nameOf(server.ID), PeerAddr: peer, HTTPAddr: n.book.httpAddr(server.ID),
			Voter: server.Suffrage == raft.Voter, CommandVersion: int(version),
		})
	}
	slices.SortFunc(s.Members, func(a, b kv.Member) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.PeerAddr, b.PeerAddr))
	})
	return s
}

// Stats are the figures of a node that change all the time.
type Stats struct {
	replica.Stats // all zero while the node is in no cluster

	Quota          kv.QuotaStatus // all zero while the node is in no cluster
	Ready          bool           // this node can serve linearizable requests
	CommandVersion int            // highest version of a command that this node announces to understand; 0 while it is in no cluster
	Transport      transport.Stats
	Descriptors    *kv.DescriptorStatus // nil if nobody has divided them
	// CertificateEnds is when the node's certificate, or one that it depends on, ends;
	// zero is none.
	CertificateEnds time.Time
}

// Stats returns the node's figures as of now.
func (n *Node) Stats() Stats {
	s := Stats{Ready: n.ready() == nil, Transport: n.peers.Stats(), Descriptors: n.descriptors(), CertificateEnds: n.certificateEnds()}
	if r, err := n.joined(); err == nil {
		s.Stats, s.CommandVersion = r.Stats(), int(n.cfg.announcedVersion())
		s.Quota = n.state.Quota()
	}
	return s
}
