package cluster

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/kv"
)

const (
	// probeRoundTimeout bounds a round of probes.
	probeRoundTimeout = 2 * time.Second
	// clockSettle is how long a new leader waits for the clocks of the voters
	// that are not needed for a majority: the more clocks, the less one counts.
	clockSettle = 50 * time.Millisecond
)

// probeAnswer is what a voter says of itself when its leader asks.
type probeAnswer struct {
	term uint64 // its current term
	wall int64  // its wall clock, in nanoseconds since the Unix epoch
}

func (a probeAnswer) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, a.term)
	return binary.BigEndian.AppendUint64(b, uint64(a.wall))
}

func decodeProbeAnswer(b []byte) (probeAnswer, error) {
	if len(b) != 16 {
		return probeAnswer{}, fmt.Errorf("probe answered with %d bytes", len(b))
	}
	return probeAnswer{term: binary.BigEndian.Uint64(b), wall: int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

// selfProbe answers a probe of this node.
func (r *replica) selfProbe() probeAnswer {
	return probeAnswer{term: r.raft.CurrentTerm(), wall: r.cfg.Seams.Clock().UnixNano()}
}

// probe asks all voters for their terms and returns the answers of a majority,
// and of those that follow within settle. Each was given after probe was called
// by a voter that had not gone beyond term. (A later leader needs the votes of a
// majority, and a voter takes on the new term before it votes: so there was none
// when probe was called.) The answers include this node's own, if it votes.
//
// The configuration is the newest, committed or not: changes are of one server
// at a time, so its majorities meet those of the configuration before it.
func (r *replica) probe(ctx context.Context, term uint64, settle time.Duration) ([]probeAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, probeRoundTimeout)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	round := probeRound{results: make(chan probeResult)}
	voters := 0
	for _, s := range r.servers() {
		switch {
		case s.Suffrage != raft.Voter:
			continue
		case s.ID == r.id:
			round.answers = append(round.answers, r.selfProbe())
		default:
			round.asked++
			calls.Go(func() { r.askProbe(ctx, s.ID, round.results) })
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

// failure returns what a round without a majority shows: a leader that can't reach a
// majority leads nobody; one whose voters have not answered yet may only be slow.
func (p *probeRound) failure(voters int) error {
	if len(p.errs) >= voters-voters/2 {
		return kv.ErrNoLeader
	}
	return kv.ErrTimeout
}

// probeRound is what has come back of a round of probes.
type probeRound struct {
	results chan probeResult
	asked   int // who have not answered yet
	answers []probeAnswer
	errs    []error
}

// gather takes results until need voters have answered, and for settle after
// that; until all have; or until ctx ends.
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

// askProbe probes one voter and sends the result, unless ctx ends: nobody
// listens then.
func (r *replica) askProbe(ctx context.Context, id raft.ServerID, results chan<- probeResult) {
	var result probeResult
	b, err := r.peers.Call(ctx, id, kindProbe, nil)
	if err == nil {
		result.answer, err = decodeProbeAnswer(b)
	}
	if err != nil {
		result.err = fmt.Errorf("probe %s: %w", nameOf(id), err)
	}
	select {
	case results <- result:
	case <-ctx.Done():
	}
}

// medianClock returns the median of the answers' wall clocks, the lower of the
// two in the middle: one clock that is wrong moves it by little, or, of two
// clocks, can't put time ahead. answers must not be empty.
func medianClock(answers []probeAnswer) int64 {
	slices.SortFunc(answers, func(a, b probeAnswer) int { return cmp.Compare(a.wall, b.wall) })
	return answers[(len(answers)-1)/2].wall
}
