package replica

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/clock"
	"github.com/kvorum/kvorum/kv"
)

const (
	// clockInterval is the pause between two rounds in which a leader asks for the voters' clocks.
	clockInterval = 75 * time.Millisecond
	// idleClockInterval is that pause while no key has a deadline, so that an idle leader does
	// less. The first key that has one may be late or early by it, and by clockSettle, if the
	// leader's clock stands still.
	idleClockInterval = 125 * time.Millisecond
	// clockSettle is how long a leader waits for the clocks of more voters than
	// a majority: the more clocks, the smaller the effect of one.
	clockSettle = 50 * time.Millisecond
	// Sizes of messages. An empty probe has the short answer, and older builds give it to each.
	clockQuestionBytes = 16
	shortAnswerBytes   = 16
	longAnswerBytes    = 40
)

// clockQuestion is a probe that asks for a voter's clocks too, and tells it the leader's.
type clockQuestion struct {
	term  uint64 // in which the asker leads
	clock int64  // the cluster clock in nanoseconds since the Unix epoch; 0 while it is not known
}

func (q clockQuestion) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, q.term)
	return binary.BigEndian.AppendUint64(b, uint64(q.clock))
}

// probeAnswer is a voter's answer to its leader's probe.
type probeAnswer struct {
	term    uint64        // its current term
	wall    int64         // its wall clock, in nanoseconds since the Unix epoch
	run     uint64        // see clock.Reading; 0 in a short answer, which ends here
	elapsed time.Duration // its monotonic clock
	count   int64         // its count of the cluster clock; 0 if it has none

	// These are the asker's.
	voter          raft.ServerID
	sent, received time.Duration // by the asker's monotonic clock
}

func (a probeAnswer) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, a.term)
	b = binary.BigEndian.AppendUint64(b, uint64(a.wall))
	if a.run == 0 {
		return b
	}
	b = binary.BigEndian.AppendUint64(b, a.run)
	b = binary.BigEndian.AppendUint64(b, uint64(a.elapsed))
	return binary.BigEndian.AppendUint64(b, uint64(a.count))
}

func decodeProbeAnswer(b []byte) (probeAnswer, error) {
	if len(b) != shortAnswerBytes && len(b) != longAnswerBytes {
		return probeAnswer{}, fmt.Errorf("probe answered with %d bytes", len(b))
	}
	a := probeAnswer{term: binary.BigEndian.Uint64(b), wall: int64(binary.BigEndian.Uint64(b[8:]))}
	if len(b) == longAnswerBytes {
		a.run, a.elapsed = binary.BigEndian.Uint64(b[16:]), time.Duration(binary.BigEndian.Uint64(b[24:]))
		a.count = int64(binary.BigEndian.Uint64(b[32:]))
	}
	return a, nil
}

// handleProbe answers a probe of a peer.
func (r *Replica) handleProbe(question []byte) ([]byte, error) {
	if len(question) != 0 && len(question) != clockQuestionBytes {
		return nil, &kv.ValidationError{Field: "probe", Reason: fmt.Sprintf("a probe has no bytes or %d, not %d", clockQuestionBytes, len(question))}
	}
	return r.selfProbe(question).encode(), nil
}

// selfProbe answers a probe with this node's term and clocks. If the question tells the
// cluster clock, this node counts it on from then.
func (r *Replica) selfProbe(question []byte) probeAnswer {
	a := probeAnswer{term: r.raft.CurrentTerm(), wall: r.cfg.Seams.Clock().UnixNano(), voter: r.id}
	if len(question) == 0 {
		return a
	}
	now := r.cfg.Seams.Elapsed()
	a.run, a.elapsed, a.sent, a.received = r.run, now, now, now
	if count, told := r.count.At(now); told {
		a.count = count
	}
	term, told := binary.BigEndian.Uint64(question), int64(binary.BigEndian.Uint64(question[8:]))
	if told != 0 && term >= a.term {
		r.count.Tell(term, told, now)
	}
	return a
}

// readings returns what answers say about the cluster clock.
func readings(answers []probeAnswer) []clock.Reading {
	all := make([]clock.Reading, 0, len(answers))
	for _, a := range answers {
		counted := a.count
		if counted == 0 {
			counted = a.wall
		}
		all = append(all, clock.Reading{Voter: string(a.voter), Run: a.run, Elapsed: a.elapsed, Clock: counted, Sent: a.sent, Received: a.received})
	}
	return all
}

// followClocks keeps the cluster clock of this node, while it leads, with the median of the
// voters' clocks, until ctx ends; see package clock.
func (r *Replica) followClocks(ctx context.Context) {
	for {
		state, changed := r.leaders.Current()
		var next <-chan time.Time
		if term := state.Term; term != nil && !r.cfg.Seams.OwnClock {
			question := clockQuestion{term.Number(), term.Stamp()}
			answers, err := r.probe(ctx, term.Number(), question.encode(), clockSettle)
			if err != nil {
				r.log.Debug("clocks not compared", "err", err)
			} else if term.Clock().Follow(readings(answers), r.voterCount()) {
				r.wakeExpire()
			}
			pause := clockInterval
			if r.machine.NextDeadline() == 0 {
				pause = idleClockInterval
			}
			next = time.After(pause)
		}
		select {
		case <-next:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// voterCount returns the number of voters.
func (r *Replica) voterCount() (voters int) {
	for _, s := range r.Servers() {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	return voters
}

// wakeExpire makes expire and expireLeases look at the clock again.
func (r *Replica) wakeExpire() {
	for _, wake := range [...]chan struct{}{r.corrected, r.leaseClock} {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
