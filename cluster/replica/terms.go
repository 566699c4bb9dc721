package replica

import (
	"context"
	"math"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/clock"
	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/kv"
)

// watchLeadership keeps leaders equal to raft's view. Raft drops an observation if the channel
// is full. None is lost by that: the channel then has observations that have not been read
// yet, and each makes watchLeadership look again.
func (r *Replica) watchLeadership(ctx context.Context) {
	for {
		_, leader := r.raft.LeaderWithID()
		r.leaders.SetLeader(leader, r.id, r.raft.CurrentTerm())
		select {
		case <-r.observed:
		case <-ctx.Done():
			return
		}
	}
}

// beginTerms does a new leader's first act: it writes a clock command. Once that is
// applied, every entry of earlier terms is too. The cluster clock continues from the
// median of the voters' counts of it, or from the clock of those entries if that is later.
func (r *Replica) beginTerms(ctx context.Context) {
	for {
		state, changed := r.leaders.Current()
		retry := time.Duration(math.MaxInt64)
		if state.Leader == r.id && (state.Term == nil || state.Term.Number() != r.raft.CurrentTerm()) {
			if err := r.beginTerm(ctx); err != nil {
				r.log.Debug("term not begun", "err", err)
				retry = leadership.RetryDelay
			}
		}
		select {
		case <-changed:
		case <-time.After(retry):
		case <-ctx.Done():
			return
		}
	}
}

func (r *Replica) beginTerm(ctx context.Context) error {
	term := r.raft.CurrentTerm()
	r.quorum.Forget()
	r.memory.Forget()
	r.versions.begin(term)
	answers, err := r.probe(ctx, term, clockQuestion{term: term}.encode(), clockSettle)
	if err != nil {
		return err
	}
	first, begun := r.machine.ClockRequest(), clock.Begin(r.cfg.Seams.Elapsed, readings(answers))
	if _, err := r.commit(r.machine.AppendEntry(nil, begun.Stamp(), first.Version, first.Count, first.Data)); err != nil {
		return err
	}
	begun.Raise(r.machine.Clock())
	empty := r.machine.Revision() == 0
	if empty {
		r.askVersions(ctx, term)
		if err := r.beginEmpty(begun.Stamp()); err != nil {
			return err
		}
	}
	if r.raft.State() != raft.Leader || r.raft.CurrentTerm() != term {
		return kv.ErrNotLeader
	}
	r.leaders.SetTerm(leadership.BeginTerm(term, begun))
	if !empty {
		r.wg.Go(func() { r.askVersions(ctx, term) })
	}
	r.log.Info("leading", "term", term)
	return nil
}

// Leading reports whether this node is the leader and has begun its term.
func (r *Replica) Leading() bool {
	state, _ := r.leaders.Current()
	return state.Leader == r.id && state.Term != nil && state.Term.Number() == r.raft.CurrentTerm()
}
