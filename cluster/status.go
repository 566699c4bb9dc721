package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
)

// Status returns what this node knows of itself and its cluster, at once.
func (n *Node) Status() kv.Status {
	ident := n.identity()
	s := kv.Status{ID: ident.Name, ClusterID: ident.Cluster, Role: "joining", Members: []kv.Member{}, Waiting: n.Waiting(), Descriptors: n.descriptors()}
	s.Certificate = n.certificate()
	s.Versions = &kv.VersionStatus{Understands: int(n.cfg.understands()), Announces: int(n.cfg.announcedVersion())}
	r, err := n.joined()
	if err != nil {
		return s
	}
	role, term := roleAndTerm(r.raft)
	s.Role, s.Term = strings.ToLower(role.String()), term
	s.CommitIndex = r.raft.CommitIndex()
	s.AppliedIndex = r.fsm.AppliedIndex()
	s.Revision = r.fsm.Revision()
	if state, _ := r.leaders.Current(); state.Leader != "" {
		s.Leader = &kv.Leader{ID: state.LeaderName(), HTTPAddr: n.book.httpAddr(state.Leader)}
	}
	s.Memory = r.memory.Status()
	r.describeVersions(s.Versions)
	r.describe(&s)
	for _, server := range r.servers() {
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

// describe adds what operators look at when something is wrong.
func (r *replica) describe(s *kv.Status) {
	log := r.logs.Stats()
	s.Log = &kv.LogStatus{
		FirstIndex: log.FirstIndex, LastIndex: log.LastIndex, Bytes: log.DiskBytes,
		OldestAgeSeconds: r.oldestAge().Seconds(),
		Sync50Ms:         milliseconds(log.SyncTimes.Quantile(0.5)), Sync99Ms: milliseconds(log.SyncTimes.Quantile(0.99)),
	}
	if loading, ok := r.replaying(); ok {
		s.Loading = &loading
	}
	s.Disk = r.diskStatus()
	queue := r.queued(s.CommitIndex, s.AppliedIndex)
	s.Queue = &queue
	s.State = &kv.StateStatus{VerifiedIndex: r.verified.Load()}
	if all := r.fsm.Checkpoints(); len(all) > 0 {
		newest := all[len(all)-1]
		s.State.Index, s.State.Hash = newest.Index, fmt.Sprintf("%016x", newest.Hash)
	}
	for _, p := range r.peers.Peers() {
		s.Peers = append(s.Peers, peerStatus(p, r.Leading(), s.Term, log.LastIndex))
	}
}

// describeVersions adds what is in the log, and, on the leader, what may be written to it.
func (r *replica) describeVersions(s *kv.VersionStatus) {
	s.Needs = int(r.fsm.WrittenSince(r.logs.SnapshotIndex() + 1))
	if !r.Leading() {
		return
	}
	now := r.versions.now.Load()
	s.Writes = int(now.version)
	for _, m := range now.behind {
		s.HeldBackBy = append(s.HeldBackBy, m.name)
	}
}

// queued describes what waits at this node.
func (r *replica) queued(committed, applied uint64) kv.QueueStatus {
	q := r.proposer.Queued()
	return kv.QueueStatus{
		PendingBytes: q.PendingBytes, Proposals: q.Proposals, Forwarded: q.Forwarded,
		Unapplied: max(committed, applied) - applied,
	}
}

// peerStatus describes one peer; last is the end of this node's log. What the peer
// had in an earlier term it may not have any more.
func peerStatus(p transport.PeerStats, leading bool, term, last uint64) kv.PeerStatus {
	s := kv.PeerStatus{
		ID: nameOf(p.ID), ServerID: string(p.ID), Connected: p.Connected, LastContactSeconds: -1, RoundTripMs: milliseconds(p.RoundTrip),
	}
	if !p.LastContact.IsZero() {
		s.LastContactSeconds = time.Since(p.LastContact).Seconds()
	}
	if leading && p.MatchTerm == term {
		s.MatchIndex = p.Match
	}
	if leading {
		s.Lag = max(last, s.MatchIndex) - s.MatchIndex
	}
	if p.Snapshot != nil {
		s.Snapshot = &kv.SnapshotStatus{Index: p.Snapshot.Index, Sent: p.Snapshot.Sent, Total: p.Snapshot.Total}
	}
	return s
}

// roleAndTerm returns a role and a term that this node has it in. Raft changes both one
// after the other: a leader that hears of a newer term is a follower before it is in
// that term, and a candidate is in its term before it leads there.
func roleAndTerm(r interface {
	State() raft.RaftState
	CurrentTerm() uint64
}) (raft.RaftState, uint64) {
	for {
		term := r.CurrentTerm()
		role := r.State()
		if r.CurrentTerm() == term {
			return role, term
		}
	}
}

// oldestAge returns how long ago the log's oldest entry was made, 0 where that is
// not known. It does not look at the disk: a status page must not be what finds it
// broken.
func (r *replica) oldestAge() time.Duration {
	at := r.logs.Oldest()
	if at.IsZero() {
		return 0
	}
	return max(time.Since(at), 0)
}

// diskStatus describes this node's disk as the last look found it, nil before the first.
func (r *replica) diskStatus() *kv.DiskStatus {
	f := r.disk.Facts()
	if f == nil {
		return nil
	}
	s := &kv.DiskStatus{
		TotalBytes: f.Total, FreeBytes: f.Free, NeededBytes: f.Needed(), ReservedBytes: room.ReserveBytes,
		LogBytes: f.Log, LogMaxBytes: r.logMayHave(f.Next), SnapshotBytes: f.Newest, SnapshotsBytes: f.Snapshots,
		NextSnapshotBytes: f.Next, BallastBytes: f.Ballast, Low: r.disk.Low(),
	}
	if f.Known {
		s.RoomBytes, s.ResumeBytes = max(0, f.Put), f.Resumes()
	}
	return s
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Stats are the figures of a node that change all the time.
type Stats struct {
	Leader          bool   // this node leads and has begun its term
	HasLeader       bool   // this node knows a leader
	Ready           bool   // this node can serve linearizable requests
	Term            uint64 // current term
	CommitIndex     uint64 // as far as this node knows
	AppliedIndex    uint64
	Revision        uint64
	Keys            int   // in the state machine
	Bytes           int64 // of keys and values in the state machine
	CommandVersion  int   // highest version of a command that this node announces to understand
	WritableVersion int   // highest that it, as the leader, writes; 0 where it does not lead

	Retired       int // removed incarnations that the state machine remembers; see fsm.MaxRetired
	Queue         kv.QueueStatus
	Checkpoint    kv.Checkpoint // the newest state hash that this node has noted
	VerifiedIndex uint64        // of the newest checkpoint at which a majority of voters has this node's state
	Log           wal.Stats
	OldestAge     time.Duration  // of the log's oldest entry; see LogStatus
	Disk          *kv.DiskStatus // nil where nothing is known of it yet
	Transport     transport.Stats
	Peers         []kv.PeerStatus
	Descriptors   *kv.DescriptorStatus // nil where nobody has divided them
	Memory        *kv.MemoryStatus     // nil where there is neither a plan nor a quota
	// CertificateEnds is when the node's certificate, or one that it depends on, ends;
	// zero is none.
	CertificateEnds time.Time
}

// Stats returns the node's figures as of now; all zero but Transport while the node is in no cluster.
func (n *Node) Stats() Stats {
	s := Stats{Ready: n.ready() == nil, Transport: n.peers.Stats(), Descriptors: n.descriptors(), CertificateEnds: n.certificateEnds()}
	r, err := n.joined()
	if err != nil {
		return s
	}
	state, _ := r.leaders.Current()
	s.Leader, s.HasLeader = r.Leading(), state.Leader != ""
	s.Term, s.CommitIndex = r.raft.CurrentTerm(), r.raft.CommitIndex()
	s.AppliedIndex, s.Revision = r.fsm.AppliedIndex(), r.fsm.Revision()
	s.Keys, s.Bytes, s.Retired = r.fsm.Len(), r.fsm.Size(), r.fsm.RetiredCount()
	s.CommandVersion = int(n.cfg.announcedVersion())
	if s.Leader {
		s.WritableVersion = int(r.versions.now.Load().version)
	}
	s.Queue = r.queued(s.CommitIndex, s.AppliedIndex)
	if all := r.fsm.Checkpoints(); len(all) > 0 {
		s.Checkpoint = all[len(all)-1]
	}
	s.VerifiedIndex = r.verified.Load()
	s.Memory = r.memory.Status()
	s.Log = r.logs.Stats()
	s.OldestAge = r.oldestAge()
	s.Disk = r.diskStatus()
	for _, p := range r.peers.Peers() {
		s.Peers = append(s.Peers, peerStatus(p, s.Leader, s.Term, s.Log.LastIndex))
	}
	return s
}
