package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/cluster/leadership"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Bounds of one batch and of the queue before it.
const (
	// maxBatchBytes is where a batch is full; one larger proposal still goes alone.
	maxBatchBytes = 1 << 20
	// maxBatchRequests is the maximum number of requests of one batch.
	maxBatchRequests = 1024
	// maxPendingProposals bounds how many proposals wait.
	maxPendingProposals = 16 << 10
	// maxForwards is the number of batches that may be under way to the leader at a time.
	maxForwards = 4
	// requestOverhead is what a request costs beside its bytes in the byte budget.
	requestOverhead = 64
	// slowForward is how long a batch waits for the one that was forwarded before it. A
	// leader that is quick gets fewer and larger batches so, and one batch that hangs
	// holds up the others no longer than that.
	slowForward = 100 * time.Millisecond
	// minHang is the least time after which a leader that answers no forwarded batch counts
	// as hanging.
	minHang = 2 * time.Second
	// hangElections is the number of election timeouts that it has at least: a leader that
	// is gone has a successor by then, which is served what waits.
	hangElections = 4
)

// proposer packs all requests that wait into one batch and hands it on: to the
// log where this node leads, else to the leader. One batch is in the log's hands at a
// time; the sync in progress forms the next one, so no timer is needed. To the leader
// the next one goes when the one before it has ended, or takes longer than
// slowForward: up to maxForwards are under way.
//
// Each proposal ends in exactly one of three ways: its responses, an error that
// says it was not done, or ErrUnknownOutcome. A batch that was definitely not
// done is tried again until its proposals' contexts end; one whose outcome is
// unknown never is. What has not left this node is not done. What is refused because
// there is no room, on disk or in memory, ends at once: others must not wait behind it.
//
//	state      what happened                        what follows
//	waiting    its batch leaves, or goes to raft    sent
//	waiting    its caller's time ends               not done
//	waiting    the leader hangs                     not done
//	waiting    another leader                       its batch goes there
//	sent       responses, or an error of this kind  its caller gets them
//	sent       certainly not done                   waiting
//	sent       its caller's time ends, no answer    unknown
//	either     this node stops                      as if its caller's time ended
type proposer struct {
	queue    chan *proposal // of this node's own callers
	forwards chan *proposal // of other nodes; refused at once while this node does not lead
	// refused is how the last attempt to send a batch failed; nil once one was sent.
	refused  atomic.Pointer[error]
	pending  atomic.Int64 // bytes of proposals queued or under way
	free     sync.Pool    // of *proposal whose result was received
	maxBytes int64
	leaders  *leadership.Tracker
	route    batchRoute
	applying chan struct{} // a lock with one slot, held while a batch is in the log's hands
	slots    chan struct{} // one is held by each batch that is under way to the leader
	newest   forwarding    // belongs to run
	// hang is the time after which a leader that answers no forwarded batch counts as hanging.
	hang    time.Duration
	ended   chan struct{} // closed when run hands on nothing any more
	stopped chan struct{} // closed by stop
}

// forwarding is a batch on its way to the leader.
type forwarding struct {
	began     time.Time
	delivered <-chan struct{} // closed when it has ended
}

// batchRoute carries a batch where it belongs. Both methods return as many responses as
// there are requests, one after the other, each with its length before it, or an error
// matching ErrUnknownOutcome, or any other error for a batch that was definitely not done.
type batchRoute interface {
	// leading says whether this node is the leader and has begun its term.
	leading() bool
	// supports returns nil if this node, as the leader, may write requests of that
	// command version. Otherwise it is an error of class kv.ErrUnsupported, or one of class
	// kv.ErrTimeout where that is not known yet.
	supports(version byte) error
	// apply puts a batch into the log as one entry.
	apply(b batch) ([]byte, error)
	// forward sends a batch to the leader, if ready, which it asks at the last moment,
	// returns true. If ready returns false, or is not asked, it was not sent.
	forward(ctx context.Context, b batch, ready func() bool) ([]byte, error)
}

