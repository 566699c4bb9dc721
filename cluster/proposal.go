package cluster

import (
	"fmt"
	"sync/atomic"

	"github.com/kvorum/kvorum/fsm"
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

// proposal is one caller's commands and the place where their results arrive.
type proposal struct {
	cmds      []fsm.Command
	bytes     int64
	held      *atomic.Int64 // the proposer's pending bytes, of which bytes are this one's
	left      atomic.Bool   // they have been given back
	forwarded bool          // came from another node: never sent on to a third
	state     atomic.Int32
	done      chan proposalResult // one slot
}

type proposalResult struct {
	results []fsm.Result
	err     error
}

// live returns the proposals of a batch that are still wanted, and ends the others. A
// node that does not lead refuses what another one forwarded to it.
func live(batch []*proposal, leading bool) []*proposal {
	var wanted []*proposal
	for _, pr := range batch {
		switch {
		case pr.forwarded && !leading:
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

// complete hands each proposal its share of the batch's results.
func complete(batch []*proposal, results []fsm.Result) {
	for _, pr := range batch {
		n := len(pr.cmds)
		pr.finish(results[:n:n], nil)
		results = results[n:]
	}
}

func finishAll(batch []*proposal, err error) {
	for _, pr := range batch {
		pr.finish(nil, err)
	}
}

// abandon ends a proposal whose caller waits no longer. It returns what has become of it at
// the same moment, and otherwise notDone if it was not sent, or that its outcome is unknown, and why.
func (pr *proposal) abandon(notDone error, why string) ([]fsm.Result, error) {
	if pr.state.Swap(proposalAbandoned) == proposalWaiting {
		return nil, notDone
	}
	select {
	case r := <-pr.done:
		return r.results, r.err
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

func (pr *proposal) finish(results []fsm.Result, err error) {
	pr.leave()
	pr.done <- proposalResult{results, err}
}
