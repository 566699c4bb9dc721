package api

// The body of POST /admin/join is a kv.JoinRequest, and its answer the kv.Member that was
// added; the answer to POST /admin/snapshot is a kv.SnapshotResult.

// LeaveRequest is the body of POST /admin/leave: a kv.LeaveRequest that tells an empty
// name from none.
type LeaveRequest struct {
	Force bool    `json:"force,omitempty"` // remove it even if too few live voters are left then
	ID    *string `json:"id,omitempty"`    // nil is the node that is asked
}

// MemberRequest is the body of POST /admin/transfer and /admin/snapshot.
type MemberRequest struct {
	ID *string `json:"id,omitempty"` // nil is any voter, or the node that is asked
}
