package api

// JoinRequest is the body of POST /admin/join. All of its members are required but
// http_addr.
type JoinRequest struct {
	ID       string `json:"id"`
	PeerAddr string `json:"peer_addr"`
	HTTPAddr string `json:"http_addr"`
}

// LeaveRequest is the body of POST /admin/leave.
type LeaveRequest struct {
	Force bool    `json:"force,omitempty"` // remove it even if too few live voters are left then
	ID    *string `json:"id,omitempty"`    // nil is the node that is asked
}

// MemberRequest is the body of POST /admin/transfer and /admin/snapshot.
type MemberRequest struct {
	ID *string `json:"id,omitempty"` // nil is any voter, or the node that is asked
}

// Member is one server of the cluster's configuration. The answer to POST
// /admin/join is the one that was added.
type Member struct {
	ID       string `json:"id"`
	PeerAddr string `json:"peer_addr"`
	HTTPAddr string `json:"http_addr"`
	Voter    bool   `json:"voter"`
	// CommandVersion is the highest version of a command in the log that it has announced
	// to understand, 0 for none.
	CommandVersion int `json:"command_version"`
}

// SnapshotResult is the answer to POST /admin/snapshot.
type SnapshotResult struct {
	ID             string `json:"id"`               // the name of the node that it is of
	Index          uint64 `json:"index"`            // of the last entry that it covers
	Bytes          int64  `json:"bytes"`            // of the snapshot
	LogBytesBefore int64  `json:"log_bytes_before"` // that the log's files had
	LogBytesAfter  int64  `json:"log_bytes_after"`
}
