package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// Read is a read of the state machine between BeginRead and End.
type Read struct {
	r    *Replica
	gone uint64 // the value of Replica.gone at its beginning
}

// BeginRead waits until the state machine may be read as options say. The caller then reads
// from the state machine, and calls End before it uses what it has read. It returns a
// *kv.ValidationError, or an error of not reaching the leader or catching up with it in time.
func (r *Replica) BeginRead(ctx context.Context, options kv.ReadOptions) (Read, error) {
	if options.MaxStale != 0 && options.Level != kv.Stale {
		return Read{}, &kv.ValidationError{Field: "max_stale", Reason: "is for stale reads only"}
	}
	var err error
	switch options.Level {
	case kv.Stale:
		if options.MaxStale != 0 && r.age() > options.MaxStale {
			err = r.waitCurrent(ctx)
		}
	case kv.LeaderLocal:
		err = r.waitIndex(ctx, r.leaderIndex)
	case kv.Linearizable, "":
		err = r.waitCurrent(ctx)
	default:
		err = &kv.ValidationError{Field: "consistency", Reason: fmt.Sprintf("%q is none of linearizable, leader and stale", options.Level)}
	}
	if err != nil {
		return Read{}, err
	}
	least := options.MinRevision
	if options.Level == kv.Stale || options.Level == kv.LeaderLocal {
		least = max(least, options.Revision) // this node may lack what others have
	}
	if err := r.machine.WaitRevision(ctx, least); err != nil {
		return Read{}, behindError(ctx, "revision", r.machine.Revision(), least, err)
	}
	return Read{r, r.gone.Load()}, r.serving()
}

// End returns nil if the state was whole while it was read; otherwise the result of the read
// must not be used.
func (o Read) End() error {
	if o.gone%2 == 1 || o.r.gone.Load() != o.gone {
		return fmt.Errorf("%w: it loads a snapshot of the leader's", kv.ErrBehind)
	}
	return nil
}

// waitCurrent returns once this replica's state machine has every write that
// was acknowledged anywhere before waitCurrent was called: then a local read
// is linearizable. It tries again, through the leader of the moment, until ctx ends.
func (r *Replica) waitCurrent(ctx context.Context) error { return r.waitIndex(ctx, r.reader.index) }

// waitIndex returns once this replica's state machine has applied the index that
// find finds. It tries again, through the leader of the moment, until ctx ends.
func (r *Replica) waitIndex(ctx context.Context, find func(context.Context) (uint64, error)) error {
	index, err := askAgain(ctx, r, find)
	if err != nil {
		return err
	}
	return r.waitApplied(ctx, index)
}

// askAgain asks, through the leader of the moment, until there is an answer, an error of a class
// in final, or ctx ends.
func askAgain[T any](ctx context.Context, r *Replica, ask func(context.Context) (T, error), final ...error) (answer T, err error) {
	var none T
	var last error // of the newest attempt that ended before ctx, through the leader of the moment
	for {
		_, changed := r.leaders.Current()
		answer, err := ask(ctx)
		if err == nil {
			return answer, nil
		}
		if slices.ContainsFunc(final, func(class error) bool { return errors.Is(err, class) }) {
			return none, err
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-changed:
			last = nil
		case <-time.After(leadership.RetryDelay):
		case <-r.ctx.Done():
			return none, kv.ErrClosed
		case <-ctx.Done():
			return none, r.leaders.OutOfTime(last)
		}
	}
}

// waitApplied returns once this replica's state machine has applied an index.
func (r *Replica) waitApplied(ctx context.Context, index uint64) error {
	err := r.machine.WaitApplied(ctx, index)
	switch ended := ctx.Err(); {
	case err == nil:
		return nil
	case ended == nil || !errors.Is(err, ended): // the state machine is closed
		return kv.ErrClosed
	}
	return behindError(ctx, "index", r.machine.AppliedIndex(), index, err)
}

// leaderIndex finds the index that the leader has applied. The leader does not make sure that
// no other node leads.
func (r *Replica) leaderIndex(ctx context.Context) (uint64, error) {
	state, _ := r.leaders.Current()
	switch {
	case state.Leader == "":
		return 0, kv.ErrNoLeader
	case state.Leader != r.id:
		return r.askIndex(ctx, state.Leader, kindLeaderIndex, nil)
	case !r.Leading():
		return 0, fmt.Errorf("%w: its term has not begun", kv.ErrNotLeader)
	}
	return r.machine.AppliedIndex(), nil
}

