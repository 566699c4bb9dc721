package api

// The body of POST /admin/join is a kv.JoinRequest, and its answer the kv.Member that was
// added; the answer to POST /admin/snapshot is a kv.SnapshotResult.

// LeaveRequest is the body of POST /admin/leave: a kv.LeaveRequest in which an empty name
// differs from a missing one.
type LeaveRequest struct {
	Force bool    `json:"force,omitempty"` // remove the member even if too few live voters would be left
	ID    *string `json:"id,omitempty"`    // nil means the node that is asked
}

// MemberRequest is the body of POST /admin/transfer and /admin/snapshot.
type MemberRequest struct {
	ID *string `json:"id,omitempty"` // nil means any voter, or the node that is asked
}
