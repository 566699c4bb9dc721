package propose

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// States of a proposal. Its waiter moves it to abandoned; the proposer moves it
// between waiting and sent. It is sent from the moment on at which its batch leaves
// this node, or goes to raft.
const (
	proposalWaiting int32 = iota
	proposalSent
	proposalAbandoned
)

// proposal is one caller's requests and the place where the responses arrive.
type proposal struct {
	requests   wire.Requests
	bytes      int64
	held       *atomic.Int64 // the proposer's pending bytes, of which bytes are this one's
	left       atomic.Bool   // they have been given back
	leaderOnly bool          // it came from another node, or is the leader's own: never sent on
	state      atomic.Int32
	failed     atomic.Pointer[error] // how the last attempt to send it failed; nil if none has
	done       chan proposalResult   // has room for it
}

// proposalResult is an error, or the responses to a proposal's requests, one after the
// other, each with its length before it.
type proposalResult struct {
	responses []byte
	err       error
}

// live returns the proposals of a batch that are still wanted, in its memory, and ends the
// others. A node that does not lead refuses what another one forwarded to it.
func live(batch []*proposal, leading bool) []*proposal {
	wanted := batch[:0]
	for _, pr := range batch {
		switch {
		case pr.leaderOnly && !leading:
			pr.finish(nil, kv.ErrNotLeader)
		case pr.state.Load() == proposalAbandoned:
			pr.leave()
		default:
			wanted = append(wanted, pr)
		}
	}
	return wanted
}

// take marks all proposals of a batch that waits as sent. It returns false, and marks
// none, if one was abandoned meanwhile: its caller was told that it is not done, so the
// batch must not be sent as it is.
func take(batch []*proposal) bool {
	for i, pr := range batch {
		if !pr.state.CompareAndSwap(proposalWaiting, proposalSent) {
			for _, taken := range batch[:i] {
				taken.state.CompareAndSwap(proposalSent, proposalWaiting)
			}
			return false
		}
	}
	return true
}

// release takes back a batch that was definitely not done. A proposal whose
// caller waits no longer is dropped: it must not happen later.
func release(batch []*proposal) []*proposal {
	var waiting []*proposal
	for _, pr := range batch {
		pr.state.CompareAndSwap(proposalSent, proposalWaiting)
		if pr.state.Load() == proposalAbandoned {
			pr.leave()
			continue
		}
		waiting = append(waiting, pr)
	}
	return waiting
}

// noteFailure tells each proposal of a batch how the last attempt to send it failed.
func noteFailure(batch []*proposal, err error) {
	for _, pr := range batch {
		pr.failed.Store(&err)
	}
}

// sharedBytes is the maximum length of responses of which each caller gets a part of the same
// memory, however small its part is.
const sharedBytes = 64 << 10

// complete hands each proposal its share of the batch's responses. All end as unknown
// where there are not as many as requests. A small share of many bytes is a copy, so that a
// caller who keeps it for long does not keep the others.
func complete(batch []*proposal, responses []byte) {
	count := 0
	for _, pr := range batch {
		count += pr.requests.Count
	}
	_, rest, err := wire.Take(responses, count)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: %d bytes behind the last response", wire.ErrMalformed, len(rest))
	}
	if err != nil {
		finishAll(batch, fmt.Errorf("%w: responses to a batch: %w", kv.ErrUnknownOutcome, err))
		return
	}
	all := len(responses)
	for _, pr := range batch {
		var share []byte
		share, responses, _ = wire.Take(responses, pr.requests.Count) // they were there a moment ago
		if all > sharedBytes && len(share) < all/2 {
			share = bytes.Clone(share)
		}
		pr.finish(share, nil)
	}
}

func finishAll(batch []*proposal, err error) {
	for _, pr := range batch {
		pr.finish(nil, err)
	}
}

// abandon ends a proposal whose caller waits no longer. It returns what has become of it at
// the same moment, and otherwise notDone if it was not sent, or that its outcome is unknown, and why.
func (pr *proposal) abandon(notDone error, why string) ([]byte, error) {
	if pr.state.Swap(proposalAbandoned) == proposalWaiting {
		return nil, notDone
	}
	select {
	case r := <-pr.done:
		return r.responses, r.err
	default:
		return nil, fmt.Errorf("%w: %s", kv.ErrUnknownOutcome, why)
	}
}

// leave gives the proposal's bytes back, once: the proposer does not hold it any more.
// That may be long after its caller has gone.
func (pr *proposal) leave() {
	if pr.left.CompareAndSwap(false, true) {
		pr.held.Add(-pr.bytes)
	}
}

// finish ends the proposal. It is another one's from then on: see Proposer.proposal.
func (pr *proposal) finish(responses []byte, err error) {
	pr.leave()
	pr.requests.Data = nil
	pr.done <- proposalResult{responses, err}
}
