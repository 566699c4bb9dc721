package transport

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// PeerStats is what a transport knows of one peer that it has dialed.
type PeerStats struct {
	ID        raft.ServerID
	Connected bool // an urgent connection that this node dialed is open
	// LastContact is when something was last received over a connection that this
	// node dialed; zero if nothing ever was.
	LastContact time.Time
	// RoundTrip is that of the newest ping over the urgent connection; 0 if there is none.
	// No disk is part of it.
	RoundTrip time.Duration
	// BytesIn and BytesOut count what went over connections in both directions.
	BytesIn, BytesOut uint64
	// Match is the greatest index up to which the peer's log is this node's, by the
	// appends that it accepted, and MatchTerm the term in which this node led then; 0
	// if there is none. In a later term, the peer's log may be another one.
	Match, MatchTerm uint64
	// Installed is the index of the newest snapshot that the peer has taken from this node,
	// and InstalledTerm the term in which this node led then; 0 if there is none.
	Installed, InstalledTerm uint64
	// Snapshot is the snapshot being sent to the peer; nil if there is none.
	Snapshot *SnapshotProgress
}

// SnapshotProgress is how far the sending of a snapshot has come.
type SnapshotProgress struct {
	Index, Term uint64 // of the last entry in the snapshot
	Sent, Total int64  // bytes
	Began       time.Time
}

// traffic is what connections to one peer have in common. The zero value is
// ready.
type traffic struct {
	in, out     atomic.Uint64 // bytes
	lastContact atomic.Int64  // nanoseconds since the Unix epoch, 0 is never
	roundTrip   atomic.Int64  // nanoseconds
	match       atomic.Pointer[match]
	installed   atomic.Pointer[match]
	carried     atomic.Pointer[carried]
	soon        atomic.Bool // tellSoon is under way
	sending     atomic.Pointer[sending]
}

// match is how far a peer's log is this node's, as it was found in a term that this
// node led in, and the term of the entry at that index.
type match struct{ index, term, entryTerm uint64 }

// sending is a snapshot on its way to a peer.
type sending struct {
	index, term uint64
	total       int64
	began       time.Time
	sent        atomic.Int64
}

// contact records that something was received.
func (f *traffic) contact() { f.lastContact.Store(time.Now().UnixNano()) }

// matched records an append that the peer has accepted, unless more was accepted
// in that term, or anything in a later one.
func (f *traffic) matched(args *raft.AppendEntriesRequest) {
	m := &match{index: args.PrevLogEntry, term: args.Term, entryTerm: args.PrevLogTerm}
	if n := len(args.Entries); n > 0 {
		m.index, m.entryTerm = args.Entries[n-1].Index, args.Entries[n-1].Term
	}
	for {
		old := f.match.Load()
		if old != nil && (old.term > m.term || old.term == m.term && old.index >= m.index) || f.match.CompareAndSwap(old, m) {
			return
		}
	}
}

// Peers returns what is known of each peer that this node has dialed, in the
// order of their ids. Each number is read by itself.
func (t *Transport) Peers() []PeerStats {
	t.mu.Lock()
	peers := make([]*peer, 0, len(t.peers))
	for _, p := range t.peers {
		peers = append(peers, p)
	}
	t.mu.Unlock()
	stats := make([]PeerStats, len(peers))
	for i, p := range peers {
		stats[i] = p.stats()
	}
	slices.SortFunc(stats, func(a, b PeerStats) int { return cmp.Compare(a.ID, b.ID) })
	return stats
}

func (p *peer) stats() PeerStats {
	s := PeerStats{
		ID: p.id, Connected: p.urgent.connected(),
		RoundTrip: time.Duration(p.traffic.roundTrip.Load()),
		BytesIn:   p.traffic.in.Load(), BytesOut: p.traffic.out.Load(),
	}
	if m := p.traffic.match.Load(); m != nil {
		s.Match, s.MatchTerm = m.index, m.term
	}
	if m := p.traffic.installed.Load(); m != nil {
		s.Installed, s.InstalledTerm = m.index, m.term
	}
	if at := p.traffic.lastContact.Load(); at != 0 {
		s.LastContact = time.Unix(0, at)
	}
	if out := p.traffic.sending.Load(); out != nil {
		s.Snapshot = &SnapshotProgress{
			Index: out.index, Term: out.term, Sent: out.sent.Load(), Total: out.total, Began: out.began,
		}
	}
	return s
}
