package client

import (
	"context"
	"net/http"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// Status is a node's description of itself and its cluster.
type Status struct {
	ID           string     // the node's name
	ClusterID    string     // "" while it is in no cluster
	Role         string     // leader, follower, candidate, joining or loading
	Leader       *kv.Leader // nil if it knows none
	Term         uint64
	CommitIndex  uint64
	AppliedIndex uint64
	Revision     uint64
	Members      []Member          // in order of their names
	Versions     *kv.VersionStatus // nil while it is loading
	Disk         *kv.DiskStatus    // nil while it is in no cluster
	Settings     *kv.Settings      // nil while it is in no cluster; the node may not have the newest
	// NotReady is the reason why the node can't serve now; nil if it can.
	NotReady error
	// JSON is the node's complete answer.
	JSON []byte
}

// Member is one member of the cluster.
type Member struct {
	kv.Member
	Leader bool // in the view of the node that was asked
}

// Status returns the status of the first node that answers. A node that can't serve
// answers too.
func (c *Client) Status(ctx context.Context) (Status, error) {
	s, n, err := c.status(ctx)
	if err != nil {
		return Status{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, &timeoutError{c.timeout})
	defer cancel()
	resp, err := c.try(ctx, request{method: http.MethodGet, path: "/readyz"}, n)
	if err != nil {
		s.NotReady = err
		return s, nil
	}
	return s, resp.Body.Close()
}

// Members returns the cluster's members in the view of the first node that answers, in
// order of their names.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	s, n, err := c.status(ctx)
	if err != nil {
		return nil, err
	}
	if len(s.Members) == 0 {
		return nil, &Error{
			Endpoint: c.endpoint(n), Status: http.StatusOK, Code: kv.CodeNotJoined, Outcome: NotDone, Retryable: true,
			text: "node " + s.ID + " is in no cluster yet",
		}
	}
	return s.Members, nil
}

// status returns a node's status without its readiness, and the number of its endpoint.
func (c *Client) status(ctx context.Context) (Status, uint64, error) {
	a, err := c.call(ctx, c.timeout, request{method: http.MethodGet, path: "/status"}, maxAnswerBytes)
	if err != nil {
		return Status{}, 0, err
	}
	var j api.Status
	if err := a.decode("status", NotDone, &j); err != nil {
		return Status{}, 0, err
	}
	s := Status{
		ID: j.ID, ClusterID: j.ClusterID, Role: j.Role, Leader: j.Leader,
		Term: j.Term, CommitIndex: j.CommitIndex, AppliedIndex: j.AppliedIndex, Revision: j.Revision,
		Versions: j.Versions, Disk: j.Disk, JSON: a.body,
	}
	if j.Settings != nil {
		settings, err := j.Settings.Settings()
		if err != nil {
			return Status{}, 0, badAnswer(a.base, a.status, NotDone, "read status: %w", err)
		}
		s.Settings = &settings
	}
	for _, m := range j.Members {
		s.Members = append(s.Members, newMember(m, s.Leader))
	}
	return s, a.endpoint, nil
}

// newMember returns a member, with Leader set if it is leader; leader may be nil.
func newMember(m kv.Member, leader *kv.Leader) Member {
	return Member{Member: m, Leader: leader != nil && leader.ID == m.ID}
}
