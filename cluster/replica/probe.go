package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
)

// probeRoundTimeout is the maximum time of a round of probes.
const probeRoundTimeout = 2 * time.Second

// probe asks all voters for their terms; question is empty or a clockQuestion. It returns the answers of a majority,
// and those that arrive within settle after them. Each answer was given after probe was called,
// by a voter whose term was not higher than term. So there was no later leader when probe was
// called: it would need the votes of a majority, and a voter takes on the new term before it
// votes. The answers include this node's own, if it votes.
//
// The configuration is the newest, committed or not. A change adds or removes one server, so
// every majority of it has a server in common with every majority of the previous one.
func (r *Replica) probe(ctx context.Context, term uint64, question []byte, settle time.Duration) ([]probeAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, probeRoundTimeout)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	round := probeRound{results: make(chan probeResult)}
	voters := 0
	for _, s := range r.Servers() {
		switch {
		case s.Suffrage != raft.Voter:
			continue
		case s.ID == r.id:
			round.answers = append(round.answers, r.selfProbe(question))
		default:
			round.asked++
			calls.Go(func() { r.askProbe(ctx, s.ID, question, round.results) })
		}
		voters++
	}
	round.gather(ctx, voters/2+1, settle)
	for _, a := range round.answers {
		if a.term > term {
			return nil, fmt.Errorf("%w: a voter is in term %d, beyond %d", kv.ErrNotLeader, a.term, term)
		}
	}
	if len(round.answers) <= voters/2 {
		few := fmt.Errorf("%w: %d of %d voters answered in time", round.failure(voters), len(round.answers), voters)
		return nil, errors.Join(append([]error{few}, round.errs...)...)
	}
	return round.answers, nil
}

// failure returns the class of a round without a majority. A leader that can't reach a
// majority leads nobody: kv.ErrNoLeader. If voters have not answered yet, they may only be slow:
// kv.ErrTimeout.
func (p *probeRound) failure(voters int) error {
	if len(p.errs) >= voters-voters/2 {
		return kv.ErrNoLeader
	}
	return kv.ErrTimeout
}

// probeRound has the results of a round of probes so far.
type probeRound struct {
	results chan probeResult
	asked   int // number of voters that have not answered yet
	answers []probeAnswer
	errs    []error
}

// gather takes results until need voters have answered and then for settle, until all have
// answered, or until ctx ends.
func (p *probeRound) gather(ctx context.Context, need int, settle time.Duration) {
	var settled <-chan time.Time
	for p.asked > 0 {
		if len(p.answers) >= need && settled == nil {
			if settle == 0 {
				return
			}
			settled = time.After(settle)
		}
		select {
		case result := <-p.results:
			p.asked--
			if result.err != nil {
				p.errs = append(p.errs, result.err)
			} else {
				p.answers = append(p.answers, result.answer)
			}
		case <-settled:
			return
		case <-ctx.Done():
			return
		}
	}
}

type probeResult struct {
	answer probeAnswer
	err    error
}

// askProbe probes one voter and sends the result, unless ctx ends, when nobody receives it.
func (r *Replica) askProbe(ctx context.Context, id raft.ServerID, question []byte, results chan<- probeResult) {
	var result probeResult
	sent := r.cfg.Seams.Elapsed()
	b, err := r.peers.Call(ctx, id, kindProbe, question)
	if err == nil {
		result.answer, err = decodeProbeAnswer(b)
		result.answer.voter, result.answer.sent, result.answer.received = id, sent, r.cfg.Seams.Elapsed()
	}
	if err != nil {
		result.err = fmt.Errorf("probe %s: %w", nodeid.NameOf(id), err)
	}
	select {
	case results <- result:
	case <-ctx.Done():
	}
}
