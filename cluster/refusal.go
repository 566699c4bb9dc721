package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// maxApart is the maximum number of proposals of a batch that is taken apart that are
// sent at a time.
const maxApart = 32

// refusedBy returns which commands an error refuses because there is no room, nil for an
// error that is about none of them.
func refusedBy(err error) func(fsm.Command) bool {
	if memory := new(memoryRefusal); errors.As(err, &memory) {
		return memory.grows
	}
	for _, full := range []error{kv.ErrDiskFull, kv.ErrMemoryFull, kv.ErrDataLimit} {
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
	apart := !leading && len(batch) > 1 && (errors.Is(err, kv.ErrMemoryFull) || errors.Is(err, kv.ErrDataLimit))
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
