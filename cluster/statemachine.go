package cluster

import (
	"context"
	"io"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Machine is what a replica needs of a state machine. It makes and understands the
// requests that the replica carries. The response to an entry of the log, a []byte, has
// the responses to its requests, one after the other, each with its length before it.
// Raft calls its methods as raft.FSM says, everything else may be called from any goroutine.
type Machine interface {
	raft.BatchingFSM
	room.State

	// AppendEntry appends a log entry to dst and returns it: the clock in nanoseconds
	// since the Unix epoch, and count requests, which are parts one after the other. A
	// reader must understand version.
	AppendEntry(dst []byte, clock int64, version byte, count int, parts ...[]byte) []byte
	// Check returns what is known of count requests that another node's clients have
	// sent, and that are all of data. They are said to need version. Where a client can't
	// have sent them, or this node does not understand them, it returns an error, of class
	// kv.ErrUnsupported in the latter case.
	Check(version byte, count int, data []byte) (wire.Requests, error)
	// ClockRequest, RetireRequest and CheckpointRequest return the leader's own requests.
	ClockRequest() wire.Requests
	RetireRequest(id string) wire.Requests
	CheckpointRequest() wire.Requests

	// AppliedIndex returns the index of the last entry whose whole effect reads see.
	AppliedIndex() uint64
	// WaitApplied returns nil once AppliedIndex is at least index, and otherwise
	// fsm.ErrClosed or the context's error.
	WaitApplied(ctx context.Context, index uint64) error
	// Clock returns the greatest clock of an applied entry.
	Clock() int64
	// WrittenSince returns the highest command version of the applied entries at and above
	// index, at least 1.
	WrittenSince(index uint64) byte
	// Revision returns the revision of the last change, and WaitRevision waits for one
	// as WaitApplied does for an index.
	Revision() uint64
	WaitRevision(ctx context.Context, revision uint64) error
	// Checkpoints returns the newest ones, in ascending order of their indexes.
	Checkpoints() []kv.Checkpoint
	// Retired says whether a member was removed for good, as far as that is remembered.
	Retired(id string) bool
	RetiredCount() int
	RetiredFull() bool // whether some may have been forgotten

	// SnapshotItems returns how many keys the snapshot that r begins with holds.
	SnapshotItems(r io.Reader) (uint64, error)
	// LetGo removes all keys from memory, for a Restore that must follow.
	LetGo()
	// Loaded ends what is done to load fast.
	Loaded()
	// Close lets an Apply that has stopped at an error return, and refuses all others.
	Close() error
}

var _ Machine = (*fsm.FSM)(nil)
