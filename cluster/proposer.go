package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/fsm"
)

// Bounds of one batch and of the queue before it.
const (
	// maxBatchBytes is where a batch is full; one larger proposal still goes alone.
	maxBatchBytes = 1 << 20
	// maxBatchCommands bounds the commands of one batch.
	maxBatchCommands = 1024
	// maxPendingProposals bounds how many proposals wait.
	maxPendingProposals = 16 << 10
	// maxApart bounds how many proposals of a batch that is taken apart are sent at a time.
	maxApart = 32
	// commandOverhead is what a command costs beside its key and value in the byte budget.
	commandOverhead = 64
	// retryDelay is the pause after an attempt that changed nothing, unless leadership changes before.
	retryDelay = 20 * time.Millisecond
)

// proposer packs all commands that wait into one batch and hands it on: to the
// log where this node leads, else to the leader. One batch is under way at a
// time, but for one that is taken apart; the sync in progress forms the next one, so no
// timer is needed.
//
// Each proposal ends in exactly one of three ways: its results, an error that
// says it was not done, or ErrUnknownOutcome. A batch that was definitely not
// done is tried again until its proposals' contexts end; one whose outcome is
// unknown never is. What is refused because there is no room, on disk or in memory,
// ends at once: others must not wait behind it.
type proposer struct {
	queue    chan *proposal // of this node's own callers
	forwards chan *proposal // of other nodes; refused at once while this node does not lead
	// refused is how the last attempt failed while a batch waits for the next one; nil
	// while none does.
	refused  atomic.Pointer[error]
	pending  atomic.Int64 // bytes of proposals queued or under way
	maxBytes int64
	leaders  *leadership
	route    batchRoute
	ended    chan struct{} // closed when run hands on nothing any more
}

// batchRoute carries a batch where it belongs. Both methods return nil and as many
// results as commands, an error matching ErrUnknownOutcome, or any other error
// for a batch that was definitely not done.
type batchRoute interface {
	// leading says whether this node is the leader and has begun its term.
	leading() bool
	// apply puts commands into the log as one entry.
	apply(cmds []fsm.Command) ([]fsm.Result, error)
	// forward sends commands to the leader.
	forward(ctx context.Context, cmds []fsm.Command) ([]fsm.Result, error)
}

// States of a proposal. Its waiter moves it to abandoned; the proposer moves it
// between waiting and sent.
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

func newProposer(maxBytes int64, leaders *leadership, route batchRoute) *proposer {
	return &proposer{
		queue: make(chan *proposal, maxPendingProposals), forwards: make(chan *proposal, maxPendingProposals),
		maxBytes: maxBytes, leaders: leaders, route: route, ended: make(chan struct{}),
	}
}

// propose waits until cmds are committed and returns one result for each, in
// order. They are stored next to each other in one log entry, but are not a
// transaction. With forwarded, another node has sent them: they are refused with
// ErrNotLeader unless this node leads.
func (p *proposer) propose(ctx context.Context, cmds []fsm.Command, forwarded bool) ([]fsm.Result, error) {
	pr := &proposal{cmds: cmds, forwarded: forwarded, held: &p.pending, done: make(chan proposalResult, 1)}
	for _, c := range cmds {
		pr.bytes += int64(len(c.Key)+len(c.Value)) + commandOverhead
	}
	if p.pending.Add(pr.bytes) > p.maxBytes {
		p.pending.Add(-pr.bytes)
		return nil, fmt.Errorf("%w: over %d bytes of writes are under way", ErrOverloaded, p.maxBytes)
	}
	queue := p.queue
	if forwarded {
		queue = p.forwards
	}
	select {
	case queue <- pr:
	default:
		pr.leave()
		return nil, fmt.Errorf("%w: %d writes are waiting", ErrOverloaded, maxPendingProposals)
	}
	select {
	case r := <-pr.done:
		return r.results, r.err
	case <-ctx.Done():
		return p.abandon(pr)
	case <-p.ended: // what is queued now stays there
		pr.leave()
	}
	select {
	case r := <-pr.done:
		return r.results, r.err
	default:
		return nil, ErrClosed
	}
}