func newProposer(maxBytes int64, hang time.Duration, leaders *leadership.Tracker, route batchRoute) *proposer {
	return &proposer{
		queue: make(chan *proposal, maxPendingProposals), forwards: make(chan *proposal, maxPendingProposals),
		applying: make(chan struct{}, 1), slots: make(chan struct{}, maxForwards),
		maxBytes: maxBytes, hang: hang, leaders: leaders, route: route, ended: make(chan struct{}), stopped: make(chan struct{}),
	}
}

// propose waits until requests are committed and returns the responses to them, one
// after the other, each with its length before it. They are stored next to each other in
// one log entry, but are not one request. With leaderOnly, another node has sent them, or
// they are the leader's own: they are refused with ErrNotLeader unless this node leads.
func (p *proposer) propose(ctx context.Context, requests wire.Requests, leaderOnly bool) ([]byte, error) {
	if leaderOnly && !p.route.leading() {
		return nil, kv.ErrNotLeader
	}
	bytes := int64(len(requests.Data)) + int64(requests.Count)*requestOverhead
	if p.pending.Add(bytes) > p.maxBytes {
		p.pending.Add(-bytes)
		return nil, fmt.Errorf("%w: over %d bytes of writes are under way", kv.ErrOverloaded, p.maxBytes)
	}
	pr := p.proposal(requests, bytes, leaderOnly)
	if err := p.awaitSupport(ctx, requests.Version); err != nil {
		pr.leave()
		return nil, err
	}
	queue := p.queue
	if leaderOnly {
		queue = p.forwards
	}
	select {
	case queue <- pr:
	default:
		pr.leave()
		return nil, fmt.Errorf("%w: %d writes are waiting", kv.ErrOverloaded, maxPendingProposals)
	}
	select {
	case r := <-pr.done: // nobody else has it any more
		p.free.Put(pr)
		return r.responses, r.err
	case <-ctx.Done():
		return p.abandon(pr)
	case <-p.stopped:
		return pr.abandon(kv.ErrClosed, "this node stops")
	case <-p.ended: // what is queued now stays there
		pr.leave()
	}
	select {
	case r := <-pr.done:
		return r.responses, r.err
	default:
		return nil, kv.ErrClosed
	}
}

// proposal returns one for requests, with the memory of one that has ended if there is one.
func (p *proposer) proposal(requests wire.Requests, bytes int64, leaderOnly bool) *proposal {
	pr, ok := p.free.Get().(*proposal)
	if !ok {
		pr = &proposal{held: &p.pending, done: make(chan proposalResult, 1)}
	}
	pr.requests, pr.bytes, pr.leaderOnly = requests, bytes, leaderOnly
	pr.left.Store(false)
	pr.state.Store(proposalWaiting)
	return pr
}

// stop has all who wait be told at once that this node stops. It is called once; run goes
// on until its context ends.
func (p *proposer) stop() { close(p.stopped) }

// abandon ends a proposal whose caller waits no longer.
func (p *proposer) abandon(pr *proposal) ([]byte, error) {
	var last error // how the last attempt failed; first, as it is forgotten when a batch is sent
	if refused := p.refused.Load(); refused != nil {
		last = *refused
	}
	return pr.abandon(p.leaders.OutOfTime(last), "no answer came within the request's time")
}

// run hands on batches until ctx ends; what then still waits ends with ErrClosed.
func (p *proposer) run(ctx context.Context) {
	var delivering sync.WaitGroup
	defer close(p.ended)
	defer delivering.Wait()
	defer p.drain()
	var held *proposal // taken from the queue, but too large for the batch before
	for {
		first := held
		if held = nil; first == nil {
			select {
			case first = <-p.queue:
			case first = <-p.forwards:
			case <-ctx.Done():
				return
			}
		}
		leading, ok := p.turn(ctx, first)
		if !ok {
			continue
		}
		var batch []*proposal
		batch, held = p.gather(first)
		delivered := make(chan struct{})
		delivering.Go(func() {
			defer close(delivered)
			p.deliver(ctx, batch)
			if !leading {
				<-p.slots
			}
		})
		if leading {
			p.whileLeading(delivered)
		} else {
			p.newest = forwarding{time.Now(), delivered}
		}
	}
}

