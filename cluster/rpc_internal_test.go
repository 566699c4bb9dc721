package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/transport"
)

// overWire does to err what answering it to a peer does.
func overWire(err error) error {
	err = toWire(err)
	remote := &transport.RemoteError{Message: err.Error()}
	if coded, ok := err.(interface{ RPCCode() string }); ok {
		remote.Code = coded.RPCCode()
	}
	return fromWire(remote)
}

// TestWireErrors shows that each error keeps its identity, and its text,
// between nodes, and that an unknown outcome wins over all else in its chain.
func TestWireErrors(t *testing.T) {
	for _, w := range wireErrors {
		sent := fmt.Errorf("context: %w", w.err)
		got := overWire(sent)
		if !errors.Is(got, w.err) || got.Error() != sent.Error() {
			t.Errorf("%s: got %v, want %v", w.code, got, sent)
		}
	}
	got := overWire(errors.Join(ErrNotLeader, ErrUnknownOutcome))
	if !errors.Is(got, ErrUnknownOutcome) || errors.Is(got, ErrNotLeader) {
		t.Errorf("joined: got %v, want ErrUnknownOutcome alone", got)
	}
	var invalid *ValidationError
	if got := overWire(&ValidationError{Field: "id", Reason: "is bad"}); !errors.As(got, &invalid) || invalid.Field != "id" || invalid.Reason != "is bad" {
		t.Errorf("validation: got %v", got)
	}
	for _, w := range wireErrors {
		if got := overWire(errors.New("something else")); errors.Is(got, w.err) {
			t.Errorf("an error without a code becomes %v", w.err)
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
		{"NotLeader", overWire(ErrNotLeader), false},
		{"NoLeaderAfterAll", overWire(ErrNoLeader), false},
		{"Overloaded", overWire(ErrOverloaded), false},
		{"Closed", overWire(ErrClosed), false},
		{"NotJoined", overWire(ErrNotJoined), false},
		{"Invalid", overWire(&ValidationError{Field: "commands", Reason: "x"}), false},
		{"NoAnswer", sent, true},
		{"UnknownThere", overWire(ErrUnknownOutcome), true},
		{"NotLeaderButUnknown", overWire(errors.Join(ErrNotLeader, ErrUnknownOutcome)), true},
		{"ErrorWithoutCode", overWire(errors.New("boom")), true},
		{"TransportClosed", transport.ErrClosed, true},
	} {
		if got := forwardOutcome(tt.err); errors.Is(got, ErrUnknownOutcome) != tt.unknown {
			t.Errorf("%s: got %v, want unknown %t", tt.name, got, tt.unknown)
		}
	}
}

// TestDecodeForwarded shows what a peer can't bring into the log.
func TestDecodeForwarded(t *testing.T) {
	good := fsm.Command{Op: fsm.OpPut, Key: "k"}
	for name, bad := range map[string]fsm.Command{
		"Clock":    {Op: fsm.OpClock},
		"Retire":   {Op: fsm.OpRetire, Key: "n1.0"},
		"NoKey":    {Op: fsm.OpDelete},
		"LongKey":  {Op: fsm.OpPut, Key: string(make([]byte, LimitMaxKeyBytes+1))},
		"BigValue": {Op: fsm.OpPut, Key: "k", Value: make([]byte, LimitMaxValueBytes+1)},
	} {
		var invalid *ValidationError
		if _, err := decodeForwarded(fsm.EncodeCommands(nil, []fsm.Command{good, bad})); !errors.As(err, &invalid) {
			t.Errorf("%s: got %v, want a ValidationError", name, err)
		}
	}
	if got, err := decodeForwarded(fsm.EncodeCommands(nil, []fsm.Command{good})); err != nil || len(got) != 1 {
		t.Errorf("good: got %v, %v", got, err)
	}
}
