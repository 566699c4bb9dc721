package transport

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/hashicorp/raft"
)

// ErrClosed is returned by calls on a transport that was closed, or that Close
// interrupted.
var ErrClosed = errors.New("peer transport is closed")

// What a failed call can have done. Every error of Call and CallAddr is one of
// these two or a *RemoteError.
var (
	// ErrNotSent is returned when the peer cannot have seen the request: no
	// connection came about, or not one byte of the request was written.
	ErrNotSent = errors.New("request was not sent")
	// ErrNoAnswer is returned when the request was sent, at least in part, and no
	// answer came: whether the peer handled it is unknown.
	ErrNoAnswer = errors.New("no answer to the request")
)

// UnreachableError tells that a message of raft's was not sent, because there is no
// connection to the peer. errors.Is(err, ErrNotSent) holds for it.
type UnreachableError struct {
	Peer raft.ServerID
	Err  error // why; a *RefusedError if one of the two sides refused
}

// Error returns the failure in words.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("peer %s can't be reached: %v", e.Peer, e.Err)
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Is reports true for ErrNotSent.
func (e *UnreachableError) Is(target error) bool { return target == ErrNotSent }

// HandshakeError tells that a connection to an address was made, and that the two
// sides did not introduce themselves.
type HandshakeError struct {
	Addr string // host:port that was dialed
	Err  error  // why; a *RefusedError if one of the two sides refused
}

// Error returns the failure in words.
func (e *HandshakeError) Error() string { return fmt.Sprintf("handshake with %s: %v", e.Addr, e.Err) }

// Unwrap returns the cause.
func (e *HandshakeError) Unwrap() error { return e.Err }

// ErrSilent is returned for messages of raft's while SetSilent(true) holds.
var ErrSilent = errors.New("node is silent")

// ErrChecksum is returned when a snapshot was not received as it was sent.
var ErrChecksum = errors.New("snapshot checksum mismatch")

// Causes of a broken connection.
var (
	errPeerDead     = errors.New("peer stopped answering pings")
	errRetired      = errors.New("connection was retired")
	errMalformed    = errors.New("malformed message")
	errTooManyConns = errors.New("too many connections")
	errNoAddress    = errors.New("its address is not known")
)

// CodeOverloaded is the code of the *RemoteError for a request that was not
// handled because the peer handles too many for this node already.
const CodeOverloaded = "overloaded"

// CodeTooLarge is the code of the *RemoteError for a request that was handled,
// and whose answer exceeds the peer's MaxFrameBytes.
const CodeTooLarge = "answer_too_large"

// RemoteError is an error that the peer's Handler returned: the request was
// handled.
type RemoteError struct {
	Code    string // from the error's method RPCCode, or empty
	Message string // the error's text, cut to 1,024 bytes
}

// Error returns the text of the peer's error.
func (e *RemoteError) Error() string {
	return e.Message
}

// RPCCode returns the code, so that it survives when a Handler returns the error
// of a call of its own.
func (e *RemoteError) RPCCode() string {
	return e.Code
}

// Reason says why a handshake was refused. The values are part of the protocol.
type Reason byte

// Reasons to refuse a handshake.
const (
	// RefusedMalformed: what was received is not a hello of the protocol.
	RefusedMalformed Reason = 1 + iota
	// RefusedVersion: the two sides speak different versions of the protocol.
	RefusedVersion
	// RefusedWrongTarget: the peer is not the node that was wanted; the address
	// book is stale.
	RefusedWrongTarget
	// RefusedOtherCluster: the peer belongs to another cluster or, for raft, one of
	// the two to none.
	RefusedOtherCluster
	// RefusedNotAdmitted: Config.Admit of one of the two sides said no.
	RefusedNotAdmitted
	// RefusedLimit: the acceptor has too many connections. It is counted in Stats
	// and never sent: such a connection is closed without an answer.
	RefusedLimit
	// RefusedTLS: no encrypted connection was made, because one side does not accept
	// the other's certificate, for example. It is never sent either.
	RefusedTLS
	// RefusedReplayed: the dialer did not send back what this node had made up for
	// the connection. It is never sent either.
	RefusedReplayed
	// RefusedOwnID: the peer has this node's id: it is this node, or another process
	// with its id.
	RefusedOwnID
	// RefusedSuperseded: another process with the dialer's id, that was started
	// later, is alive. The message has its address.
	RefusedSuperseded
	// RefusedDuplicate: another process with the dialer's id, that was started
	// earlier, is alive. The message has its address.
	RefusedDuplicate
)

var reasonNames = [...]string{
	RefusedMalformed:    "malformed",
	RefusedVersion:      "protocol version",
	RefusedWrongTarget:  "wrong target",
	RefusedOtherCluster: "other cluster",
	RefusedNotAdmitted:  "not admitted",
	RefusedLimit:        "too many connections",
	RefusedTLS:          "no secure connection",
	RefusedReplayed:     "replayed handshake",
	RefusedOwnID:        "own id",
	RefusedSuperseded:   "superseded",
	RefusedDuplicate:    "duplicate",
}

// String returns the reason in words.
func (r Reason) String() string {
	if int(r) < len(reasonNames) && reasonNames[r] != "" {
		return reasonNames[r]
	}
	return "reason " + strconv.Itoa(int(r))
}

// RefusedError tells that a handshake failed because one of the two sides does
// not want to speak to the other. errors.Is(err, ErrNotSent) holds for it.
type RefusedError struct {
	Reason  Reason
	Message string
	// Peer is who answered, and empty if that could not be understood.
	Peer Identity
	// Remote is true if the peer refused us, and false if we refused the peer.
	Remote bool
}

// Error returns the refusal in words.
func (e *RefusedError) Error() string {
	by := "we refused peer"
	if e.Remote {
		by = "refused by peer"
	}
	if e.Peer.ID != "" {
		by = fmt.Sprintf("%s %q", by, e.Peer.ID)
	}
	return fmt.Sprintf("%s: %s: %s", by, e.Reason, e.Message)
}

// Is reports true for ErrNotSent: nothing is sent before a handshake succeeded.
func (e *RefusedError) Is(target error) bool {
	return target == ErrNotSent
}