// readIndex finds an index that covers every write acknowledged before the
// call: on the leader by ReadIndex (Ongaro's thesis, section 6.4), elsewhere by
// asking the leader.
func (r *Replica) readIndex(ctx context.Context) (uint64, error) {
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
// has shown that there was no later leader when the index was taken.
//
// The term must have begun. Then its first entry is committed and applied, so that every write
// that earlier leaders have acknowledged is at or below the
// commit index. The index is that of an entry that the state machine sees: the
// entries that raft keeps to itself precede that first one.
func (r *Replica) leaderReadIndex(ctx context.Context, term *leadership.Term) (uint64, error) {
	if term == nil || r.raft.CurrentTerm() != term.Number() {
		return 0, fmt.Errorf("%w: its term has not begun", kv.ErrNotLeader)
	}
	index := r.commitIndex()
	if confirm := r.cfg.Seams.ConfirmLeader; confirm != nil {
		return index, confirm(r.raft)
	}
	if _, err := r.probe(ctx, term.Number(), nil, 0); err != nil {
		return 0, err
	}
	if now := r.raft.CurrentTerm(); now != term.Number() {
		return 0, fmt.Errorf("%w: term %d has passed", kv.ErrNotLeader, term.Number())
	}
	return index, nil
}

// leaderIndexFor returns this leader's commit index for a voter that asks for it. ok is false
// unless that voter and this node are a majority. If they are, no probe is needed, and the read
// of a follower takes one round trip.
//
// The asker read its term after the beginning of the reads that wait for the answer, and that
// term is not higher than this leader's. This node's term is still the same after the index was
// taken, which is later. So when the reads began, no server of a majority had a higher term:
// that is what probes show to leaderReadIndex. The package comment has the whole proof.
func (r *Replica) leaderIndexFor(asker raft.ServerID, askersTerm uint64) (index uint64, ok bool) {
	state, _ := r.leaders.Current()
	if state.Term == nil || r.cfg.Seams.ConfirmLeader != nil {
		return 0, false
	}
	voters, leaderVotes, askerVotes := 0, false, false
	for _, s := range r.Servers() {
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
	index = r.commitIndex()
	return index, counted > voters/2 && r.raft.CurrentTerm() == state.Term.Number()
}

// countAsker reports whether a node that asks for an index to read at counts as a voter
// whose term is not higher than the leader's.
func countAsker(votes bool, askersTerm, term uint64) bool { return votes && askersTerm <= term }

// askIndex asks the leader for an index to read at.
func (r *Replica) askIndex(ctx context.Context, leader raft.ServerID, kind transport.Kind, question []byte) (uint64, error) {
	answer, err := r.callLeader(ctx, leader, kind, question, func() bool { return true })
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, fmt.Errorf("%w: %s gave none within the request's time", kv.ErrTimeout, nodeid.NameOf(leader))
	case err != nil:
		return 0, askError(leader, err)
	case len(answer) != 8:
		return 0, fmt.Errorf("%w: %s answered a read with %d bytes", kv.ErrNoLeader, nodeid.NameOf(leader), len(answer))
	}
	return binary.BigEndian.Uint64(answer), nil
}

// askError returns the error of a question that the leader did not answer with an
// index. It is not kv.ErrNoLeader if the leader is known, and is slow or has too much to do.
func askError(leader raft.ServerID, err error) error {
	switch {
	case errors.Is(err, transport.ErrNoAnswer):
		return fmt.Errorf("%w: ask %s: %w", kv.ErrTimeout, nodeid.NameOf(leader), err)
	case leadership.IsSlow(err):
		return fmt.Errorf("ask %s: %w", nodeid.NameOf(leader), err)
	}
	return fmt.Errorf("%w: ask %s: %w", kv.ErrNoLeader, nodeid.NameOf(leader), err)
}

// behindError returns the error of a read whose wait for the state machine ended with err.
// If its time has passed, ErrBehind says that.
func behindError(ctx context.Context, what string, at, wants uint64, err error) error {
	behind := fmt.Errorf("%w: at %s %d, wants %d", kv.ErrBehind, what, at, wants)
	if ctx.Err() != nil {
		return behind
	}
	return fmt.Errorf("%w: %w", behind, err)
}

// age returns how old this replica's state is at most. A leader does not know
// whether it still leads, so the age of its state is unknown: the greatest Duration.
func (r *Replica) age() time.Duration {
	if state, _ := r.leaders.Current(); state.Leader == r.id {
		return math.MaxInt64
	}
	return r.fresh.age(r.machine.AppliedIndex(), time.Now())
}
