package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
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
	for _, class := range kv.Classes() {
		sent := fmt.Errorf("context: %w", class)
		got := overWire(sent)
		if !errors.Is(got, class) || got.Error() != sent.Error() {
			t.Errorf("%s: got %v, want %v", class.Code, got, sent)
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
		var invalid *kv.ValidationError
		if _, err := decodeForwarded(fsm.EncodeCommands(nil, []fsm.Command{good, bad})); !errors.As(err, &invalid) {
			t.Errorf("%s: got %v, want a ValidationError", name, err)
		}
	}
	if got, err := decodeForwarded(fsm.EncodeCommands(nil, []fsm.Command{good})); err != nil || len(got) != 1 {
		t.Errorf("good: got %v, %v", got, err)
	}
}
