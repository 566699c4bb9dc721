package cluster

import (
	"fmt"

	"github.com/kvorum/kvorum/kv"
)

// Descriptors reserved for each part of a node (docs/limits.md has the table with
// what each consists of).
const (
	processDescriptors  = 24
	logDescriptors      = 24
	snapshotDescriptors = 20
	storeDescriptors    = 8
	gossipDescriptors   = 16
	// minPeerDescriptors and maxPeerDescriptors bound the eighth of the limit that is
	// reserved for connections to and from peers: two in each direction with each peer, so
	// that the least is enough for 15 nodes.
	minPeerDescriptors, maxPeerDescriptors = 72, 1024
	// minClientDescriptors is the least that must be left for clients.
	minClientDescriptors = 32
	// maxClientDescriptors is the most that clients are given.
	maxClientDescriptors = 8192

	// openSegments is how many of the log's files are kept open. The rest of its share
	// is for a segment made ahead, the manifest, and reads of older segments.
	openSegments = 16

	fixedDescriptors = processDescriptors + logDescriptors + snapshotDescriptors + storeDescriptors + gossipDescriptors
)

// MinDescriptors is the least limit on file descriptors that a node can run with.
const MinDescriptors = fixedDescriptors + minPeerDescriptors + minClientDescriptors

// DescriptorPlan divides the file descriptors that a process may have open among
// the parts of a node. The zero value is no plan: the parts have their defaults.
type DescriptorPlan struct {
	Limit  int    // of the process
	Source string // of the limit

	Process   int // listeners, standard streams, the runtime, files read for a moment
	Log       int
	Snapshots int // written, sent, received and read at start
	Store     int // term and vote, address book, identity
	Gossip    int
	Peers     int // connections to and from peers, those for snapshots included
	Clients   int // HTTP connections
}

// PlanDescriptors divides limit. It fails below MinDescriptors, with an error that
// names that number.
func PlanDescriptors(limit int, source string) (DescriptorPlan, error) {
	if limit < MinDescriptors {
		return DescriptorPlan{}, fmt.Errorf("at most %d file descriptors may be open (%s), and a node needs %d: raise the limit (ulimit -n, or LimitNOFILE= of a systemd unit)",
			limit, source, MinDescriptors)
	}
	p := DescriptorPlan{
		Limit: limit, Source: source,
		Process: processDescriptors, Log: logDescriptors, Snapshots: snapshotDescriptors,
		Store: storeDescriptors, Gossip: gossipDescriptors,
		Peers: min(max(limit/8, minPeerDescriptors), maxPeerDescriptors),
	}
	p.Clients = min(limit-fixedDescriptors-p.Peers, maxClientDescriptors)
	return p, nil
}

// descriptors describes the descriptors of the node, nil if there is no plan.
// Clients are counted by the HTTP server, the whole process by the plan's maker.
func (n *Node) descriptors() *kv.DescriptorStatus {
	p := n.cfg.Descriptors
	if p.Limit == 0 {
		return nil
	}
	traffic := n.peers.Stats()
	peers := traffic.Connections + traffic.SnapshotStreams + traffic.Handshaking
	s := &kv.DescriptorStatus{
		Limit: p.Limit, Source: p.Source,
		Process: kv.DescriptorShare{Share: p.Process}, Log: kv.DescriptorShare{Share: p.Log},
		Snapshots: kv.DescriptorShare{Share: p.Snapshots}, Store: kv.DescriptorShare{Share: p.Store},
		Gossip: kv.DescriptorShare{Share: p.Gossip}, Peers: kv.DescriptorShare{Share: p.Peers, Open: &peers},
		Clients: kv.DescriptorShare{Share: p.Clients},
	}
	if r, err := n.joined(); err == nil {
		files, snapshots := r.OpenFiles()
		s.Log.Open, s.Snapshots.Open = &files, &snapshots
	}
	return s
}
