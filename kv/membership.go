package kv

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
	// CommandVersion is the highest version of a command in the log that it has announced
	// to understand, 0 where it has announced none; see docs/upgrade.md.
	CommandVersion int `json:"command_version"`
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

// SnapshotResult is what a snapshot by hand did.
type SnapshotResult struct {
	ID             string `json:"id"`               // the name of the node that it is of
	Index          uint64 `json:"index"`            // of the last entry that it covers
	Bytes          int64  `json:"bytes"`            // of the snapshot
	LogBytesBefore int64  `json:"log_bytes_before"` // that the log's files had
	LogBytesAfter  int64  `json:"log_bytes_after"`
}
