package kv

import (
	"errors"
	"fmt"
)

// Outcome is what is known about the effect of a request that failed.
type Outcome string

// Outcomes. Their text is their name in the API.
const (
	NotDone Outcome = "not_done" // nothing changed, and nothing will
	Unknown Outcome = "unknown"  // it was done once, or not at all
)

// Code names the reason why a request failed. Its text is its name in the API and between
// nodes.
type Code string

// Error is a class of errors. Every class is a variable of this package; an error is of a
// class if errors.Is reports it. [Classify] finds the class of an error.
type Error struct {
	Code Code
	// Outcome is that of the request.
	Outcome Outcome
	// Retryable says that the same request may succeed if it is sent again.
	Retryable bool

	text string
}

// Error implements error.
func (e *Error) Error() string { return e.text }

// Codes that other packages use by name; the others occur only in the classes.
const (
	CodeInvalid   Code = "invalid"   // a *ValidationError
	CodeTooLarge  Code = "too_large" // a *ValidationError about a size
	CodeNotJoined Code = "not_joined"
)

// ErrUnknownOutcome is returned when a write was sent and its answer was lost:
// it happened once or not at all.
var ErrUnknownOutcome = &Error{"unknown_outcome", Unknown, false, "outcome unknown: the write may or may not have happened"}

// Errors that say a request was not done: nothing changed, and it may be sent again.
var (
	// ErrLoading is returned by a node that has not loaded its data directory yet; see LoadingError.
	ErrLoading = &Error{"loading", NotDone, true, "this node is loading its data directory"}
	// ErrNoLeader is returned when no leader was known, or none could be reached, within the request's time.
	ErrNoLeader = &Error{"no_leader", NotDone, true, "no leader is known"}
	// ErrTimeout is returned by a request whose time ended while it waited in a queue, or
	// for an answer of the leader. A leader is known, so the cause is not an election.
	ErrTimeout = &Error{"timeout", NotDone, true, "no answer in time"}
	// ErrNotLeader is returned by a node that was asked to act as the leader and is not the
	// leader.
	ErrNotLeader = &Error{"not_leader", NotDone, true, "this node is not the leader"}
	// ErrNotJoined is returned by a node that is in no cluster yet.
	ErrNotJoined = &Error{CodeNotJoined, NotDone, true, "this node is in no cluster yet"}
	// ErrRemoved is the reason with which a node stops after it has left its cluster or was
	// removed from it.
	ErrRemoved = &Error{"removed", NotDone, true, "this node is no longer a member of its cluster"}
	// ErrClosed is returned by a node that is shutting down.
	ErrClosed = &Error{"shutting_down", NotDone, true, "this node is shutting down"}
	// ErrBehind is returned by a read whose node could not catch up in time.
	ErrBehind = &Error{"behind", NotDone, true, "this node is behind and did not catch up in time"}
	// ErrOverloaded is returned when the requests in flight, or their bytes, are at their
	// limit.
	ErrOverloaded = &Error{"overloaded", NotDone, true, "too many requests in flight"}
)

// ErrUnsupported is returned for a request that a member of the cluster does not
// understand, because it runs an older version. The error names the member. The request was
// not done. It can't be done until that member is upgraded or has left.
var ErrUnsupported = &Error{"unsupported_version", NotDone, false, "a member does not understand this request"}

// Errors of puts for which there is no room. The put was not done. Deletes and reads are
// still accepted. Unless a disk is full, so are puts that do not make the data longer.
var (
	// ErrMemoryFull is returned for a put that does not fit into the memory of the leader
	// or of another voter.
	ErrMemoryFull = &Error{"memory_full", NotDone, true, "the memory is nearly full"}
	// ErrDataLimit is returned for a put after which the data would exceed its limit, or the
	// Quota of the cluster.
	ErrDataLimit = &Error{"data_limit", NotDone, true, "the data is at its limit"}
	// ErrDiskFull is returned for a put that does not fit on the disk of the leader, or on
	// those of a majority, and for a snapshot that does not fit.
	ErrDiskFull = &Error{"disk_full", NotDone, true, "the disk is nearly full"}
)

// Errors of reads and requests that name a revision. Nothing was done.
var (
	// ErrCompacted is returned for a revision whose state is no longer kept; see
	// CompactedError.
	ErrCompacted = &Error{"compacted", NotDone, false, "the revision has been compacted"}
	// ErrFuture is returned for a revision that the store has not reached; see FutureError.
	ErrFuture = &Error{"future_revision", NotDone, false, "the revision is a future one"}
)

