package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/transport"
)

// barrierTimeout is how long a barrier may wait for raft to take it.
const barrierTimeout = 2 * time.Second

// waitCurrent returns once this replica's state machine holds every write that
// was acknowledged anywhere before waitCurrent was called: what it then reads
// locally is linearizable. It tries again, through whoever leads, until ctx ends.
func (r *replica) waitCurrent(ctx context.Context) error {
	for {
		_, changed := r.leaders.current()
		index, err := r.reader.index(ctx)
		if err == nil {
			if err := r.fsm.WaitApplied(ctx, index); err != nil {
				return fmt.Errorf("%w: at index %d, wants %d: %w", ErrBehind, r.fsm.AppliedIndex(), index, err)
			}
			return nil
		}
		select {
		case <-changed:
		case <-time.After(retryDelay):
		case <-ctx.Done():
			return fmt.Errorf("%w within the request's time: %w", ErrNoLeader, err)
		}
	}
}

// readIndex finds an index that covers every write acknowledged before the
// call: on the leader by a barrier, elsewhere by asking the leader.
//
// The barrier is committed in the leader's own term, so the leader had not been
// deposed when the read began; and when it has passed, the leader's state
// machine has applied all that was committed before it. The index is the state
// machine's own: raft's AppliedIndex counts what was only handed to it.
func (r *replica) readIndex(ctx context.Context) (uint64, error) {
	state, _ := r.leaders.current()
	switch state.leader {
	case "":
		return 0, ErrNoLeader
	case r.id:
		if err := r.cfg.Seams.ConfirmLeader(r.raft); err != nil {
			return 0, fmt.Errorf("%w: barrier: %w", ErrNoLeader, err)
		}
		return r.fsm.AppliedIndex(), nil
	}
	return r.askReadIndex(ctx, state.leader)
}

func (r *replica) askReadIndex(ctx context.Context, leader raft.ServerID) (uint64, error) {
	answer, err := r.callLeader(ctx, leader, kindReadIndex, nil)
	if err != nil {
		return 0, fmt.Errorf("%w: ask %s: %w", ErrNoLeader, nameOf(leader), err)
	}
	if len(answer) != 8 {
		return 0, fmt.Errorf("%w: %s answered a read with %d bytes", ErrNoLeader, nameOf(leader), len(answer))
	}
	return binary.BigEndian.Uint64(answer), nil
}

// callLeader calls the leader and gives up when another one is known or too much
// time has passed: an old leader that hangs would else hold up everything.
func (r *replica) callLeader(ctx context.Context, leader raft.ServerID, kind transport.Kind, payload []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderCallTimeout)
	defer cancel()
	watch := make(chan struct{})
	defer func() { <-watch }()
	defer cancel() // runs first: ends the goroutine
	go func() {
		defer close(watch)
		for {
			state, changed := r.leaders.current()
			if state.leader != "" && state.leader != leader {
				cancel()
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	answer, err := r.peers.Call(ctx, leader, kind, payload)
	return answer, fromWire(err)
}
