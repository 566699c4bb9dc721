package replica

import (
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
)

// Leadership returns the newest observation of the leader, and a channel that is closed when
// it changes.
func (r *Replica) Leadership() (leadership.State, <-chan struct{}) { return r.leaders.Current() }

// Elected reports whether this node is the leader for raft. Its term may not have begun yet.
func (r *Replica) Elected() bool { return r.raft.State() == raft.Leader }

// CommitIndex returns the commit index, as far as this node knows and may say.
func (r *Replica) CommitIndex() uint64 { return r.commitIndex() }

// OpenFiles returns the number of the log's files that are open, and of the snapshots'.
func (r *Replica) OpenFiles() (log, snapshots int) {
	return r.logs.Stats().OpenFiles, r.snaps.OpenFiles()
}

// Describe sets the fields of s that are about this replica: all but names and addresses,
// members and the leader.
func (r *Replica) Describe(s *kv.Status) {
	role, term := roleAndTerm(r.raft)
	s.Role, s.Term = strings.ToLower(role.String()), term
	s.CommitIndex = r.commitIndex()
	s.AppliedIndex = r.machine.AppliedIndex()
	s.Revision = r.machine.Revision()
	s.Memory = r.memory.Status()
	if s.Versions != nil {
		r.describeVersions(s.Versions)
	}
	log := r.logs.Stats()
	s.Log = &kv.LogStatus{
		FirstIndex: log.FirstIndex, LastIndex: log.LastIndex, Bytes: log.DiskBytes, CacheBytes: log.CacheBytes,
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
	if all := r.machine.Checkpoints(); len(all) > 0 {
		newest := all[len(all)-1]
		s.State.Index, s.State.Hash = newest.Index, fmt.Sprintf("%016x", newest.Hash)
	}
	for _, p := range r.peers.Peers() {
		s.Peers = append(s.Peers, peerStatus(p, r.Leading(), s.Term, log.LastIndex))
	}
}

// describeVersions adds the versions in the log, and, on the leader, those that may be written.
func (r *Replica) describeVersions(s *kv.VersionStatus) {
	s.Needs = int(r.machine.WrittenSince(r.logs.SnapshotIndex() + 1))
	if !r.Leading() {
		return
	}
	now := r.versions.now.Load()
	s.Writes = int(now.version)
	for _, m := range now.behind {
		s.HeldBackBy = append(s.HeldBackBy, m.name)
	}
}

// Stats are the figures of a replica that change all the time.
type Stats struct {
	Leader          bool   // this node leads and has begun its term
	HasLeader       bool   // this node knows a leader
	Term            uint64 // current term
	CommitIndex     uint64 // as far as this node knows
	AppliedIndex    uint64
	Revision        uint64
	Keys            int   // in the state machine
	Bytes           int64 // of keys and values in the state machine
	WritableVersion int   // highest version of a command that it writes as the leader; 0 if it does not lead

	Retired       int // removed incarnations that the state machine remembers; see fsm.MaxRetired
	Queue         kv.QueueStatus
	Checkpoint    kv.Checkpoint // the newest state hash that this node has noted
	VerifiedIndex uint64        // of the newest checkpoint at which a majority of voters has this node's state
	Log           wal.Stats
	OldestAge     time.Duration  // of the log's oldest entry; see kv.LogStatus
	Disk          *kv.DiskStatus // nil if nothing is known of it yet
	Peers         []kv.PeerStatus
	Memory        *kv.MemoryStatus // nil if there is neither a plan nor a quota
}

// Stats returns the figures as of now.
func (r *Replica) Stats() Stats {
	state, _ := r.leaders.Current()
	s := Stats{
		Leader: r.Leading(), HasLeader: state.Leader != "", Term: r.raft.CurrentTerm(), CommitIndex: r.commitIndex(),
		AppliedIndex: r.machine.AppliedIndex(), Revision: r.machine.Revision(),
		Keys: r.machine.Len(), Bytes: r.machine.Size(), Retired: r.machine.RetiredCount(),
		VerifiedIndex: r.verified.Load(), Memory: r.memory.Status(), Log: r.logs.Stats(), OldestAge: r.oldestAge(), Disk: r.diskStatus(),
	}
	if s.Leader {
		s.WritableVersion = int(r.versions.now.Load().version)
	}
	s.Queue = r.queued(s.CommitIndex, s.AppliedIndex)
	if all := r.machine.Checkpoints(); len(all) > 0 {
		s.Checkpoint = all[len(all)-1]
	}
	for _, p := range r.peers.Peers() {
		s.Peers = append(s.Peers, peerStatus(p, s.Leader, s.Term, s.Log.LastIndex))
	}
	return s
}

// queued describes the requests that wait at this node.
func (r *Replica) queued(committed, applied uint64) kv.QueueStatus {
	q := r.proposer.Queued()
	return kv.QueueStatus{
		PendingBytes: q.PendingBytes, Proposals: q.Proposals, Forwarded: q.Forwarded,
		Unapplied: max(committed, applied) - applied,
	}
}

// peerStatus describes one peer; last is the end of this node's log. Entries that the
// peer had in an earlier term it may not have any more.
func peerStatus(p transport.PeerStats, leading bool, term, last uint64) kv.PeerStatus {
	s := kv.PeerStatus{
		ID: nodeid.NameOf(p.ID), ServerID: string(p.ID), Connected: p.Connected, LastContactSeconds: -1, RoundTripMs: milliseconds(p.RoundTrip),
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

// roleAndTerm returns a role and the term in which this node has that role. Raft changes one
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

// oldestAge returns the age of the log's oldest entry, 0 if that is
// not known. It does not look at the disk: a status page must not be the first to find it
// broken.
func (r *Replica) oldestAge() time.Duration {
	at := r.logs.Oldest()
	if at.IsZero() {
		return 0
	}
	return max(time.Since(at), 0)
}

// diskStatus describes this node's disk as the last look found it, nil before the first.
func (r *Replica) diskStatus() *kv.DiskStatus {
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