// Errors of operations that the state of their key does not allow. Nothing of the request
// was done.
var (
	// ErrNotNumber is returned for an add to a value that is no decimal number of 64 bits.
	ErrNotNumber = &Error{"not_a_number", NotDone, false, "the value is not a number"}
	// ErrOverflow is returned for an add whose result has no room in 64 bits.
	ErrOverflow = &Error{"overflow", NotDone, false, "the number would overflow"}
	// ErrValueLimit is returned for an append after which the value would be longer than its
	// limit.
	ErrValueLimit = &Error{"value_limit", NotDone, false, "the value would exceed its limit"}
	// ErrKeyLimit is returned for a request that would look at more than MaxRequestKeys keys.
	ErrKeyLimit = &Error{"key_limit", NotDone, false, "the request looks at too many keys"}
	// ErrAnswerLimit is returned for a request whose answer would be longer than
	// MaxAnswerBytes.
	ErrAnswerLimit = &Error{"answer_limit", NotDone, false, "the answer would exceed its limit"}
	// ErrIdempotencyReused is returned for a request whose IdempotencyKey an earlier request
	// with another content has used.
	ErrIdempotencyReused = &Error{"idempotency_key_reused", NotDone, false, "another request has used the idempotency key"}
)

// Errors of requests about leases. Nothing of the request was done.
var (
	// ErrLeaseNotFound is returned for a request that names a lease which does not exist.
	ErrLeaseNotFound = &Error{"lease_not_found", NotDone, false, "the lease does not exist"}
	// ErrLeaseExists is returned for an OpGrant of a lease that exists.
	ErrLeaseExists = &Error{"lease_exists", NotDone, false, "the lease exists already"}
)

// ErrQuotaTooLow is returned for settings with a Quota below what is stored. No setting was
// changed.
var ErrQuotaTooLow = &Error{"quota_too_low", NotDone, false, "the quota is below what is stored"}

// Errors of requests to change the membership or to take a snapshot; nothing changed.
var (
	// ErrUnknownNode is returned when no member has the given name.
	ErrUnknownNode = &Error{"unknown_node", NotDone, false, "no such node in the cluster"}
	// ErrNameTaken is returned when a live member with the joining node's name exists.
	ErrNameTaken = &Error{"name_taken", NotDone, false, "a live member has this name"}
	// ErrTooOld is returned when the joining node does not understand the entries of the
	// log, because it runs an older version than the cluster.
	ErrTooOld = &Error{"too_old", NotDone, false, "the node's version is too old for the cluster"}
	// ErrOtherCluster is returned when the joining node belongs to another cluster.
	ErrOtherCluster = &Error{"other_cluster", NotDone, false, "the node belongs to another cluster"}
	// ErrQuorum is returned for a removal after which too few voters would be alive, up to
	// date, and with room on their disks.
	ErrQuorum = &Error{"quorum", NotDone, false, "too few live voters would be left"}
	// ErrNoSuccessor is returned by a transfer of leadership when no voter could take over.
	ErrNoSuccessor = &Error{"no_successor", NotDone, true, "no other voter took over"}
	// ErrLastVoter is returned when the only voter was asked to leave.
	ErrLastVoter = &Error{"last_voter", NotDone, false, "the only voter of a cluster can't leave it"}
	// ErrNothingToSnapshot is returned if the newest snapshot has the present state
	// already.
	ErrNothingToSnapshot = &Error{"nothing_new", NotDone, false, "there is nothing new to snapshot"}
	// ErrSnapshotRunning is returned while another snapshot of the node is written.
	ErrSnapshotRunning = &Error{"snapshot_running", NotDone, true, "a snapshot is being written already"}
	// ErrUnreachable is returned when the joining node did not answer at its address.
	ErrUnreachable = &Error{"unreachable", NotDone, true, "the node could not be reached"}
)

