package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/lessor"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// Messages about leases begin with the asker's term, as a question for an index to read at does:
// in a cluster of three it proves that the leader still leads. Then the ids follow, of 8 bytes
// each. The answer has 8 bytes for each id of a keep-alive: a time in milliseconds, 0 for no such
// lease, endingAnswer for one that has run out and has not ended yet.
//
// The answer about one lease has 24 bytes: the index at which its keys can be read, its time to
// live, and what is left of that, the latter two in milliseconds.

const (
	// maxKeepAlives is the maximum number of ids of one message.
	maxKeepAlives = 8192
	// endingAnswer is the answer for a lease that has run out and has not ended yet.
	endingAnswer = 1<<64 - 1
	// endingPause is the pause before such a lease is asked for again.
	endingPause = 20 * time.Millisecond
)

// KeepAlive gives a lease its whole time to live again, through the leader, and returns that; 0 if
// there is no such lease. It tries again, through the leader of the moment, until ctx ends: a
// lease may be kept alive more than once.
func (r *Replica) KeepAlive(ctx context.Context, id kv.LeaseID) (ttl time.Duration, err error) {
	return askAgain(ctx, r, func(ctx context.Context) (time.Duration, error) { return r.keepAlive(ctx, id) }, leaseErrors...)
}

// keepAlive is KeepAlive by one attempt. While a lease that has run out has not ended, it asks again.
func (r *Replica) keepAlive(ctx context.Context, id kv.LeaseID) (ttl time.Duration, err error) {
	for {
		answer, err := r.keeper.keep(ctx, id)
		if err != nil {
			return 0, err
		}
		if answer != endingAnswer {
			return time.Duration(answer) * time.Millisecond, nil
		}
		select {
		case <-time.After(endingPause):
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: the lease has run out and has not ended yet", kv.ErrTimeout)
		}
	}
}

// LeaseState describes a lease, through the leader.
type LeaseState struct {
	Known          bool
	TTL, Remaining time.Duration
}

// LeaseState describes a lease, through the leader, and waits until the state machine has what the
// leader's had. It tries again, through the leader of the moment, until ctx ends.
func (r *Replica) LeaseState(ctx context.Context, id kv.LeaseID) (LeaseState, error) {
	return askAgain(ctx, r, func(ctx context.Context) (LeaseState, error) { return r.leaseState(ctx, id) }, leaseErrors...)
}

// leaseState is LeaseState by one attempt.
func (r *Replica) leaseState(ctx context.Context, id kv.LeaseID) (LeaseState, error) {
	answer, err := r.leaseQuestion(ctx, kindLeaseState, []kv.LeaseID{id}, r.leaderLeaseState)
	if err != nil {
		return LeaseState{}, err
	}
	if len(answer) != 24 {
		return LeaseState{}, fmt.Errorf("%w: an answer about a lease has %d bytes", kv.ErrNoLeader, len(answer))
	}
	number := func(i int) time.Duration {
		return time.Duration(binary.BigEndian.Uint64(answer[8*i:])) * time.Millisecond
	}
	state := LeaseState{Known: number(1) != 0, TTL: number(1), Remaining: number(2)}
	return state, r.waitApplied(ctx, binary.BigEndian.Uint64(answer))
}

// leaseErrors are the classes of errors after which a question about a lease is not asked again: a
// node is too old to answer, or this one catches up too late, or stops.
var leaseErrors = []error{kv.ErrUnsupported, kv.ErrBehind, kv.ErrClosed}

// leaseQuestion has a question about leases answered by the leader: by own on this node, otherwise
// by a message.
func (r *Replica) leaseQuestion(ctx context.Context, kind transport.Kind, ids []kv.LeaseID,
	own func(context.Context, raft.ServerID, uint64, []kv.LeaseID) ([]byte, error),
) ([]byte, error) {
	state, _ := r.leaders.Current()
	term := r.raft.CurrentTerm()
	switch state.Leader {
	case "":
		return nil, kv.ErrNoLeader
	case r.id:
		return own(ctx, r.id, term, ids)
	}
	question := make([]byte, 0, 8+8*len(ids))
	question = binary.BigEndian.AppendUint64(question, term)
	for _, id := range ids {
		question = binary.BigEndian.AppendUint64(question, uint64(id))
	}
	answer, err := r.callLeader(ctx, state.Leader, kind, question, func() bool { return true })
	switch {
	case errors.Is(err, kv.ErrUnsupported):
		return nil, err
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %s gave none within the request's time", kv.ErrTimeout, nodeid.NameOf(state.Leader))
	case err != nil:
		return nil, askError(state.Leader, err)
	}
	return answer, nil
}

// handleLeases answers another node's question about leases.
func (r *Replica) handleLeases(ctx context.Context, asker raft.ServerID, kind transport.Kind, payload []byte) ([]byte, error) {
	n := len(payload)/8 - 1
	if len(payload)%8 != 0 || n < 1 || n > maxKeepAlives || kind == kindLeaseState && n > 1 {
		return nil, &kv.ValidationError{Field: "leases", Reason: fmt.Sprintf("a question has %d bytes", len(payload))}
	}
	ids := make([]kv.LeaseID, n)
	for i := range ids {
		ids[i] = kv.LeaseID(binary.BigEndian.Uint64(payload[8+8*i:]))
	}
	own := r.leaderKeepAlive
	if kind == kindLeaseState {
		own = r.leaderLeaseState
	}
	return own(ctx, asker, binary.BigEndian.Uint64(payload), ids)
}