// whileLeading waits for a batch to be delivered, or until this node does not lead: then
// the batch goes to the leader, and what comes after it does not wait for that.
func (p *proposer) whileLeading(delivered <-chan struct{}) {
	for {
		_, changed := p.leaders.Current()
		if !p.route.leading() {
			return
		}
		select {
		case <-delivered:
			return
		case <-changed:
		}
	}
}

// turn waits until the batch that begins with first may be handed on: at once where this
// node leads, else with one of the slots, which the caller gives back. It ends
// first and returns false where that must not be: what another node has forwarded is
// refused by a node that does not lead.
func (p *proposer) turn(ctx context.Context, first *proposal) (leading, ok bool) {
	for {
		_, changed := p.leaders.Current()
		switch {
		case ctx.Err() != nil:
			first.finish(nil, kv.ErrClosed)
			return false, false
		case p.route.leading():
			return true, true
		case first.leaderOnly:
			first.finish(nil, kv.ErrNotLeader)
			return false, false
		}
		if !p.awaitNewest(ctx, changed) {
			continue
		}
		slot, hung := p.awaitSlot(ctx, changed)
		if slot {
			return false, true
		}
		if hung {
			err := fmt.Errorf("%w: %s has answered no write for %v", kv.ErrTimeout, p.leaderName(), p.hang)
			first.finish(nil, err)
			p.refuseQueued(ctx, changed, err)
			return false, false
		}
	}
}

