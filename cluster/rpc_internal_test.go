package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
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

// TestHandlePropose_Refuses shows what a peer can't bring into the log.
func TestHandlePropose_Refuses(t *testing.T) {
	n := openCluster(t, 1, nil)[0]
	leaderOf(t, []*Node{n})
	r := mustJoined(t, n)
	good := put("k")
	with := func(bad wire.Requests) []byte {
		return encodeForwarded(together(good, bad))
	}
	invalid := new(kv.ValidationError)
	for name, payload := range map[string][]byte{
		"Nothing":    nil,
		"Format":     append([]byte{1}, with(good)[1:]...),
		"Cut":        with(good)[:len(with(good))-1],
		"Longer":     append(with(good), 0),
		"Clock":      with(fsm.ClockRequest()),
		"Retire":     with(fsm.RetireRequest("n1.0")),
		"Checkpoint": with(fsm.CheckpointRequest()),
		"NoKey":      with(del("")),
		"LongKey":    with(put(string(make([]byte, LimitMaxKeyBytes+1)))),
		"BigValue":   with(encode(kv.Put("k", make([]byte, LimitMaxValueBytes+1)))),
	} {
		if _, err := r.handlePropose(t.Context(), payload); !errors.As(err, &invalid) {
			t.Errorf("%s: got %v, want a ValidationError", name, err)
		}
	}
	newer := with(good)
	newer[1] = fsm.Version + 1
	if _, err := r.handlePropose(t.Context(), newer); !errors.Is(err, kv.ErrUnsupported) || !strings.Contains(err.Error(), nameOf(r.id)) {
		t.Errorf("a newer command version: got %v, want ErrUnsupported that names this node", err)
	}
	if _, err := n.Get(t.Context(), "k", kv.ReadOptions{}); err != nil {
		t.Fatal(err)
	}
	if r.fsm.Revision() != 0 {
		t.Errorf("got revision %d: what was refused has changed something", r.fsm.Revision())
	}
	answer, err := r.handlePropose(t.Context(), with(put("l")))
	if err != nil {
		t.Fatal(err)
	}
	first, rest, err := wire.Take(answer, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, data := range [][]byte{first, rest} {
		if response, err := fsm.DecodeResponse(data); err != nil || !response.Succeeded || response.Revision != uint64(i+1) {
			t.Errorf("response %d: got %+v, %v", i, response, err)
		}
	}
}
