package propose

import (
	"context"
	"errors"
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

// awaitSupport returns nil if this node does not lead, or may write requests of that
// command version as the leader. Where that is not known yet, it waits: nothing else
// has to wait behind such requests.
func (p *Proposer) awaitSupport(ctx context.Context, version byte) error {
	for p.route.Leading() {
		err := p.route.Supports(version)
		if err == nil || errors.Is(err, kv.ErrUnsupported) {
			return err
		}
		select {
		case <-time.After(leadership.RetryDelay):
		case <-ctx.Done():
			return err
		case <-p.stopped:
			return kv.ErrClosed
		case <-p.ended:
			return kv.ErrClosed
		}
	}
	return nil
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
