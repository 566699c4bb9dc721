package replica

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// rpcError is an error with the code under which it travels.
type rpcError struct {
	code string
	err  error
}

func (e *rpcError) Error() string   { return e.err.Error() }
func (e *rpcError) Unwrap() error   { return e.err }
func (e *rpcError) RPCCode() string { return e.code }

// codeAsking is the code of propose.ErrAsking. By its class alone, the sender of a batch would
// not know that it has to take the batch apart.
const codeAsking = "asking"

// ToWire returns err with the code of its class, if it has one: a peer's FromWire turns that
// into an error of the same class.
func ToWire(err error) error {
	var invalid *kv.ValidationError
	class := kv.Classify(err)
	switch {
	case class == nil:
		return err
	case class != kv.ErrUnknownOutcome && errors.Is(err, propose.ErrAsking):
		return &rpcError{codeAsking, err}
	case class != kv.ErrUnknownOutcome && errors.As(err, &invalid):
		return &rpcError{"invalid:" + invalid.Field, errors.New(invalid.Reason)}
	}
	return &rpcError{string(class.Code), err}
}

// unknownKind is the code of builds before command version 3 for a kind of RPC that they
// don't know.
const unknownKind = "invalid:kind"

// FromWire returns an error of the same class as the error on the node from, which has answered
// with it. Any other error, and nil, it returns as it is.
func FromWire(err error, from raft.ServerID) error {
	var remote *transport.RemoteError
	if !errors.As(err, &remote) {
		return err
	}
	if remote.Code == codeAsking {
		return &remoteError{propose.ErrAsking, remote}
	}
	if remote.Code == unknownKind {
		return fmt.Errorf("%w: %s: %w", kv.ErrUnsupported, nodeid.NameOf(from), remote)
	}
	if class := kv.ByCode(kv.Code(remote.Code)); class != nil {
		return &remoteError{class, remote}
	}
	if field, ok := strings.CutPrefix(remote.Code, "invalid:"); ok {
		return &kv.ValidationError{Field: field, Reason: remote.Message}
	}
	return err
}

// remoteError is the error of another node, of a known class, with that node's text.
type remoteError struct {
	is     error
	remote *transport.RemoteError
}

func (e *remoteError) Error() string   { return e.remote.Message }
func (e *remoteError) Unwrap() []error { return []error{e.is, e.remote} }