// abandon ends a proposal whose caller waits no longer.
func (p *proposer) abandon(pr *proposal) ([]fsm.Result, error) {
	last := p.refused.Load() // first: it is forgotten with the batch
	if pr.state.Swap(proposalAbandoned) == proposalWaiting {
		return nil, p.queueTimeout(last)
	}
	select {
	case r := <-pr.done: // it ended at the same moment
		return r.results, r.err
	default:
		return nil, fmt.Errorf("%w: no answer came within the request's time", ErrUnknownOutcome)
	}
}

// queueTimeout returns why a proposal was not sent in its time: no leader could be
// reached, or others were before it. last is how the last attempt of those failed.
func (p *proposer) queueTimeout(last *error) error {
	if state, _ := p.leaders.current(); state.leader == "" || last != nil {
		if last == nil {
			return leaderTimeout(nil)
		}
		return leaderTimeout(*last)
	}
	return fmt.Errorf("%w: it waited behind other writes", ErrTimeout)
}

// run hands on batches until ctx ends; what then still waits ends with ErrClosed.
func (p *proposer) run(ctx context.Context) {
	defer close(p.ended)
	var held *proposal // taken from the queue, but too large for the batch before
	for {
		first := held
		if held = nil; first == nil {
			select {
			case first = <-p.queue:
			case first = <-p.forwards:
			case <-ctx.Done():
				p.drain()
				return
			}
		}
		var batch []*proposal
		batch, held = p.gather(first)
		p.deliver(ctx, batch)
		if ctx.Err() != nil && held != nil {
			held.finish(nil, ErrClosed)
			held = nil
		}
	}
}

// gather takes what waits, up to the bounds of a batch. The proposal that did
// not fit any more is returned beside it.
func (p *proposer) gather(first *proposal) (batch []*proposal, held *proposal) {
	batch = []*proposal{first}
	bytes, count := first.bytes, len(first.cmds)
	for {
		var next *proposal
		select {
		case next = <-p.queue:
		case next = <-p.forwards:
		default:
			return batch, nil
		}
		if bytes+next.bytes > maxBatchBytes || count+len(next.cmds) > maxBatchCommands {
			return batch, next
		}
		batch = append(batch, next)
		bytes, count = bytes+next.bytes, count+len(next.cmds)
	}
}

// deliver tries a batch until it is done, its outcome is unknown, or nobody waits for it.
func (p *proposer) deliver(ctx context.Context, batch []*proposal) {
	defer p.refused.Store(nil)
	for {
		_, changed := p.leaders.current()
		leading := p.route.leading()
		sending := claim(batch, leading)
		if len(sending) == 0 {
			return
		}
		results, err := p.send(ctx, sending, leading)
		if err == nil {
			complete(sending, results)
			return
		}
		if invalid := new(ValidationError); errors.Is(err, ErrUnknownOutcome) || errors.As(err, &invalid) {
			finishAll(sending, err)
			return
		}
		batch = release(sending)
		if refused := refusedBy(err); refused != nil {
			if batch = p.refuse(ctx, batch, refused, err, leading); len(batch) == 0 {
				return
			}
			continue
		}
		p.refused.Store(&err)
		if !p.pause(ctx, changed) {
			finishAll(batch, ErrClosed)
			return
		}
	}
}

