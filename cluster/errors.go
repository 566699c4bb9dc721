package cluster

import (
	"errors"
	"fmt"

	"github.com/kvorum/kvorum/cluster/discovery"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/internal/dirlock"
)

// Errors that say a request was not done: nothing changed, and it may be sent again.
var (
	// ErrNoLeader is returned when no leader was known, or none could be reached, within the request's time.
	ErrNoLeader = errors.New("no leader is known")
	// ErrTimeout is returned by a request whose time ended while it waited behind
	// others, or for an answer of the leader: one is known, and there is no election to
	// look for.
	ErrTimeout = errors.New("no answer in time")
	// ErrNotLeader is returned by a node that was asked to act as the leader and is not.
	ErrNotLeader = errors.New("this node is not the leader")
	// ErrOverloaded is returned when too many requests or bytes are in flight already.
	ErrOverloaded = errors.New("too many requests in flight")
	// ErrNotJoined is returned by a node that is in no cluster yet.
	ErrNotJoined = errors.New("this node is in no cluster yet")
	// ErrClosed is returned by a node that is shutting down.
	ErrClosed = errors.New("this node is shutting down")
	// ErrLoading is returned by a node that has not loaded its data directory yet; see LoadingError.
	ErrLoading = errors.New("this node is loading its data directory")
	// ErrBehind is returned by a read whose node could not catch up in time.
	ErrBehind = errors.New("this node is behind and did not catch up in time")
)

// ErrDataDirInUse is returned by Open when another process, or another node of
// this one, has the data directory open.
var ErrDataDirInUse = dirlock.ErrInUse

// ErrDivergedAgain is returned by Open where an incarnation's files were set aside
// before and are still there: the likely cause is the machine's memory or disk.
var ErrDivergedAgain = recovery.ErrDivergedAgain

// ErrUnknownOutcome is returned when a write was sent and its answer was lost:
// it happened once or not at all.
var ErrUnknownOutcome = errors.New("outcome unknown: the write may or may not have happened")

// ErrRemoved is the reason a node stops with once it has left, or was removed from, its cluster.
var ErrRemoved = errors.New("this node is no longer a member of its cluster")

// ErrDuplicate is the reason a node stops with when another process runs with its
// id: its data directory was copied.
var ErrDuplicate = errors.New("another process runs as this node")

// ErrRestart is part of every reason to stop that goes away when the node is
// closed and opened again on the same data directory: a program does that at once.
var ErrRestart = raftstore.ErrRestart

// Errors of membership changes; nothing changed.
var (
	// ErrUnknownNode is returned when no member has the given name.
	ErrUnknownNode = errors.New("no such node in the cluster")
	// ErrNameTaken is returned when a live member with the joining node's name exists.
	ErrNameTaken = errors.New("a live member has this name")
	// ErrOtherCluster is returned when the joining node belongs to another cluster.
	ErrOtherCluster = discovery.ErrOtherCluster
	// ErrUnreachable is returned when the joining node did not answer at its address.
	ErrUnreachable = errors.New("the node could not be reached")
	// ErrQuorum is returned for a removal after which too few of the voters that are left
	// would be alive, keep up, and have room on their disks.
	ErrQuorum = errors.New("too few live voters would be left")
	// ErrNoSuccessor is returned by a transfer of leadership that found nobody to take over.
	ErrNoSuccessor = errors.New("no other voter took over")
	// ErrLastVoter is returned when the only voter was asked to leave.
	ErrLastVoter = errors.New("the only voter of a cluster can't leave it")
)

// ValidationError is returned for a request or a configuration that can never
// be carried out as it is: a field is empty, too large or malformed.
type ValidationError struct {
	Field  string // what is wrong: "key", "value", "peer-addr"
	Reason string // why, with the limit
	Size   int64  // the offending size in bytes, where it is one of size
	Limit  int64  // the limit in bytes, where it is one of size
}

// Error implements error.
func (e *ValidationError) Error() string { return fmt.Sprintf("%s: %s", e.Field, e.Reason) }

// RemovedError is the reason a node stops with that finds its data directory to be
// a removed member's: nobody has told it while it ran. It is an ErrRemoved, and
// comes again at each start on that directory.
type RemovedError struct {
	Name    string // of the node
	DataDir string
}

// Error implements error.
func (e *RemovedError) Error() string {
	return fmt.Sprintf("node %s was removed from its cluster; to have it join again, empty its data directory %s", e.Name, e.DataDir)
}

// Is says that the error is an ErrRemoved.
func (e *RemovedError) Is(target error) bool { return target == ErrRemoved }
