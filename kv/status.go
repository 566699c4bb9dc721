package kv

import (
	"fmt"
	"strings"
	"time"
)

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
	// Settings are those of the cluster, as far as this node has applied them. They are nil
	// while the node is in no cluster. GET /status has them in the form of GET
	// /admin/settings.
	Settings *Settings `json:"-"`
	// Versions describes the command versions that the node and its cluster understand; see
	// docs/upgrade.md. It is absent while the node is loading.
	Versions *VersionStatus `json:"versions,omitempty"`
	// Waiting describes the condition that the node waits for; it is absent while the node
	// serves.
	Waiting *Waiting `json:"waiting,omitempty"`
	// Certificate describes the certificate of the peer port and of HTTPS; absent
	// without TLS.
	Certificate *CertificateStatus `json:"certificate,omitempty"`

	// Descriptors is absent if the descriptors of the process were not divided among its
	// parts.
	Descriptors *DescriptorStatus `json:"descriptors,omitempty"`
	// Memory is absent while the node is in no cluster, and if it has neither a memory plan
	// nor a quota.
	Memory *MemoryStatus `json:"memory,omitempty"`

	// The following are absent while the node is in no cluster.
	Limits *LimitStatus `json:"limits,omitempty"`
	Disk   *DiskStatus  `json:"disk,omitempty"`
	Log    *LogStatus   `json:"log,omitempty"`
	Queue  *QueueStatus `json:"queue,omitempty"`
	State  *StateStatus `json:"state,omitempty"`
	Peers  []PeerStatus `json:"peers,omitempty"`

	// Loading is absent once the node has applied all entries of its data directory.
	Loading *LoadStatus `json:"loading,omitempty"`
}

// VersionStatus describes command versions: those of the commands in the log. A higher
// version has all commands that a lower one has.
type VersionStatus struct {
	Understands int `json:"understands"` // the highest version that the node's build reads
	Announces   int `json:"announces"`   // the version that it tells the others: Understands, or less if so configured
	// Needs is the highest version among the entries that a start on the node's data
	// directory reads: those behind the newest snapshot. A build that understands less
	// can't start on it. Entries that the node has not applied yet are not counted, so it is
	// exact once AppliedIndex has reached the end of the log. 0 while the node is in no
	// cluster.
	Needs int `json:"needs"`
	// Writes is the highest version that the leader writes: the lowest that a member has
	// announced. HeldBackBy names the members that have announced less than the leader
	// understands. Both are absent on other nodes.
	Writes     int      `json:"writes,omitempty"`
	HeldBackBy []string `json:"held_back_by,omitempty"`
}

// Waiting describes the condition that a node waits for before it can serve linearizable
// requests.
type Waiting struct {
	For string `json:"for"` // the condition
	// SinceSeconds is how long the node has waited, for this condition and for earlier
	// ones.
	SinceSeconds float64        `json:"since_seconds"`
	Found        []string       `json:"found,omitempty"` // names of the nodes that gossip has found, this one included
	Asked        []AskedAddress `json:"asked,omitempty"`
	Check        string         `json:"check"` // advice for an operator
}

// AskedAddress is the result of asking one address: one of Config.Join, or that of a
// member.
type AskedAddress struct {
	Addr    string `json:"addr"`
	Node    string `json:"node,omitempty"` // the name of the member
	Reached bool   `json:"reached"`
	Answer  string `json:"answer"` // its answer, or why it was not reached
	// SinceSeconds is how long the answer has been the same.
	SinceSeconds float64 `json:"since_seconds"`
}

// String returns the address and its answer in words.
func (a AskedAddress) String() string {
	name := a.Addr
	if a.Node != "" {
		name = fmt.Sprintf("%s at %s", a.Node, a.Addr)
	}
	return fmt.Sprintf("%s: %s, for %v", name, a.Answer, time.Duration(a.SinceSeconds)*time.Second)
}

// Split returns the addresses that were reached, and those that were not, in words.
func (w *Waiting) Split() (reached, not []string) {
	for _, a := range w.Asked {
		if a.Reached {
			reached = append(reached, a.String())
		} else {
			not = append(not, a.String())
		}
	}
	return reached, not
}

// String returns all of it in words, for the reason of /readyz.
func (w *Waiting) String() string {
	parts := []string{fmt.Sprintf("waits for %s, since %v", w.For, time.Duration(w.SinceSeconds)*time.Second)}
	if len(w.Found) > 0 {
		parts = append(parts, "found: "+strings.Join(w.Found, ", "))
	}
	reached, not := w.Split()
	if len(reached) > 0 {
		parts = append(parts, "reached: "+strings.Join(reached, " and "))
	}
	if len(not) > 0 {
		parts = append(parts, "not reached: "+strings.Join(not, " and "))
	}
	return strings.Join(append(parts, "check: "+w.Check), "; ")
}

// LoadStatus is the progress of a node that loads its data directory.
type LoadStatus struct {
	Phase   string  `json:"phase"`   // empty before the first one
	Done    int64   `json:"done"`    // finished part of the phase, in Unit
	Total   int64   `json:"total"`   // the whole phase, in Unit
	Unit    string  `json:"unit"`    // "bytes" or "entries"
	Percent int     `json:"percent"` // of the phase
	Seconds float64 `json:"seconds"` // since the load began
}

