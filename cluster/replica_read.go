package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// waitCurrent returns once this replica's state machine holds every write that
// was acknowledged anywhere before waitCurrent was called: what it then reads
// locally is linearizable. It tries again, through the leader of the moment, until ctx ends.
func (r *replica) waitCurrent(ctx context.Context) error { return r.waitIndex(ctx, r.reader.index) }

// waitIndex returns once this replica's state machine has applied the index that
// find finds. It tries again, through the leader of the moment, until ctx ends.
func (r *replica) waitIndex(ctx context.Context, find func(context.Context) (uint64, error)) error {
	var last error // how the last attempt ended that had its time, by the leader of the moment
	for {
		_, changed := r.leaders.Current()
		index, err := find(ctx)
		if err == nil {
			return r.waitApplied(ctx, index)
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-changed:
			last = nil
		case <-time.After(leadership.RetryDelay):
		case <-r.ctx.Done():
			return kv.ErrClosed
		case <-ctx.Done():
			return r.leaders.OutOfTime(last)
		}
	}
}

// waitApplied returns once this replica's state machine has applied an index.
func (r *replica) waitApplied(ctx context.Context, index uint64) error {
	err := r.fsm.WaitApplied(ctx, index)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fsm.ErrClosed):
		return kv.ErrClosed
	}
	return behindError(ctx, "index", r.fsm.AppliedIndex(), index, err)
}

// leaderIndex finds the index that the leader has applied, as far as it knows
// that it leads. It is no proof that nobody else does.
func (r *replica) leaderIndex(ctx context.Context) (uint64, error) {
	state, _ := r.leaders.Current()
	switch {
	case state.Leader == "":
		return 0, kv.ErrNoLeader
	case state.Leader != r.id:
		return r.askIndex(ctx, state.Leader, kindLeaderIndex, nil)
	case !r.Leading():
		return 0, fmt.Errorf("%w: its term has not begun", kv.ErrNotLeader)
	}
	return r.fsm.AppliedIndex(), nil
}

// readIndex finds an index that covers every write acknowledged before the
// call: on the leader by ReadIndex (Ongaro's thesis, section 6.4), elsewhere by
// asking the leader.
func (r *replica) readIndex(ctx context.Context) (uint64, error) {
	state, _ := r.leaders.Current()
	switch state.Leader {
	case "":
		return 0, kv.ErrNoLeader
	case r.id:
		return r.leaderReadIndex(ctx, state.Term)
	}
	return r.askIndex(ctx, state.Leader, kindReadIndex, binary.BigEndian.AppendUint64(nil, r.raft.CurrentTerm()))
}

// leaderReadIndex returns this leader's commit index, once a majority of voters
// has shown that nobody led after it when the index was taken.
//
// The term must have begun: its first entry is committed and applied then, and
// with it everything that earlier leaders acknowledged lies at or below the
// commit index. The index names an entry that the state machine sees, since the
// entries that raft keeps to itself come before that first one.
func (r *replica) leaderReadIndex(ctx context.Context, term *leadership.Term) (uint64, error) {
	if term == nil || r.raft.CurrentTerm() != term.Number() {
		return 0, fmt.Errorf("%w: its term has not begun", kv.ErrNotLeader)
	}
	index := r.raft.CommitIndex()
	if confirm := r.cfg.Seams.ConfirmLeader; confirm != nil {
		return index, confirm(r.raft)
	}
	if _, err := r.probe(ctx, term.Number(), 0); err != nil {
		return 0, err
	}
	if now := r.raft.CurrentTerm(); now != term.Number() {
		return 0, fmt.Errorf("%w: term %d has passed", kv.ErrNotLeader, term.Number())
	}
	return index, nil
}

