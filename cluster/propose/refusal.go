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

// maxApart is the maximum number of proposals of a batch that is taken apart that are
// sent at a time.
const maxApart = 32

// ErrAsking is the error of a leader that still asks its members which commands they
// understand, for a request that depends on the answer. It is of class kv.ErrTimeout: the
// request was not done.
var ErrAsking = fmt.Errorf("%w: the members are being asked which commands they understand", kv.ErrTimeout)

// refusedBy returns which proposals of a batch an error refuses: those that need room
// which is not there, or a newer command version. It is nil for an error that is about
// none of them.
func refusedBy(err error, batch []*proposal) func(wire.Requests) bool {
	var partial PartialRefusal
	if errors.As(err, &partial) {
		return partial.Grows
	}
	if errors.Is(err, kv.ErrUnsupported) {
		// The leader's words do not say which version it may write. It is at least that
		// of those which need the newest, and the others learn about theirs in turn.
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

// setAside takes the proposals of a batch that need its newest version out of it, as the
// leader does not know yet whether it may write that, and returns the others, to be sent at
// once. Those of this node's own callers wait outside of any batch. One of another node
// ends: its sender takes it apart.
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

// queueAgain queues proposals that were set aside again: after a pause, and, where this node
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

// refuse ends those proposals of a batch that was sent and not done which are refused,
// and returns the others, to be sent again. Batch is what is left of sent: the callers
// of some may wait no longer. Where nothing that was sent is of the kind, deletes for which
// there is no room either, all end: to try again, again and again, would help nobody who waits.
//
// The leader's words say that memory has no room, not for which puts: those that make
// no data longer still have some. So a batch that was forwarded is taken apart.
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
	apart := !leading && len(batch) > 1 && (errors.Is(err, kv.ErrMemoryFull) || errors.Is(err, kv.ErrDataLimit))
	if !apart {
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
