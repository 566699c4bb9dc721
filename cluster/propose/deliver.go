package propose

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/kv"
)

// deliver sends a batch until it is done, its outcome is unknown, or no caller waits for it.
func (p *Proposer) deliver(ctx context.Context, batch []*proposal) {
	for {
		_, changed := p.leaders.Current()
		leading := p.route.Leading()
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
		if errors.Is(err, ErrAsking) {
			if batch = p.setAside(ctx, batch, batchOf(sending).Facts.Version, err); len(batch) == 0 {
				return
			}
			continue
		}
		if refused := refusedBy(err, sending); refused != nil {
			if batch = p.refuse(ctx, sending, batch, refused, err, leading); len(batch) == 0 {
				return
			}
			continue
		}
		noteFailure(batch, err)
		p.refused.Store(&err)
		if !p.pause(ctx, changed) {
			finishAll(batch, kv.ErrClosed)
			return
		}
	}
}

// pause waits until leadership changes or a little time has passed, and returns
// false if ctx ends. Batches that other nodes forward meanwhile are refused at once:
// their senders must not wait for a batch that waits for a leader.
func (p *Proposer) pause(ctx context.Context, changed <-chan struct{}) bool {
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

// errAbandoned is returned by send if a proposal was abandoned just before the batch
// was to be sent.
var errAbandoned = errors.New("a proposal of the batch was abandoned")

// send passes a batch to the log or to the leader. Its proposals count as sent once that has
// begun.
func (p *Proposer) send(ctx context.Context, batch []*proposal, leading bool) ([]byte, error) {
	var abandoned, sent atomic.Bool
	ready := func() bool {
		if !take(batch) {
			abandoned.Store(true)
			return false
		}
		p.refused.Store(nil)
		sent.Store(true)
		return true
	}
	var responses []byte
	var err error
	if leading {
		responses, err = p.apply(ctx, batchOf(batch), ready)
	} else {
		begun := p.attempts.begin()
		responses, err = p.route.Forward(ctx, batchOf(batch), ready)
		p.attempts.end(begun, sent.Load() && !errors.Is(err, kv.ErrUnknownOutcome))
	}
	if err != nil && abandoned.Load() {
		return nil, errAbandoned
	}
	return responses, err
}

// apply passes a batch to the log, one at a time, if ready returns true then.
func (p *Proposer) apply(ctx context.Context, b Batch, ready func() bool) ([]byte, error) {
	select {
	case p.applying <- struct{}{}:
		defer func() { <-p.applying }()
	case <-ctx.Done():
		return nil, kv.ErrClosed
	}
	if !ready() {
		return nil, errAbandoned
	}
	return p.route.Apply(b)
}
