package client

import (
	"context"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// Join adds a node to the cluster, and returns once it is a member. The node copies
// the cluster's state first, and votes once it is up to date. All fields of r are required.
func (c *Client) Join(ctx context.Context, r kv.JoinRequest) (Member, error) {
	a, err := c.admin(ctx, "/admin/join", r)
	if err != nil {
		return Member{}, err
	}
	var m kv.Member
	if err := a.decode("the answer", Done, &m); err != nil {
		return Member{}, err
	}
	return newMember(m, nil), nil
}

// Leave removes a member from the cluster for good: it needs an empty data directory
// to join again. A removal is refused, unless forced, if too few voters would be left that
// are alive, up to date and have room. If r has no ID, the member is the node at the
// client's only endpoint.
func (c *Client) Leave(ctx context.Context, r kv.LeaveRequest) error {
	if r.ID == "" && len(c.endpoints) != 1 {
		return usagef("name the node, or give the one endpoint of the node that is to leave")
	}
	_, err := c.admin(ctx, "/admin/leave", api.LeaveRequest{ID: optional(r.ID), Force: r.Force})
	return err
}

// Transfer transfers leadership to the voter with the name id. If id is "", the new leader
// is the voter that is ready first. Writes wait for a moment meanwhile; none is lost.
func (c *Client) Transfer(ctx context.Context, id string) error {
	_, err := c.admin(ctx, "/admin/transfer", api.MemberRequest{ID: optional(id)})
	return err
}

// Snapshot makes the member with the name id take a snapshot and drop the log that it
// covers. If id is "", the member is the node at the client's only endpoint. Nodes also
// take snapshots by themselves when their logs grow.
func (c *Client) Snapshot(ctx context.Context, id string) (kv.SnapshotResult, error) {
	if id == "" && len(c.endpoints) != 1 {
		return kv.SnapshotResult{}, usagef("name the node, or give its one endpoint: another node's snapshot makes no room on this one")
	}
	a, err := c.admin(ctx, "/admin/snapshot", api.MemberRequest{ID: optional(id)})
	if err != nil {
		return kv.SnapshotResult{}, err
	}
	var s kv.SnapshotResult
	if err := a.decode("the answer", Done, &s); err != nil {
		return kv.SnapshotResult{}, err
	}
	return s, nil
}

// Compact makes revision the oldest one that can be read, and discards what is older. The
// error has the code "compacted" if an older revision can't be read already, and
// "future_revision" if the store has not reached it.
func (c *Client) Compact(ctx context.Context, revision uint64) (kv.CompactResult, error) {
	a, err := c.admin(ctx, "/admin/compact", api.CompactRequest{Revision: revision})
	if err != nil {
		return kv.CompactResult{}, err
	}
	var done api.CompactResponse
	if err := a.decode("the answer", Done, &done); err != nil {
		return kv.CompactResult{}, err
	}
	return kv.CompactResult(done), nil
}

// admin posts body to a path that changes the cluster.
func (c *Client) admin(ctx context.Context, path string, body any) (answer, error) {
	r, err := jsonRequest(path, body)
	if err != nil {
		return answer{}, err
	}
	return c.call(ctx, c.adminTimeout, r, maxAnswerBytes)
}
