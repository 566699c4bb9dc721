package cluster

import (
	"iter"
	"time"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/store"
)

// Condition guards a write; see fsm.Condition.
type Condition = fsm.Condition

// Kinds of Condition.
const (
	CondNone     = fsm.CondNone
	CondAbsent   = fsm.CondAbsent
	CondPresent  = fsm.CondPresent
	CondRevision = fsm.CondRevision
)

// WriteResult is the definite outcome of a Put or Delete.
type WriteResult struct {
	// Created says that a put made the key rather than replaced its value.
	Created bool
	// Found says, for a delete, that there was such a key.
	Found bool
	// ConditionFailed says that the condition did not hold and nothing changed.
	ConditionFailed bool
	// Revision is the revision the write took, or the store's where it took none.
	Revision uint64
	// Current is the key's modify revision after the command, 0 if it is absent.
	Current uint64
}

// Consistency is what a read promises. Its text is the name in the API.
type Consistency string

// Read levels (architecture: life of a read).
const (
	// Linearizable reads see every write that was acknowledged before they began, on any node.
	Linearizable Consistency = "linearizable"
	// LeaderLocal reads see what the node that takes itself for the leader has
	// applied, without asking the others: a leader that was replaced may not know
	// that yet. Other nodes ask the leader for its index.
	LeaderLocal Consistency = "leader"
	// Stale reads see what this node has applied, at once and without the network.
	Stale Consistency = "stale"
)

// ReadOptions say what a read promises. The zero value is Linearizable.
type ReadOptions struct {
	Level Consistency
	// MaxStale bounds how old what a stale read sees may be, by the newest message
	// of the leader's that this node has caught up with; where that is too long ago,
	// or where this node leads, the read is a linearizable one. The time that the message
	// was on its way is not counted. 0 is no bound.
	MaxStale time.Duration
	// MinRevision makes the read wait until this node has applied that revision.
	MinRevision uint64
}

// ReadResult is the outcome of a Get.
type ReadResult struct {
	Item  store.Item // zero where Found is false; Value must not be modified
	Found bool
	// Revision is one at which the key was as answered, not less than Item.ModRevision. A
	// read with it as MinRevision, on any node, sees nothing older.
	Revision uint64
}

// Listing is a frozen, ordered view of keys at one revision. It costs nothing
// to hold but the memory of what has changed since.
type Listing struct {
	// Revision is the store's revision that the view shows.
	Revision uint64
	all      func(prefix, start string) iter.Seq[store.Item]
}

// NewListing returns a Listing that shows what all yields; all must yield keys
// in byte order, at or after start and beginning with prefix, and the same at
// every call.
func NewListing(revision uint64, all func(prefix, start string) iter.Seq[store.Item]) *Listing {
	return &Listing{Revision: revision, all: all}
}

// All yields the keys that begin with prefix, from start on, in byte order.
func (l *Listing) All(prefix, start string) iter.Seq[store.Item] { return l.all(prefix, start) }

// Status describes a node as GET /status shows it.
type Status struct {
	ID           string   `json:"id"`
	ClusterID    string   `json:"cluster_id"`
	Role         string   `json:"role"` // leader, follower, candidate, joining, loading
	Leader       *Leader  `json:"leader"`
	Term         uint64   `json:"term"`
	CommitIndex  uint64   `json:"commit_index"`
	AppliedIndex uint64   `json:"applied_index"`
	Revision     uint64   `json:"revision"`
	Members      []Member `json:"members"`
	// Waiting is what the node waits for; absent while it serves.
	Waiting *Waiting `json:"waiting,omitempty"`
	// Certificate describes the certificate of the peer port and of HTTPS; absent
	// without TLS.
	Certificate *CertificateStatus `json:"certificate,omitempty"`

	// Descriptors is absent where nobody has divided them.
	Descriptors *DescriptorStatus `json:"descriptors,omitempty"`
	// Memory is absent while the node is in no cluster, and where there is neither a
	// plan nor a quota.
	Memory *MemoryStatus `json:"memory,omitempty"`

	// The following are absent while the node is in no cluster.
	Disk  *DiskStatus  `json:"disk,omitempty"`
	Log   *LogStatus   `json:"log,omitempty"`
	Queue *QueueStatus `json:"queue,omitempty"`
	State *StateStatus `json:"state,omitempty"`
	Peers []PeerStatus `json:"peers,omitempty"`

	// Loading is absent once the node has applied what its data directory held.
	Loading *LoadStatus `json:"loading,omitempty"`
}

