package propose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// maxApart is the maximum number of proposals that are sent at a time when a batch is taken
// apart.
const maxApart = 32

// ErrAsking is the error of a leader for a request that depends on which commands the members
// understand, while the leader still asks them. It is of class kv.ErrTimeout: the request was
// not done.
var ErrAsking = fmt.Errorf("%w: the members are being asked which commands they understand", kv.ErrTimeout)

// refusedBy returns which proposals of a batch an error refuses: those that need room
// that does not exist, or a newer command version. It returns nil for an error about other
// things.
func refusedBy(err error, batch []*proposal) func(wire.Requests) bool {
	var partial PartialRefusal
	if errors.As(err, &partial) {
		return partial.Grows
	}
	if errors.Is(err, kv.ErrUnsupported) {
		// The leader's error does not say which version it may write. It refuses at least the
		// newest one of the batch. The others are sent again, and may be refused then.
		newest := batchOf(batch).Facts.Version
		return func(r wire.Requests) bool { return r.Version == newest }
	}
	for _, full := range []error{kv.ErrDiskFull, kv.ErrMemoryFull, kv.ErrDataLimit} {
		if errors.Is(err, full) {
			return wire.Requests.NeedRoom
		}
	}
	return nil
}

// setAside takes the proposals that need the newest version out of a batch, because the
// leader does not know yet whether it may write that version. It returns the others, which are
// sent at once. Proposals of this node's own callers wait outside of any batch. A proposal of
// another node ends: its sender takes it apart.
func (p *Proposer) setAside(ctx context.Context, batch []*proposal, newest byte, err error) (others []*proposal) {
	var aside []*proposal
	for _, pr := range batch {
		switch {
		case pr.requests.Version < newest:
			others = append(others, pr)
		case pr.leaderOnly:
			pr.finish(nil, err)
		default:
			aside = append(aside, pr)
		}
	}
	if len(aside) > 0 {
		noteFailure(aside, err)
		p.aside.Go(func() { p.queueAgain(ctx, aside, newest) })
	}
	return others
}

// queueAgain queues proposals that were set aside: after a pause, and, if this node
// leads, once it knows whether it may write requests of that version.
func (p *Proposer) queueAgain(ctx context.Context, aside []*proposal, version byte) {
	for asking := true; asking; asking = p.route.Leading() && errors.Is(p.route.Supports(version), ErrAsking) {
		select {
		case <-time.After(leadership.RetryDelay):
		case <-ctx.Done():
			finishAll(aside, kv.ErrClosed)
			return
		}
	}
	for i, pr := range aside {
		select {
		case p.queue <- pr:
		case <-ctx.Done():
			finishAll(aside[i:], kv.ErrClosed)
			return
		}
	}
}

// refuse ends the proposals that are refused, of a batch that was sent and not done, and
// returns the others, which are sent again. batch is the part of sent whose callers still
// wait. If no proposal of sent is of the refused kind, there is no room for deletes either,
// and all proposals end: another attempt would have the same result.
//
// The leader's error says that memory has no room, and not for which puts: puts that make
// no data longer still have room. So a batch that was forwarded is taken apart. If the data is
// at its limit, the leader's own batch is too: some of its puts may fit. The appends of
// a batch are tried one by one too, after its puts: they may write much more than the batch has.
// So are requests with idempotency keys: one that was done needs no room to be answered again.
func (p *Proposer) refuse(ctx context.Context, sent, batch []*proposal, refused func(wire.Requests) bool, err error, leading bool) []*proposal {
	if !slices.ContainsFunc(sent, func(pr *proposal) bool { return refused(pr.requests) }) {
		finishAll(batch, err)
		return nil
	}
	var refusedOnes, others []*proposal
	for _, pr := range batch {
		if refused(pr.requests) {
			refusedOnes = append(refusedOnes, pr)
		} else {
			others = append(others, pr)
		}
	}
	unsaid := errors.Is(err, kv.ErrDataLimit) || !leading && errors.Is(err, kv.ErrMemoryFull)
	together := batchOf(sent).Facts.Appends > 0 && !errors.Is(err, kv.ErrUnsupported)
	apart := unsaid || together
	if !apart && !errors.Is(err, kv.ErrUnsupported) {
		repeatable, final := splitRepeatable(refusedOnes)
		finishAll(final, err)
		refusedOnes, apart = repeatable, len(repeatable) > 0
	}
	if len(sent) == 1 || !apart {
		finishAll(refusedOnes, err)
		return others
	}
	if len(others) > 0 { // first: deletes make room
		p.deliver(ctx, others)
	}
	if together && !unsaid {
		refusedOnes = p.deliverPuts(ctx, refusedOnes)
	}
	p.deliverEach(ctx, refusedOnes)
	return nil
}

// splitRepeatable returns the proposals whose requests all have idempotency keys, and the others.
func splitRepeatable(all []*proposal) (repeatable, others []*proposal) {
	for _, pr := range all {
		if pr.requests.Repeatable() {
			repeatable = append(repeatable, pr)
		} else {
			others = append(others, pr)
		}
	}
	return repeatable, others
}

// deliverPuts delivers the proposals without appends as one batch, and returns the others.
func (p *Proposer) deliverPuts(ctx context.Context, all []*proposal) (appends []*proposal) {
	var puts []*proposal
	for _, pr := range all {
		if pr.requests.Appends > 0 {
			appends = append(appends, pr)
		} else {
			puts = append(puts, pr)
		}
	}
	if len(puts) > 0 {
		p.deliver(ctx, puts)
	}
	return appends
}

// deliverEach delivers each proposal as a batch of its own, and returns once all have
// ended. It delivers several at a time: one after the other, they would delay later batches by
// a round trip each.
func (p *Proposer) deliverEach(ctx context.Context, all []*proposal) {
	var delivering sync.WaitGroup
	running := make(chan struct{}, maxApart)
	for _, pr := range all {
		running <- struct{}{}
		delivering.Go(func() {
			defer func() { <-running }()
			p.deliver(ctx, []*proposal{pr})
		})
	}
	delivering.Wait()
}
