package replica

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// overWire does to err what answering it to a peer does.
func overWire(err error) error {
	err = ToWire(err)
	remote := &transport.RemoteError{Message: err.Error()}
	if coded, ok := err.(interface{ RPCCode() string }); ok {
		remote.Code = coded.RPCCode()
	}
	return FromWire(remote, "n9.0123456789abcdef")
}

// TestWireErrors shows that each error keeps its identity, and its text,
// between nodes, and that an unknown outcome wins over all else in its chain.
func TestWireErrors(t *testing.T) {
	known := []error{propose.ErrAsking}
	for _, class := range kv.Classes() {
		known = append(known, class)
	}
	for _, want := range known {
		sent := fmt.Errorf("context: %w", want)
		got := overWire(sent)
		if !errors.Is(got, want) || got.Error() != sent.Error() {
			t.Errorf("%v: got %v, want %v", want, got, sent)
		}
	}
	got := overWire(errors.Join(kv.ErrNotLeader, kv.ErrUnknownOutcome))
	if !errors.Is(got, kv.ErrUnknownOutcome) || errors.Is(got, kv.ErrNotLeader) {
		t.Errorf("joined: got %v, want ErrUnknownOutcome alone", got)
	}
	var invalid *kv.ValidationError
	if got := overWire(&kv.ValidationError{Field: "id", Reason: "is bad"}); !errors.As(got, &invalid) || invalid.Field != "id" || invalid.Reason != "is bad" {
		t.Errorf("validation: got %v", got)
	}
	if got := overWire(errors.New("something else")); kv.Classify(got) != nil {
		t.Errorf("an error without a code becomes %v", kv.Classify(got))
	}
}

// TestFromWire_UnknownKind shows that the answer of a node which does not know a kind of RPC is
// of class unsupported and names that node, also if its build calls the request invalid.
func TestFromWire_UnknownKind(t *testing.T) {
	for _, sent := range []error{
		&kv.ValidationError{Field: "kind", Reason: "this node knows no RPC of kind 14"},
		fmt.Errorf("%w: n9 knows no RPC of kind 14", kv.ErrUnsupported),
	} {
		if got := overWire(sent); kv.Classify(got) != kv.ErrUnsupported || !strings.Contains(got.Error(), "n9") {
			t.Errorf("%v: got %v, want ErrUnsupported that names n9", sent, got)
		}
	}
}

// TestForwardOutcome is the table of what a failed forward says of the write.
// What is not in it must be unknown: a write must never be called not done when
// it could still happen.
func TestForwardOutcome(t *testing.T) {
	sent := fmt.Errorf("%w: %w", transport.ErrNoAnswer, context.DeadlineExceeded)
	for _, tt := range []struct {
		name    string
		err     error
		unknown bool
	}{
		{"NotSent", fmt.Errorf("dial: %w", transport.ErrNotSent), false},
		{"Refused", &transport.RefusedError{Reason: transport.RefusedWrongTarget}, false},
		{"NotLeader", overWire(kv.ErrNotLeader), false},
		{"NoLeaderAfterAll", overWire(kv.ErrNoLeader), false},
		{"Asking", overWire(propose.ErrAsking), false},
		{"Overloaded", overWire(kv.ErrOverloaded), false},
		{"Closed", overWire(kv.ErrClosed), false},
		{"NotJoined", overWire(kv.ErrNotJoined), false},
		{"Invalid", overWire(&kv.ValidationError{Field: "commands", Reason: "x"}), false},
		{"NoAnswer", sent, true},
		{"UnknownThere", overWire(kv.ErrUnknownOutcome), true},
		{"NotLeaderButUnknown", overWire(errors.Join(kv.ErrNotLeader, kv.ErrUnknownOutcome)), true},
		{"ErrorWithoutCode", overWire(errors.New("boom")), true},
		{"TransportClosed", transport.ErrClosed, true},
	} {
		if got := forwardOutcome(tt.err); errors.Is(got, kv.ErrUnknownOutcome) != tt.unknown {
			t.Errorf("%s: got %v, want unknown %t", tt.name, got, tt.unknown)
		}
	}
}

// TestAskError is the table of what a read is told whose leader gave it no index.
func TestAskError(t *testing.T) {
	for _, tt := range []struct{ err, want error }{
		{fmt.Errorf("%w: %w", transport.ErrNotSent, errors.New("refused")), kv.ErrNoLeader},
		{fmt.Errorf("%w: %w", transport.ErrNoAnswer, context.DeadlineExceeded), kv.ErrTimeout},
		{overWire(kv.ErrTimeout), kv.ErrTimeout},
		{overWire(kv.ErrOverloaded), kv.ErrOverloaded},
		{overWire(kv.ErrNotLeader), kv.ErrNoLeader},
		{overWire(kv.ErrNoLeader), kv.ErrNoLeader},
	} {
		got := askError("n2.x", tt.err)
		if !errors.Is(got, tt.want) || (tt.want == kv.ErrNoLeader) != errors.Is(got, kv.ErrNoLeader) {
			t.Errorf("%v: got %v, want %v", tt.err, got, tt.want)
		}
	}
}

// TestCommitError is the table of what raft's errors say of a write.
func TestCommitError(t *testing.T) {
	for err, want := range map[error]error{
		raft.ErrEnqueueTimeout:               kv.ErrTimeout,
		raft.ErrNotLeader:                    kv.ErrNotLeader,
		raft.ErrLeadershipTransferInProgress: kv.ErrNotLeader,
		raft.ErrLeadershipLost:               kv.ErrUnknownOutcome,
		raft.ErrRaftShutdown:                 kv.ErrUnknownOutcome,
	} {
		if got := commitError(err); !errors.Is(got, want) || errors.Is(got, kv.ErrUnknownOutcome) != (want == kv.ErrUnknownOutcome) {
			t.Errorf("%v: got %v, want %v", err, got, want)
		}
	}
}

// TestStuckTransfer shows that the fence counts from the first refusal, and starts
// again when a write is taken.
func TestStuckTransfer(t *testing.T) {
	var s stuckTransfer
	at := time.Unix(100, 0)
	busy := fmt.Errorf("wrapped: %w", raft.ErrLeadershipTransferInProgress)
	for i, step := range []struct {
		err  error
		pass time.Duration
		want time.Duration
	}{
		{nil, 0, 0}, {busy, time.Second, 0}, {busy, 3 * time.Second, 3 * time.Second}, {busy, 4 * time.Second, 7 * time.Second},
		{raft.ErrNotLeader, time.Second, 0}, {busy, time.Second, 0}, {busy, time.Second, time.Second}, {nil, time.Second, 0},
	} {
		at = at.Add(step.pass)
		if got := s.observe(step.err, at); got != step.want {
			t.Errorf("step %d: got %v, want %v", i, got, step.want)
		}
	}
}