// LogStatus describes a node's log.
type LogStatus struct {
	FirstIndex uint64 `json:"first_index"` // 0 if the log is empty
	LastIndex  uint64 `json:"last_index"`
	Bytes      int64  `json:"bytes"`       // on disk
	CacheBytes int64  `json:"cache_bytes"` // of the newest entries, in memory
	// OldestAgeSeconds is the age of the oldest entry in the log, by the clock of the
	// leader that appended it; 0 if it is not known.
	OldestAgeSeconds float64 `json:"oldest_age_seconds"`
	// Sync50Ms and Sync99Ms are upper bounds of the median and of the 99th percentile of
	// the time that a sync took, since the start, in milliseconds.
	Sync50Ms float64 `json:"sync_p50_ms"`
	Sync99Ms float64 `json:"sync_p99_ms"`
}

// DiskStatus describes the room on a node's disk, in bytes, as of at most a second ago. If
// the filesystem does not report its room, TotalBytes, FreeBytes and RoomBytes are 0, and
// nothing is refused. Puts are accepted while FreeBytes is above NeededBytes. Once they are
// refused, they are accepted again when FreeBytes is above ResumeBytes.
type DiskStatus struct {
	TotalBytes int64 `json:"total_bytes"` // of the filesystem
	FreeBytes  int64 `json:"free_bytes"`  // on it
	// NeededBytes must be free for puts to be accepted: ReservedBytes and
	// NextSnapshotBytes.
	NeededBytes int64 `json:"needed_bytes"`
	// ResumeBytes must be free for puts to be accepted again once Low is set. It is
	// NeededBytes, plus an eighth of it (at least 8 and at most 64 MiB), plus the room for
	// writes and snapshots in progress.
	ResumeBytes int64 `json:"resume_bytes"`
	// RoomBytes is the room that is left for puts. Each takes its size twice, in the log
	// and in the next snapshot.
	RoomBytes         int64 `json:"room_bytes"`
	ReservedBytes     int64 `json:"reserved_bytes"`      // for deletes, the log's end and small files
	LogBytes          int64 `json:"log_bytes"`           // of the log's files
	LogMaxBytes       int64 `json:"log_max_bytes"`       // maximum of LogBytes
	SnapshotBytes     int64 `json:"snapshot_bytes"`      // of the newest snapshot, 0 for none
	SnapshotsBytes    int64 `json:"snapshots_bytes"`     // of all snapshots that are kept
	NextSnapshotBytes int64 `json:"next_snapshot_bytes"` // maximum size of the next snapshot
	BallastBytes      int64 `json:"ballast_bytes"`       // of the file that exists only to be removed when room is needed, 0 for none
	Low               bool  `json:"low"`                 // puts are refused because of this disk
}

// QueueStatus describes the queues of a node.
type QueueStatus struct {
	PendingBytes int64 `json:"pending_bytes"` // of writes that wait or are in flight
	Proposals    int   `json:"proposals"`     // waiting writes of this node's clients
	Forwarded    int   `json:"forwarded"`     // waiting batches of other nodes
	// Unapplied is the number of committed entries that are not applied yet.
	Unapplied uint64 `json:"unapplied"`
}

// Checkpoint is the hash of a replica's state after one entry of the log. Replicas whose
// hashes at one index differ have diverged.
type Checkpoint struct {
	Index uint64 // of the entry
	Hash  uint64
}

// StateStatus is the newest state hash of a node, and up to where a majority of voters has
// the same.
type StateStatus struct {
	Index uint64 `json:"index"` // of the newest checkpoint, 0 for none
	Hash  string `json:"hash"`  // of the state there, 16 hexadecimal digits
	// VerifiedIndex is that of the newest checkpoint at which a majority of voters has the same hash.
	VerifiedIndex uint64 `json:"verified_index"`
}

// PeerStatus describes another node that this one has dialed.
type PeerStatus struct {
	ID        string `json:"id"`        // its name
	ServerID  string `json:"server_id"` // name and incarnation: its id in raft
	Connected bool   `json:"connected"`
	// LastContactSeconds is how long ago it was last heard; -1 for never.
	LastContactSeconds float64 `json:"last_contact_seconds"`
	RoundTripMs        float64 `json:"round_trip_ms"` // of the newest ping, 0 for none
	// MatchIndex and Lag are given by a leader. MatchIndex is the highest index up to which
	// the peer's log is known to equal this node's. Lag is the number of entries that the
	// peer lacks.
	MatchIndex uint64 `json:"match_index,omitempty"`
	Lag        uint64 `json:"lag,omitempty"`
	// Snapshot is the progress of the snapshot that is being sent to the peer.
	Snapshot *SnapshotStatus `json:"snapshot,omitempty"`
}

// SnapshotStatus is the progress of sending a snapshot.
type SnapshotStatus struct {
	Index uint64 `json:"index"`
	Sent  int64  `json:"sent"`  // bytes
	Total int64  `json:"total"` // bytes
}