// pause waits until leadership changes or a little time has passed, and reports
// false when ctx ends. What other nodes forward meanwhile is refused at once:
// its senders must not wait behind a batch that waits for a leader.
func (p *proposer) pause(ctx context.Context, changed <-chan struct{}) bool {
	retry := time.After(retryDelay)
	for {
		select {
		case pr := <-p.forwards:
			pr.finish(nil, ErrNotLeader)
		case <-changed:
			return true
		case <-retry:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

func (p *proposer) send(ctx context.Context, batch []*proposal, leading bool) ([]fsm.Result, error) {
	var cmds []fsm.Command
	for _, pr := range batch {
		cmds = append(cmds, pr.cmds...)
	}
	var results []fsm.Result
	var err error
	if leading {
		results, err = p.route.apply(cmds)
	} else {
		results, err = p.route.forward(ctx, cmds)
	}
	if err == nil && len(results) != len(cmds) {
		return nil, fmt.Errorf("%w: %d results for %d commands", ErrUnknownOutcome, len(results), len(cmds))
	}
	return results, err
}

// drain ends everything that waits once no batch is formed any more.
func (p *proposer) drain() {
	for {
		select {
		case pr := <-p.queue:
			pr.finish(nil, ErrClosed)
		case pr := <-p.forwards:
			pr.finish(nil, ErrClosed)
		default:
			return
		}
	}
}

// claim marks the proposals of a batch as sent and drops the abandoned ones. A
// node that does not lead refuses what another one forwarded to it.
func claim(batch []*proposal, leading bool) []*proposal {
	var sending []*proposal
	for _, pr := range batch {
		if pr.forwarded && !leading {
			pr.finish(nil, ErrNotLeader)
			continue
		}
		if !pr.state.CompareAndSwap(proposalWaiting, proposalSent) {
			pr.leave()
			continue
		}
		sending = append(sending, pr)
	}
	return sending
}

// release takes back a batch that was definitely not done. A proposal whose
// caller was told 'unknown' meanwhile is dropped: it must not happen later.
func release(batch []*proposal) []*proposal {
	var waiting []*proposal
	for _, pr := range batch {
		if !pr.state.CompareAndSwap(proposalSent, proposalWaiting) {
			pr.leave()
			continue
		}
		waiting = append(waiting, pr)
	}
	return waiting
}

// refusedBy returns which commands an error refuses because there is no room, nil for an
// error that is about none of them.
func refusedBy(err error) func(fsm.Command) bool {
	if memory := new(memoryRefusal); errors.As(err, &memory) {
		return memory.grows
	}
	for _, full := range []error{ErrDiskFull, ErrMemoryFull, ErrDataLimit} {
		if errors.Is(err, full) {
			return fillsDisk
		}
	}
	return nil
}

// refuse ends those proposals of a batch that was not done which hold what is
// refused, and returns the others, to be sent again. Where there are no others, or what
// was refused holds nothing of the kind, deletes for which there is no room either, all
// end: to try again, again and again, would help nobody who waits.
//
// The leader's words say that memory has no room, not for which puts: those that make
// no data longer still have some. So a batch that was forwarded is taken apart.
func (p *proposer) refuse(ctx context.Context, batch []*proposal, refused func(fsm.Command) bool, err error, leading bool) []*proposal {
	apart := !leading && len(batch) > 1 && (errors.Is(err, ErrMemoryFull) || errors.Is(err, ErrDataLimit))
	var refusedOnes, others []*proposal
	for _, pr := range batch {
		if slices.ContainsFunc(pr.cmds, refused) {
			refusedOnes = append(refusedOnes, pr)
		} else {
			others = append(others, pr)
		}
	}
	switch {
	case len(refusedOnes) == 0:
		finishAll(others, err)
		return nil
	case !apart:
		finishAll(refusedOnes, err)
		return others
	}
	if len(others) > 0 { // first: deletes make room
		p.deliver(ctx, others)
	}
	p.deliverEach(ctx, refusedOnes)
	return nil
}

// deliverEach delivers each proposal as a batch of its own, and returns once all have
// ended: several at a time, so that what comes meanwhile does not wait for as many round
// trips.
func (p *proposer) deliverEach(ctx context.Context, all []*proposal) {
	var delivering sync.WaitGroup
	slots := make(chan struct{}, maxApart)
	for _, pr := range all {
		slots <- struct{}{}
		delivering.Go(func() {
			defer func() { <-slots }()
			p.deliver(ctx, []*proposal{pr})
		})
	}
	delivering.Wait()
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
