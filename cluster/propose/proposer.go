package propose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Bounds of one batch and of the queue before it.
const (
	// MaxBatchBytes is the maximum number of bytes of a batch of several proposals, with
	// RequestOverhead. A larger proposal is a batch of its own.
	MaxBatchBytes = 1 << 20
	// maxBatchRequests is the maximum number of requests of one batch.
	maxBatchRequests = 1024
	// maxPendingProposals is the maximum number of proposals that wait.
	maxPendingProposals = 16 << 10
	// RequestOverhead is the number of bytes that a request counts for beside its own.
	RequestOverhead = 64
	// MaxForwards is the maximum number of batches that are under way to the leader at a
	// time.
	MaxForwards = 4
	// SlowForward is how long a batch waits for the one that was forwarded before it. A
	// leader that is quick gets fewer and larger batches so, and one batch that hangs
	// holds up the others no longer than that.
	SlowForward = 100 * time.Millisecond
	// MinHang is the minimum time after which a leader that answers no forwarded batch
	// counts as hanging.
	MinHang = 2 * time.Second
	// hangElections is the minimum of the same in election timeouts: a leader that is gone
	// has a successor by then, which is sent what waits.
	hangElections = 4
)

// Proposer packs the requests that wait into batches and hands them on. The package's
// comment has the states of a proposal. All methods are safe for concurrent use.
type Proposer struct {
	queue    chan *proposal // of this node's own callers
	forwards chan *proposal // of other nodes; refused at once while this node does not lead
	// refused is how the last attempt to send any batch failed, for the callers of what has
	// not been tried itself; nil once one was sent.
	refused  atomic.Pointer[error]
	attempts *attempts
	pending  atomic.Int64 // bytes of proposals queued or under way
	free     sync.Pool    // of *proposal whose result was received
	maxBytes int64
	leaders  *leadership.Tracker
	route    Route
	applying chan struct{} // a lock: held while a batch is in the log's hands
	slots    chan struct{} // one is held by each batch that is under way to the leader
	newest   forwarding    // belongs to Run
	// aside counts the goroutines with proposals that were set aside; see setAside.
	aside sync.WaitGroup
	// hang is the time after which a leader that answers no forwarded batch counts as hanging.
	hang    time.Duration
	ended   chan struct{} // closed when Run hands on nothing any more
	stopped chan struct{} // closed by Stop
}

// forwarding is a batch on its way to the leader.
type forwarding struct {
	began     time.Time
	delivered <-chan struct{} // closed when it has ended
}

// New returns a proposer that hands its batches to route, once Run is called. Its proposals
// have at most maxBytes bytes together, with RequestOverhead for each request. election is
// raft's election timeout, and leaders the same knowledge that route goes by.
func New(maxBytes int64, election time.Duration, leaders *leadership.Tracker, route Route) *Proposer {
	return &Proposer{
		queue: make(chan *proposal, maxPendingProposals), forwards: make(chan *proposal, maxPendingProposals),
		maxBytes: maxBytes, leaders: leaders, route: route, hang: max(MinHang, hangElections*election),
		attempts: newAttempts(), applying: make(chan struct{}, 1), slots: make(chan struct{}, MaxForwards),
		ended: make(chan struct{}), stopped: make(chan struct{}),
	}
}

