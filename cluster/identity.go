package cluster

import (
	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
)

// ErrIdentityMissing is returned by Open for a data directory that has a node's log,
// votes or snapshots but not its node.json: under a new identity they would be
// another node's, and under a guessed one a vote could be given twice.
var ErrIdentityMissing = nodeid.ErrMissing

// nameOf returns the name part of a server id.
func nameOf(id raft.ServerID) string { return nodeid.NameOf(id) }

// validateName returns a *ValidationError unless name may be a node's.
func validateName(name string) error {
	err := nodeid.ValidateName(name)
	if err == nil {
		return nil
	}
	invalid := &kv.ValidationError{Field: "id", Reason: err.Error()}
	if len(name) > nodeid.MaxNameBytes {
		invalid.Size, invalid.Limit = int64(len(name)), nodeid.MaxNameBytes
	}
	return invalid
}