// LogStatus describes a node's log.
type LogStatus struct {
	FirstIndex uint64 `json:"first_index"` // 0 where the log is empty
	LastIndex  uint64 `json:"last_index"`
	Bytes      int64  `json:"bytes"` // on disk
	// OldestAgeSeconds is how long ago the leader of then took in the oldest entry
	// that the log still has, by that leader's clock; 0 where it is not known.
	OldestAgeSeconds float64 `json:"oldest_age_seconds"`
	// Sync50Ms and Sync99Ms bound what half, and all but a hundredth, of the syncs
	// since the start have taken, in milliseconds.
	Sync50Ms float64 `json:"sync_p50_ms"`
	Sync99Ms float64 `json:"sync_p99_ms"`
}

// DiskStatus describes the room on a node's disk, in bytes, as of at most a second
// ago. Where the filesystem does not tell, total, free and room are 0, and nothing is
// refused. Puts are taken while free is above needed, and again once it is above resume.
type DiskStatus struct {
	TotalBytes int64 `json:"total_bytes"` // of the filesystem
	FreeBytes  int64 `json:"free_bytes"`  // on it
	// NeededBytes is what must be free for puts to be taken: reserved and next snapshot.
	NeededBytes int64 `json:"needed_bytes"`
	// ResumeBytes is what must be free for puts to be taken again once Low is set: more
	// than NeededBytes by an eighth of it, within 8 and 64 MiB, and by what is under way.
	ResumeBytes int64 `json:"resume_bytes"`
	// RoomBytes is what puts may take yet; each takes its size twice, in the log and in
	// the next snapshot.
	RoomBytes         int64 `json:"room_bytes"`
	ReservedBytes     int64 `json:"reserved_bytes"`      // for deletes, the log's end and small files
	LogBytes          int64 `json:"log_bytes"`           // of the log's files
	LogMaxBytes       int64 `json:"log_max_bytes"`       // that they may grow to
	SnapshotBytes     int64 `json:"snapshot_bytes"`      // of the newest snapshot, 0 for none
	SnapshotsBytes    int64 `json:"snapshots_bytes"`     // of all that are kept
	NextSnapshotBytes int64 `json:"next_snapshot_bytes"` // what the next one takes at most
	BallastBytes      int64 `json:"ballast_bytes"`       // of the file that is there to be removed, 0 for none
	Low               bool  `json:"low"`                 // puts are refused because of this disk
}

// QueueStatus describes what waits at a node.
type QueueStatus struct {
	PendingBytes int64 `json:"pending_bytes"` // of writes that wait or are under way
	Proposals    int   `json:"proposals"`     // writes of this node's clients that wait
	Forwarded    int   `json:"forwarded"`     // batches of other nodes that wait
	// Unapplied is how many committed entries the state machine has not seen.
	Unapplied uint64 `json:"unapplied"`
}

// StateStatus is what replicas compare.
type StateStatus struct {
	Index         uint64 `json:"index"` // of the newest checkpoint, 0 for none
	Hash          string `json:"hash"`  // of the state there, 16 hexadecimal digits
	VerifiedIndex uint64 `json:"verified_index"`
}

// PeerStatus is what a node knows of another one that it has dialed.
type PeerStatus struct {
	ID        string `json:"id"`        // its name
	ServerID  string `json:"server_id"` // name and incarnation: what raft knows it by
	Connected bool   `json:"connected"`
	// LastContactSeconds is how long ago it was last heard; -1 for never.
	LastContactSeconds float64 `json:"last_contact_seconds"`
	RoundTripMs        float64 `json:"round_trip_ms"` // of the newest ping, 0 for none
	// MatchIndex and Lag are given by a leader: up to where the peer's log is known
	// to be this node's, and how many entries it lacks.
	MatchIndex uint64 `json:"match_index,omitempty"`
	Lag        uint64 `json:"lag,omitempty"`
	// Snapshot is the one that is being sent to it.
	Snapshot *SnapshotStatus `json:"snapshot,omitempty"`
}

// SnapshotStatus is how far the sending of a snapshot has come.
type SnapshotStatus struct {
	Index uint64 `json:"index"`
	Sent  int64  `json:"sent"`  // bytes
	Total int64  `json:"total"` // bytes
}

// Leader names the leader that a node knows of.
type Leader struct {
	ID       string `json:"id"`
	HTTPAddr string `json:"http_addr"`
}

// Member is one server of the cluster's configuration.
type Member struct {
	ID       string `json:"id"`
	PeerAddr string `json:"peer_addr"`
	HTTPAddr string `json:"http_addr"`
	Voter    bool   `json:"voter"`
}

// JoinRequest asks the cluster to add a running node that is in no cluster yet.
type JoinRequest struct {
	ID       string `json:"id"`
	PeerAddr string `json:"peer_addr"`
	HTTPAddr string `json:"http_addr"`
}

// LeaveRequest asks the cluster to remove a member for good.
type LeaveRequest struct {
	ID string `json:"id"` // the member's name; empty is the node that is asked
	// Force removes it even if too few voters are left then that live, keep up and have room.
	Force bool `json:"force"`
}