// Propose waits until requests are committed and returns the responses to them, one
// after the other, each with its length before it. They are stored next to each other in
// one log entry, but are not one request. Their Data is the caller's again when the error is
// nil; otherwise the proposer may keep it, and it must not be modified. With leaderOnly, another node has sent them, or
// they are the leader's own: kv.ErrNotLeader refuses them unless this node leads.
//
// An error of class kv.ErrUnknownOutcome says that they were done once or not at all; any
// other error says that they were not done. What ctx's end means depends on the state of the
// proposal: see the package's comment. A *kv.ValidationError refuses a request that is too
// large, and one of the leader's own without leaderOnly. kv.ErrOverloaded is returned at once where too much
// waits.
func (p *Proposer) Propose(ctx context.Context, requests wire.Requests, leaderOnly bool) ([]byte, error) {
	if requests.Internal && !leaderOnly { // it would be sent on to a leader of another term
		return nil, &kv.ValidationError{Field: "requests", Reason: "have one that only the leader itself may write"}
	}
	if leaderOnly && !p.route.Leading() {
		return nil, kv.ErrNotLeader
	}
	bytes := int64(len(requests.Data)) + int64(requests.Count)*RequestOverhead
	if bytes > p.maxBytes { // it would be refused again, however often it is sent
		return nil, &kv.ValidationError{
			Field: "request", Size: bytes, Limit: p.maxBytes,
			Reason: fmt.Sprintf("takes %d bytes, and all writes together may take %d", bytes, p.maxBytes),
		}
	}
	if p.pending.Add(bytes) > p.maxBytes {
		p.pending.Add(-bytes)
		return nil, fmt.Errorf("%w: over %d bytes of writes are under way", kv.ErrOverloaded, p.maxBytes)
	}
	if err := p.refusedAtOnce(requests.Version, leaderOnly); err != nil {
		p.pending.Add(-bytes)
		return nil, err
	}
	pr := p.proposal(requests, bytes, leaderOnly)
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

// refusedAtOnce returns why this node, if it leads, would refuse requests of that version.
// While that is not known yet, only those of another node are refused: its sender
// takes their batch apart, and this node's own are set aside.
func (p *Proposer) refusedAtOnce(version byte, leaderOnly bool) error {
	if !p.route.Leading() {
		return nil
	}
	err := p.route.Supports(version)
	if errors.Is(err, ErrAsking) && !leaderOnly {
		return nil
	}
	return err
}

// proposal returns one for requests, with the memory of one that has ended if there is one.
func (p *Proposer) proposal(requests wire.Requests, bytes int64, leaderOnly bool) *proposal {
	pr, ok := p.free.Get().(*proposal)
	if !ok {
		pr = &proposal{held: &p.pending, done: make(chan proposalResult, 1)}
	}
	pr.requests, pr.bytes, pr.leaderOnly = requests, bytes, leaderOnly
	pr.left.Store(false)
	pr.failed.Store(nil)
	pr.state.Store(proposalWaiting)
	return pr
}

// Queued is what a proposer has to do.
type Queued struct {
	PendingBytes int64 // of proposals that wait or are under way, with RequestOverhead
	Proposals    int   // number of those that wait, of this node's own callers
	Forwarded    int   // number of those that wait, of other nodes
}

// Queued returns what waits.
func (p *Proposer) Queued() Queued {
	return Queued{PendingBytes: p.pending.Load(), Proposals: len(p.queue), Forwarded: len(p.forwards)}
}

// Stop tells all callers that wait, at once, that this node stops: what was sent is unknown,
// and what was not is not done. It is called once. Run continues until its context ends.
func (p *Proposer) Stop() { close(p.stopped) }

// abandon ends a proposal whose caller waits no longer.
func (p *Proposer) abandon(pr *proposal) ([]byte, error) {
	var last error // how the last attempt failed; first, as it is forgotten when a batch is sent
	if refused := cmp.Or(pr.failed.Load(), p.refused.Load()); refused != nil {
		last = *refused
	}
	return pr.abandon(p.leaders.OutOfTime(last), "no answer came within the request's time")
}

// Run hands on batches until ctx ends, and returns when all have been delivered; what then
// still waits ends with kv.ErrClosed. It is called once.
func (p *Proposer) Run(ctx context.Context) {
	var delivering sync.WaitGroup
	defer close(p.ended)
	defer p.aside.Wait()
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
		p.letQueue()
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
func (p *Proposer) whileLeading(delivered <-chan struct{}) {
	for {
		_, changed := p.leaders.Current()
		if !p.route.Leading() {
			return
		}
		select {
		case <-delivered:
			return
		case <-changed:
		}
	}
}

// letQueue lets goroutines run that are about to queue a proposal, as long as that brings
// proposals. The end of a batch wakes its callers, and Run before most of them: without
// this, the next batch would begin without the writes that they make next, and a batch
// costs all nodes far more than a write in it. Where nobody is about to run, nothing waits.
func (p *Proposer) letQueue() {
	for before := -1; before < len(p.queue)+len(p.forwards); {
		before = len(p.queue) + len(p.forwards)
		runtime.Gosched()
	}
}

// gather takes what waits, up to the bounds of a batch. The proposal that did
// not fit any more is returned beside it.
func (p *Proposer) gather(first *proposal) (batch []*proposal, held *proposal) {
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
		if bytes+next.bytes > MaxBatchBytes || count+next.requests.Count > maxBatchRequests {
			return batch, next
		}
		batch = append(batch, next)
		bytes, count = bytes+next.bytes, count+next.requests.Count
	}
}

// drain ends everything that waits once no batch is formed any more.
func (p *Proposer) drain() {
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
