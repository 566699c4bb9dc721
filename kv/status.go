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
	// Versions says which commands in the log the node and its cluster understand; see
	// docs/upgrade.md. It is absent while the node is loading.
	Versions *VersionStatus `json:"versions,omitempty"`
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

// VersionStatus describes the versions of commands in the log. A higher one has all that
// a lower one has.
type VersionStatus struct {
	Understands int `json:"understands"` // the highest one that the node's build reads
	Announces   int `json:"announces"`   // what it tells the others: that, or less where it is configured so
	// Needs is the highest one that a start on the node's data directory reads: of the
	// entries behind the newest snapshot. A build that understands less can't take it over.
	// 0 while the node is in no cluster.
	Needs int `json:"needs"`
	// Writes is the highest one that the leader writes: the least that a member has
	// announced. HeldBackBy names the members that have announced less than the leader
	// understands. Both are absent on other nodes.
	Writes     int      `json:"writes,omitempty"`
	HeldBackBy []string `json:"held_back_by,omitempty"`
}

// Waiting describes what a node waits for before it can serve linearizable
// requests.
type Waiting struct {
	For string `json:"for"` // what it waits for
	// SinceSeconds is how long the node has waited, for this and for what was before it.
	SinceSeconds float64        `json:"since_seconds"`
	Found        []string       `json:"found,omitempty"` // names of the nodes that are seen, this one included
	Asked        []AskedAddress `json:"asked,omitempty"`
	Check        string         `json:"check"` // what an operator should look at
}

// AskedAddress is what became of asking one address: one of Config.Join, or that
// of a member.
type AskedAddress struct {
	Addr    string `json:"addr"`
	Node    string `json:"node,omitempty"` // the name of the member
	Reached bool   `json:"reached"`
	Answer  string `json:"answer"` // what it answered, or why it was not reached
	// SinceSeconds is how long this has been the answer.
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

// LoadStatus is how far a node has come with loading its data directory.
type LoadStatus struct {
	Phase   string  `json:"phase"`   // empty before the first one
	Done    int64   `json:"done"`    // of the phase, in Unit
	Total   int64   `json:"total"`   // likewise
	Unit    string  `json:"unit"`    // "bytes" or "entries"
	Percent int     `json:"percent"` // of the phase
	Seconds float64 `json:"seconds"` // since the load began
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

// Checkpoint is the hash of a replica's state behind one entry of the log. Replicas whose
// hashes at one index differ have diverged.
type Checkpoint struct {
	Index uint64 // of the entry
	Hash  uint64
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

// MemoryStatus describes the memory of a node. All figures are in bytes.
type MemoryStatus struct {
	Limit     int64  `json:"limit"`
	Source    string `json:"source"`
	HeapLimit int64  `json:"heap_limit"` // Go's part of the limit
	HeapLive  int64  `json:"heap_live"`  // what the newest collection found in use

	Data      int64 `json:"data"`       // of keys and values, with what each key takes beside them
	DataLimit int64 `json:"data_limit"` // least of all voters
	Quota     int64 `json:"quota"`      // Config.MaxDataBytes, of keys and values alone; 0 is none
	// Full says that puts which need more memory are refused, and Reason why.
	Full   bool   `json:"full"`
	Reason string `json:"reason,omitempty"`

	Bodies      int64 `json:"bodies_limit"`    // of HTTP requests in flight
	Proposals   int64 `json:"proposals_limit"` // writes that wait or are under way
	LogCache    int64 `json:"log_cache_limit"` // newest records of the log
	Peers       int64 `json:"peers_limit"`     // messages with log entries
	Connections int   `json:"connections_limit"`
	// SecondState says whether a snapshot from the leader fits beside the present data.
	// Where it does not, the present data is dropped first, and reads wait.
	SecondState bool `json:"second_state_fits"`
}

// DescriptorStatus describes the file descriptors of a node's process.
type DescriptorStatus struct {
	Limit  int    `json:"limit"`
	Source string `json:"source"`
	Open   int    `json:"open"` // in the whole process; 0 where that is not known

	Process   DescriptorShare `json:"process"`
	Log       DescriptorShare `json:"log"`
	Snapshots DescriptorShare `json:"snapshots"`
	Store     DescriptorShare `json:"store"`
	Gossip    DescriptorShare `json:"gossip"`
	Peers     DescriptorShare `json:"peers"`
	Clients   DescriptorShare `json:"clients"`
}

// DescriptorShare is what one part of a node may have open.
type DescriptorShare struct {
	Share int `json:"share"`
	// Open is how many of them are; absent where a part does not count.
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
	Ends        time.Time `json:"ends"`         // of it, or of an authority that it depends on
	LeftSeconds float64   `json:"left_seconds"` // until then; negative after it
}