// leaderLeases returns the leases of this leader's term, and an index to read at, once it is sure
// that there was no later leader when it was called. All requests that were answered before are
// applied here, because the term has begun.
func (r *Replica) leaderLeases(ctx context.Context, asker raft.ServerID, askersTerm uint64) (*leaseTerm, uint64, error) {
	state, _ := r.leaders.Current()
	if state.Leader != r.id || state.Term == nil || state.Term.Number() != r.raft.CurrentTerm() {
		return nil, 0, fmt.Errorf("%w: its term has not begun", kv.ErrNotLeader)
	}
	index, ok := r.leaderIndexFor(asker, askersTerm)
	if !ok {
		var err error
		if index, err = r.reader.index(ctx); err != nil {
			return nil, 0, err
		}
	}
	if now, _ := r.leaders.Current(); now.Term != state.Term {
		return nil, 0, fmt.Errorf("%w: term %d has passed", kv.ErrNotLeader, state.Term.Number())
	}
	t := r.leasesOf(state.Term)
	if t == nil {
		return nil, 0, fmt.Errorf("%w: term %d has passed", kv.ErrNotLeader, state.Term.Number())
	}
	return t, index, nil
}

// leaderKeepAlive keeps leases alive on the leader.
func (r *Replica) leaderKeepAlive(ctx context.Context, asker raft.ServerID, askersTerm uint64, ids []kv.LeaseID) ([]byte, error) {
	t, _, err := r.leaderLeases(ctx, asker, askersTerm)
	if err != nil {
		return nil, err
	}
	answers, clock := make([]byte, 0, 8*len(ids)), t.term.Stamp()
	for _, id := range ids {
		ttl, answer := t.lessor.Renew(id, earlier(clock), later(clock))
		ms := uint64(ttl.Milliseconds())
		if answer == lessor.Ending {
			ms = endingAnswer
		}
		answers = binary.BigEndian.AppendUint64(answers, ms)
	}
	return answers, nil
}

// leaderLeaseState describes a lease on the leader.
func (r *Replica) leaderLeaseState(ctx context.Context, asker raft.ServerID, askersTerm uint64, ids []kv.LeaseID) ([]byte, error) {
	t, index, err := r.leaderLeases(ctx, asker, askersTerm)
	if err != nil {
		return nil, err
	}
	remaining, ttl, _ := t.lessor.Remaining(ids[0], earlier(t.term.Stamp()))
	answer := binary.BigEndian.AppendUint64(nil, index)
	answer = binary.BigEndian.AppendUint64(answer, uint64(ttl.Milliseconds()))
	return binary.BigEndian.AppendUint64(answer, uint64(remaining.Milliseconds())), nil
}

// keeper keeps leases alive for callers that wait. One message is under way at a time. Callers
// that come meanwhile share the next one.
type keeper struct {
	// ask has a list of leases kept alive, and returns 8 bytes for each of them.
	ask func(ctx context.Context, ids []kv.LeaseID) ([]byte, error)

	ctx context.Context // of the replica: the end of every round
	wg  sync.WaitGroup  // the goroutine that runs rounds

	mu      sync.Mutex
	next    []*keepRound // guarded by mu; those that have not begun; only the last has room
	running bool         // guarded by mu; a goroutine runs rounds
	closed  bool         // guarded by mu
}

// keepRound is one message, shared by all callers that wait for it.
type keepRound struct {
	ids     []kv.LeaseID
	done    chan struct{} // closed when answers and err are set
	answers []byte
	err     error
}

// keep keeps a lease alive, and returns the answer.
func (k *keeper) keep(ctx context.Context, id kv.LeaseID) (uint64, error) {
	round, at, err := k.enter(id)
	if err != nil {
		return 0, err
	}
	select {
	case <-round.done:
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: the leader has not kept the lease alive", kv.ErrTimeout)
	}
	if round.err != nil {
		return 0, round.err
	}
	return binary.BigEndian.Uint64(round.answers[8*at:]), nil
}

// enter joins the round that has not begun yet and has room.
func (k *keeper) enter(id kv.LeaseID) (round *keepRound, at int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, 0, kv.ErrClosed
	}
	if n := len(k.next); n == 0 || len(k.next[n-1].ids) == maxKeepAlives {
		k.next = append(k.next, &keepRound{done: make(chan struct{})})
	}
	round = k.next[len(k.next)-1]
	round.ids = append(round.ids, id)
	if !k.running {
		k.running = true
		k.wg.Go(k.run)
	}
	return round, len(round.ids) - 1, nil
}

// run runs rounds until none waits.
func (k *keeper) run() {
	for {
		k.mu.Lock()
		if k.running = len(k.next) > 0; !k.running {
			k.mu.Unlock()
			return
		}
		round := k.next[0]
		k.next = k.next[1:]
		k.mu.Unlock()
		round.answers, round.err = k.ask(k.ctx, round.ids)
		if round.err == nil && len(round.answers) != 8*len(round.ids) {
			round.err = fmt.Errorf("%w: %d bytes answer %d leases", kv.ErrNoLeader, len(round.answers), len(round.ids))
		}
		close(round.done)
	}
}

// close refuses further leases and waits for the present round to end; the keeper's context must
// have ended.
func (k *keeper) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.wg.Wait()
}