// awaitNewest waits until the newest batch that was forwarded has ended, or takes long,
// and returns true, or false when leadership changes or ctx ends.
func (p *proposer) awaitNewest(ctx context.Context, changed <-chan struct{}) bool {
	if p.newest.delivered == nil {
		return true
	}
	slow := time.After(time.Until(p.newest.began.Add(slowForward)))
	for {
		select {
		case <-p.newest.delivered:
			return true
		case <-slow:
			return true
		case pr := <-p.forwards:
			pr.finish(nil, kv.ErrNotLeader)
		case <-changed:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// awaitSlot waits for a slot, until leadership changes, or for as long as hang. It says
// that the leader hangs if by then no batch that was sent has ended.
func (p *proposer) awaitSlot(ctx context.Context, changed <-chan struct{}) (slot, hung bool) {
	select {
	case p.slots <- struct{}{}:
		return true, false
	default:
	}
	hang := time.After(p.hang)
	for {
		select {
		case p.slots <- struct{}{}:
			return true, false
		case pr := <-p.forwards:
			pr.finish(nil, kv.ErrNotLeader)
		case <-hang:
			return false, p.refused.Load() == nil
		case <-changed:
			return false, false
		case <-ctx.Done():
			return false, false
		}
	}
}

// refuseQueued ends what waits, and what comes, with err, until a forwarded batch ends
// or leadership changes.
func (p *proposer) refuseQueued(ctx context.Context, changed <-chan struct{}, err error) {
	for {
		select {
		case p.slots <- struct{}{}:
			<-p.slots
			return
		case pr := <-p.queue:
			pr.finish(nil, err)
		case pr := <-p.forwards:
			pr.finish(nil, kv.ErrNotLeader)
		case <-changed:
			return
		case <-ctx.Done():
			return
		}
	}
}

// leaderName returns the name of the leader, for an error.
func (p *proposer) leaderName() string {
	state, _ := p.leaders.Current()
	return nameOf(state.Leader)
}

// gather takes what waits, up to the bounds of a batch. The proposal that did
// not fit any more is returned beside it.
func (p *proposer) gather(first *proposal) (batch []*proposal, held *proposal) {
	batch = append(make([]*proposal, 0, 1+min(len(p.queue)+len(p.forwards), maxBatchRequests)), first)
	bytes, count := first.bytes, first.requests.Count
	for {
		var next *proposal
		select {
		case next = <-p.queue:
		case next = <-p.forwards:
		default:
			return batch, nil
		}
		if bytes+next.bytes > maxBatchBytes || count+next.requests.Count > maxBatchRequests {
			return batch, next
		}
		batch = append(batch, next)
		bytes, count = bytes+next.bytes, count+next.requests.Count
	}
}

// deliver tries a batch until it is done, its outcome is unknown, or nobody waits for it.
func (p *proposer) deliver(ctx context.Context, batch []*proposal) {
	for {
		_, changed := p.leaders.Current()
		leading := p.route.leading()
		sending := live(batch, leading)
		if len(sending) == 0 {
			return
		}
		responses, err := p.send(ctx, sending, leading)
		if err == nil {
			complete(sending, responses)
			return
		}
		if invalid := new(kv.ValidationError); errors.Is(err, kv.ErrUnknownOutcome) || errors.As(err, &invalid) {
			finishAll(sending, err)
			return
		}
		batch = release(sending)
		if errors.Is(err, errAbandoned) {
			continue
		}
		if refused := refusedBy(err, sending); refused != nil {
			if batch = p.refuse(ctx, sending, batch, refused, err, leading); len(batch) == 0 {
				return
			}
			continue
		}
		p.refused.Store(&err)
		if !p.pause(ctx, changed) {
			finishAll(batch, kv.ErrClosed)
			return
		}
	}
}

// pause waits until leadership changes or a little time has passed, and reports
// false when ctx ends. What other nodes forward meanwhile is refused at once:
// its senders must not wait behind a batch that waits for a leader.
func (p *proposer) pause(ctx context.Context, changed <-chan struct{}) bool {
	retry := time.After(leadership.RetryDelay)
	for {
		select {
		case pr := <-p.forwards:
			pr.finish(nil, kv.ErrNotLeader)
		case <-changed:
			return true
		case <-retry:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// errAbandoned is returned by send where a proposal was abandoned just before the batch
// was to be sent.
var errAbandoned = errors.New("a proposal of the batch was abandoned")

// send hands a batch to the log or to the leader. Its proposals are sent from the moment
// on at which that is under way.
func (p *proposer) send(ctx context.Context, batch []*proposal, leading bool) ([]byte, error) {
	var abandoned atomic.Bool
	ready := func() bool {
		if !take(batch) {
			abandoned.Store(true)
			return false
		}
		p.refused.Store(nil)
		return true
	}
	var responses []byte
	var err error
	if leading {
		responses, err = p.apply(ctx, batchOf(batch), ready)
	} else {
		responses, err = p.route.forward(ctx, batchOf(batch), ready)
	}
	if err != nil && abandoned.Load() {
		return nil, errAbandoned
	}
	return responses, err
}

// apply hands a batch to the log, one at a time, if ready returns true then.
func (p *proposer) apply(ctx context.Context, b batch, ready func() bool) ([]byte, error) {
	select {
	case p.applying <- struct{}{}:
		defer func() { <-p.applying }()
	case <-ctx.Done():
		return nil, kv.ErrClosed
	}
	if !ready() {
		return nil, errAbandoned
	}
	return p.route.apply(b)
}

// drain ends everything that waits once no batch is formed any more.
func (p *proposer) drain() {
	for {
		select {
		case pr := <-p.queue:
			pr.finish(nil, kv.ErrClosed)
		case pr := <-p.forwards:
			pr.finish(nil, kv.ErrClosed)
		default:
			return
		}
	}
}