// LimitStatus describes the limits of requests that apply at a node: the cluster's settings, or
// the node's configuration.
type LimitStatus struct {
	MaxKeyBytes   int `json:"max_key_bytes"`
	MaxValueBytes int `json:"max_value_bytes"`
	MaxRequestOps int `json:"max_request_ops"`
	// Idempotency has the limits of the answers that are kept for idempotency keys, and how
	// much of them is used.
	Idempotency IdempotencyStatus `json:"idempotency"`
	// Quota has the quota of the data, and how much of it is used.
	Quota QuotaStatus `json:"quota"`
	// Differ are the members whose configuration is not the leader's. Only the leader knows
	// them.
	Differ []MemberLimits `json:"differ,omitempty"`
}

// IdempotencyStatus describes the answers that a node's state keeps for idempotency keys.
type IdempotencyStatus struct {
	// WindowSeconds is how long an answer is kept.
	WindowSeconds float64 `json:"window_seconds"`
	// MaxKeys and MaxBytes are the limits of Idempotency.
	MaxKeys  int64 `json:"max_keys"`
	MaxBytes int64 `json:"max_bytes"`
	// Keys and Bytes are how much of them is used.
	Keys  int64 `json:"keys"`
	Bytes int64 `json:"bytes"`
}

// QuotaStatus describes the data of a node's state, and the Quota of the cluster.
type QuotaStatus struct {
	// MaxKeys and MaxBytes are those of the Quota; they are absent where there is none.
	MaxKeys  int64 `json:"max_keys,omitempty"`
	MaxBytes int64 `json:"max_bytes,omitempty"`
	// Eviction is the name of the policy.
	Eviction string `json:"eviction"`
	// Keys and Bytes are those that are stored.
	Keys  int64 `json:"keys"`
	Bytes int64 `json:"bytes"`
	// Evicted is the number of keys that the node has evicted since its start.
	Evicted uint64 `json:"evicted"`
}

// MemberLimits are the limits that a member is configured with.
type MemberLimits struct {
	ID            string `json:"id"`
	MaxKeyBytes   int    `json:"max_key_bytes"`
	MaxValueBytes int    `json:"max_value_bytes"`
}

// MemoryStatus describes the memory of a node. All figures are in bytes.
type MemoryStatus struct {
	Limit     int64  `json:"limit"`
	Source    string `json:"source"`
	HeapLimit int64  `json:"heap_limit"` // Go's part of the limit
	HeapLive  int64  `json:"heap_live"`  // in use after the newest garbage collection

	Data      int64 `json:"data"`       // of keys and values, and the overhead of each key
	DataLimit int64 `json:"data_limit"` // the lowest limit of any voter
	Quota     int64 `json:"quota"`      // Config.MaxDataBytes, of keys and values alone; 0 is none
	// Full is set while puts that need more memory are refused; Reason says why.
	Full   bool   `json:"full"`
	Reason string `json:"reason,omitempty"`

	Bodies      int64 `json:"bodies_limit"`    // of HTTP requests in flight
	Proposals   int64 `json:"proposals_limit"` // writes that wait or are in flight
	LogCache    int64 `json:"log_cache_limit"` // newest records of the log
	Peers       int64 `json:"peers_limit"`     // messages with log entries
	Connections int   `json:"connections_limit"`
	// SecondState is set if a snapshot from the leader fits beside the present data.
	// Otherwise the present data is dropped before the snapshot is read, and reads wait
	// meanwhile.
	SecondState bool `json:"second_state_fits"`
}

// DescriptorStatus describes the file descriptors of a node's process.
type DescriptorStatus struct {
	Limit  int    `json:"limit"`
	Source string `json:"source"`
	Open   int    `json:"open"` // in the whole process; 0 if that is not known

	Process   DescriptorShare `json:"process"`
	Log       DescriptorShare `json:"log"`
	Snapshots DescriptorShare `json:"snapshots"`
	Store     DescriptorShare `json:"store"`
	Gossip    DescriptorShare `json:"gossip"`
	Peers     DescriptorShare `json:"peers"`
	Clients   DescriptorShare `json:"clients"`
}

// DescriptorShare is the number of descriptors that one part of a node may have open.
type DescriptorShare struct {
	Share int `json:"share"`
	// Open is the number that is open; it is absent if the part does not count them.
	Open *int `json:"open,omitempty"`
}

// Parts returns the shares by their names in /status.
func (s *DescriptorStatus) Parts() map[string]DescriptorShare {
	return map[string]DescriptorShare{
		"process": s.Process, "log": s.Log, "snapshots": s.Snapshots, "store": s.Store,
		"gossip": s.Gossip, "peers": s.Peers, "clients": s.Clients,
	}
}

// CertificateStatus describes the certificate of a node.
type CertificateStatus struct {
	Ends        time.Time `json:"ends"`         // the end of its validity, or that of an authority above it if that is earlier
	LeftSeconds float64   `json:"left_seconds"` // until then; negative after it
}
