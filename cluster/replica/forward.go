package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// forward sends a batch in one message to the leader's proposer.
func (r *Replica) forward(ctx context.Context, b propose.Batch, ready func() bool) ([]byte, error) {
	state, _ := r.leaders.Current()
	if state.Leader == "" {
		return nil, kv.ErrNoLeader
	}
	if state.Leader == r.id {
		return nil, fmt.Errorf("%w: its term has not begun", kv.ErrNotLeader)
	}
	answer, err := r.callLeader(ctx, state.Leader, kindPropose, encodeForwarded(b), ready)
	if err != nil {
		return nil, forwardOutcome(err)
	}
	return answer, nil
}

// forwardOutcome returns the error of a write whose forward has failed. It is not done only if
// it certainly never reached the leader's log: if the message was not sent, or if the leader
// says that it refused it. Otherwise the outcome is unknown.
func forwardOutcome(err error) error {
	switch {
	case errors.Is(err, kv.ErrUnknownOutcome):
		return err
	case errors.Is(err, transport.ErrNotSent):
		return fmt.Errorf("%w: %w", kv.ErrNoLeader, err)
	}
	if invalid := new(kv.ValidationError); errors.As(err, &invalid) {
		return err
	}
	for _, refused := range []error{kv.ErrNotLeader, kv.ErrNoLeader, kv.ErrTimeout, kv.ErrOverloaded, kv.ErrNotJoined, kv.ErrClosed, kv.ErrDiskFull, kv.ErrMemoryFull, kv.ErrDataLimit, kv.ErrUnsupported} {
		if errors.Is(err, refused) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
}

// forwardFormat is the first byte of a message with forwarded requests. Behind it are the
// command version that they need (1 byte), their number (uvarint), and the requests. The
// answer has the responses, one after the other, each with its length before it.
const forwardFormat = 2

// encodeForwarded returns the message that carries a batch to the leader.
func encodeForwarded(b propose.Batch) []byte {
	size := 2 + binary.MaxVarintLen64
	for _, part := range b.Parts {
		size += len(part)
	}
	message := append(make([]byte, 0, size), forwardFormat, b.Facts.Version)
	message = binary.AppendUvarint(message, uint64(b.Facts.Count))
	for _, part := range b.Parts {
		message = append(message, part...)
	}
	return message
}

// handlePropose puts requests of another node's clients into the log. That node has checked
// them against its own limits. The check here, which is the only one, keeps requests out of the
// log that no client may make. From then on the requests are carried as they are.
func (r *Replica) handlePropose(ctx context.Context, payload []byte) ([]byte, error) {
	message := wire.NewReader(payload)
	format, version, count := message.Byte(), message.Byte(), message.Count(1)
	if err := message.Err(); err != nil {
		return nil, &kv.ValidationError{Field: "requests", Reason: err.Error()}
	}
	if format != forwardFormat {
		return nil, fmt.Errorf("%w: requests are in format %d, %s reads %d", kv.ErrUnsupported, format, nodeid.NameOf(r.id), forwardFormat)
	}
	requests, err := r.machine.Check(version, count, message.Rest())
	if invalid := new(kv.ValidationError); errors.As(err, &invalid) {
		return nil, err
	} else if errors.Is(err, kv.ErrUnsupported) {
		return nil, fmt.Errorf("%w: %s: %w", kv.ErrUnsupported, nodeid.NameOf(r.id), err)
	} else if err != nil {
		return nil, &kv.ValidationError{Field: "requests", Reason: err.Error()}
	}
	return r.proposer.Propose(ctx, requests, true)
}