// leaderIndexFor returns this leader's commit index for a voter that asks for it, where
// that voter and this node are a majority: no probe is needed then, and the read of a
// follower takes one round trip. ok is false where that is not so.
//
// The asker read its term after the reads began that wait for the answer, and was not
// beyond this leader's term at that moment. This node is not beyond it once the index is
// taken, which is later still. So a majority had not gone beyond the term when the reads
// began, as leaderReadIndex has it from probes.
func (r *replica) leaderIndexFor(asker raft.ServerID, askersTerm uint64) (index uint64, ok bool) {
	state, _ := r.leaders.Current()
	if state.Term == nil || r.cfg.Seams.ConfirmLeader != nil {
		return 0, false
	}
	voters, leaderVotes, askerVotes := 0, false, false
	for _, s := range r.servers() {
		if s.Suffrage == raft.Voter {
			voters++
			leaderVotes = leaderVotes || s.ID == r.id
			askerVotes = askerVotes || s.ID == asker
		}
	}
	counted := 0
	if leaderVotes {
		counted++
	}
	if asker != r.id && r.cfg.Seams.CountAsker(askerVotes, askersTerm, state.Term.Number()) {
		counted++
	}
	index = r.raft.CommitIndex()
	return index, counted > voters/2 && r.raft.CurrentTerm() == state.Term.Number()
}

// countAsker reports whether a node that asks for an index to read at counts as a voter
// that has not gone beyond the leader's term.
func countAsker(votes bool, askersTerm, term uint64) bool { return votes && askersTerm <= term }

// askIndex asks the leader for an index to read at.
func (r *replica) askIndex(ctx context.Context, leader raft.ServerID, kind transport.Kind, question []byte) (uint64, error) {
	answer, err := r.callLeader(ctx, leader, kind, question, func() bool { return true })
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, fmt.Errorf("%w: %s gave none within the request's time", kv.ErrTimeout, nameOf(leader))
	case err != nil:
		return 0, askError(leader, err)
	case len(answer) != 8:
		return 0, fmt.Errorf("%w: %s answered a read with %d bytes", kv.ErrNoLeader, nameOf(leader), len(answer))
	}
	return binary.BigEndian.Uint64(answer), nil
}

// askError returns the error of a question that the leader did not answer with an
// index. A leader that is known and slow, or has too much to do, is no lack of one.
func askError(leader raft.ServerID, err error) error {
	switch {
	case errors.Is(err, transport.ErrNoAnswer):
		return fmt.Errorf("%w: ask %s: %w", kv.ErrTimeout, nameOf(leader), err)
	case leadership.IsSlow(err):
		return fmt.Errorf("ask %s: %w", nameOf(leader), err)
	}
	return fmt.Errorf("%w: ask %s: %w", kv.ErrNoLeader, nameOf(leader), err)
}

// age returns how old this replica's state is at most. A leader does not know
// whether it still leads, so the age of its state is unknown: the greatest Duration.
func (r *replica) age() time.Duration {
	if state, _ := r.leaders.Current(); state.Leader == r.id {
		return math.MaxInt64
	}
	return r.fresh.age(r.fsm.AppliedIndex(), time.Now())
}

// supersededGrace is the part of the heartbeat timeout that a call to a leader may still
// take once another leader is known. An answer on its way comes within that: a network
// on which it takes longer hears no heartbeats in time. What waits behind the call waits
// as long.
const supersededGrace = 4

// callLeader calls the leader; ready is that of transport's CallWhen. It gives up soon
// after another leader is known, or after leaderCallTimeout, so that an old leader that
// hangs does not block other calls. Once another leader is known, nothing is sent to
// the old one any more.
func (r *replica) callLeader(ctx context.Context, leader raft.ServerID, kind transport.Kind, payload []byte, ready func() bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderCallTimeout)
	defer cancel()
	var begun atomic.Bool // it is being sent, or must not be sent any more
	watch := make(chan struct{})
	defer func() { <-watch }()
	defer cancel() // runs first: ends the goroutine
	go func() {
		defer close(watch)
		if !r.superseded(ctx, leader) {
			return
		}
		if !begun.CompareAndSwap(false, true) {
			select {
			case <-time.After(r.cfg.Timing.Heartbeat / supersededGrace):
			case <-ctx.Done():
			}
		}
		cancel()
	}()
	answer, err := r.peers.CallWhen(ctx, leader, kind, payload, func() bool {
		return begun.CompareAndSwap(false, true) && ready()
	})
	return answer, fromWire(err)
}

// superseded waits until another leader than this one is known, and returns false if
// ctx ends before.
func (r *replica) superseded(ctx context.Context, leader raft.ServerID) bool {
	for {
		state, changed := r.leaders.Current()
		if state.Leader != "" && state.Leader != leader {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}
