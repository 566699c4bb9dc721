package client

import (
	"context"
	"net/http"

	"github.com/kvorum/kvorum/internal/api"
)

// Status is what a node knows of itself and its cluster.
type Status struct {
	ID           string // the node's name
	ClusterID    string // "" while it is in no cluster
	Role         string // leader, follower, candidate, joining or loading
	Leader       *Leader
	Term         uint64
	CommitIndex  uint64
	AppliedIndex uint64
	Revision     uint64
	Members      []Member    // in order of their names
	Disk         *DiskStatus // nil while it is in no cluster
	// NotReady is why the node can't serve now; nil where it can.
	NotReady error
	// JSON is all that the node says of itself, as it says it.
	JSON []byte
}

// Leader is the leader that a node knows of; nil in a Status where it knows none.
type Leader struct {
	ID       string
	HTTPAddr string
}

// Member is one member of the cluster.
type Member struct {
	ID       string
	PeerAddr string
	HTTPAddr string
	Voter    bool
	Leader   bool // as the node that was asked knows it
	// CommandVersion is the highest version of a command in the log that it has announced
	// to understand, as the node that was asked knows it; 0 for none.
	CommandVersion int
}

// DiskStatus is the room on a node's disk, in bytes; all 0 where it does not know.
type DiskStatus struct {
	TotalBytes int64 // of the filesystem
	FreeBytes  int64 // on it
	RoomBytes  int64 // that puts may take yet; each takes its size twice
	Low        bool  // puts are refused because of this disk
}

// Status returns what the first endpoint that answers says of itself and its cluster.
// A node that can't serve answers too.
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

// Members returns the cluster's members as the first endpoint that answers knows them,
// in order of their names.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	s, n, err := c.status(ctx)
	if err != nil {
		return nil, err
	}
	if len(s.Members) == 0 {
		return nil, &Error{
			Endpoint: c.endpoint(n), Status: http.StatusOK, Code: api.CodeNotJoined, Outcome: NotDone, Retryable: true,
			text: "node " + s.ID + " is in no cluster yet",
		}
	}
	return s.Members, nil
}

// status returns what a node says, but for its readiness, and which endpoint it is at.
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
		ID: j.ID, ClusterID: j.ClusterID, Role: j.Role, Leader: (*Leader)(j.Leader),
		Term: j.Term, CommitIndex: j.CommitIndex, AppliedIndex: j.AppliedIndex, Revision: j.Revision,
		Disk: (*DiskStatus)(j.Disk), JSON: a.body,
	}
	for _, m := range j.Members {
		s.Members = append(s.Members, newMember(m, s.Leader))
	}
	return s, a.endpoint, nil
}

// newMember returns a member, and whether it is the leader; leader may be nil.
func newMember(m api.Member, leader *Leader) Member {
	return Member{
		ID: m.ID, PeerAddr: m.PeerAddr, HTTPAddr: m.HTTPAddr, Voter: m.Voter,
		CommandVersion: m.CommandVersion, Leader: leader != nil && leader.ID == m.ID,
	}
}
