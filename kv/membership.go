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
	// CommandVersion is the highest command version that the member has announced to
	// understand, 0 if it has announced none; see docs/upgrade.md.
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
	// Force removes the member even if too few voters would be alive, up to date, and with
	// room on their disks after it.
	Force bool `json:"force"`
}

// SnapshotResult describes a snapshot that was asked for, and its effect on the log.
type SnapshotResult struct {
	ID             string `json:"id"`               // the name of the node that took it
	Index          uint64 `json:"index"`            // of the last entry that it covers
	Bytes          int64  `json:"bytes"`            // of the snapshot
	LogBytesBefore int64  `json:"log_bytes_before"` // of the log's files
	LogBytesAfter  int64  `json:"log_bytes_after"`
}