// classes are all classes. If an error is of several, the first of them counts, and
// ErrUnknownOutcome is the first.
var classes = []*Error{
	ErrUnknownOutcome,
	ErrLoading, ErrNoLeader, ErrTimeout, ErrNotLeader, ErrNotJoined, ErrRemoved, ErrClosed,
	ErrMemoryFull, ErrDataLimit, ErrDiskFull, ErrBehind, ErrOverloaded, ErrUnsupported,
	ErrCompacted, ErrFuture, ErrNotNumber, ErrOverflow, ErrValueLimit, ErrAnswerLimit, ErrKeyLimit, ErrIdempotencyReused,
	ErrLeaseNotFound, ErrLeaseExists, ErrQuotaTooLow,
	ErrUnknownNode, ErrNameTaken, ErrTooOld, ErrOtherCluster, ErrQuorum, ErrNoSuccessor, ErrLastVoter,
	ErrNothingToSnapshot, ErrSnapshotRunning, ErrUnreachable,
}

// Classes of a *ValidationError.
var (
	errInvalid  = &Error{CodeInvalid, NotDone, false, "invalid request"}
	errTooLarge = &Error{CodeTooLarge, NotDone, false, "too large"}
)

// Classify returns the class of err, nil if it has none. The outcome of a write that failed
// with such an error is unknown.
func Classify(err error) *Error {
	if errors.Is(err, ErrUnknownOutcome) {
		return ErrUnknownOutcome
	}
	if invalid := (*ValidationError)(nil); errors.As(err, &invalid) {
		if invalid.Size > invalid.Limit {
			return errTooLarge
		}
		return errInvalid
	}
	for _, class := range classes {
		if errors.Is(err, class) {
			return class
		}
	}
	return nil
}

// ByCode returns the class with a code, nil if there is none. It turns the code that
// another node has sent into an error of the same class. It does not find the classes of a
// *ValidationError.
func ByCode(code Code) *Error {
	for _, class := range classes {
		if class.Code == code {
			return class
		}
	}
	return nil
}

// Classes returns every class that ByCode finds, in the order in which Classify looks for them.
func Classes() []*Error { return append([]*Error(nil), classes...) }

// ValidationError is returned for a request or a configuration that can never
// be carried out as it is: a field is empty, too large or malformed.
type ValidationError struct {
	Field  string // the name of the bad field: "key", "value", "peer-addr"
	Reason string // why it is bad, with the limit
	Size   int64  // the size in bytes, if the error is about a size
	Limit  int64  // the limit in bytes, if the error is about a size
}

// Error implements error.
func (e *ValidationError) Error() string { return fmt.Sprintf("%s: %s", e.Field, e.Reason) }

// CompactedError is returned for a revision whose state is no longer kept. It is an
// ErrCompacted.
type CompactedError struct {
	Revision        uint64 // the one that was asked for
	CompactRevision uint64 // the oldest one that can still be read
}

// Error implements error.
func (e *CompactedError) Error() string {
	return fmt.Sprintf("%v: revision %d, the oldest that is kept is %d", ErrCompacted, e.Revision, e.CompactRevision)
}

// Is reports that the error is an ErrCompacted.
func (e *CompactedError) Is(target error) bool { return target == ErrCompacted }

// FutureError is returned for a revision that the store has not reached. It is an ErrFuture.
type FutureError struct {
	Revision uint64 // the one that was asked for
	Newest   uint64 // that of the store
}

// Error implements error.
func (e *FutureError) Error() string {
	return fmt.Sprintf("%v: revision %d, the newest is %d", ErrFuture, e.Revision, e.Newest)
}

// Is reports that the error is an ErrFuture.
func (e *FutureError) Is(target error) bool { return target == ErrFuture }

// ReplayedError is returned for a request whose IdempotencyKey belongs to an earlier request,
// the same one, that was refused. It is of the class of that refusal.
type ReplayedError struct{ Err error }

// Error implements error.
func (e *ReplayedError) Error() string { return e.Err.Error() }

// Unwrap returns the refusal of the earlier request.
func (e *ReplayedError) Unwrap() error { return e.Err }

// LoadingError is returned by a node that is loading its data directory. It is
// an ErrLoading.
type LoadingError struct{ Status LoadStatus }

// Error implements error.
func (e *LoadingError) Error() string {
	if e.Status.Phase == "" {
		return ErrLoading.Error()
	}
	return fmt.Sprintf("%v: %s, %d of %d %s (%d %%)",
		ErrLoading, e.Status.Phase, e.Status.Done, e.Status.Total, e.Status.Unit, e.Status.Percent)
}

// Is reports that the error is an ErrLoading.
func (e *LoadingError) Is(target error) bool { return target == ErrLoading }
