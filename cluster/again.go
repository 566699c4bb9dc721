package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/kv"
)

// again proposes a request with an idempotency key once more, whose outcome is unknown: until
// there is an answer, or ctx ends. Each time it is a proposal of its own. The state machine
// carries out the first one that is applied, and answers all others with its result.
//
// From now on only an answer tells the outcome: a proposal that was not done says nothing of
// those before it. So all other errors are unknown, with the reason of the first one. A refusal
// that is not kept, as kv.ErrOverloaded, says no more: an earlier proposal may still be on its
// way to the same leader.
//
// An answer is kept for the window only. So again ends when half of it has passed since the first
// proposal: one that is applied behind the window would be carried out as a new request.
func again(ctx context.Context, r *replica.Replica, sent sentRequest, unknown error) (kv.Response, error) {
	ctx, cancel := context.WithDeadline(ctx, sent.began.Add(sent.window/2))
	defer cancel()
	for {
		select {
		case <-time.After(leadership.RetryDelay):
		case <-ctx.Done():
			return kv.Response{}, fmt.Errorf("%w; it was sent again until the time ended", unknown)
		case <-r.Done():
			return kv.Response{}, unknown
		}
		answer, err := r.Propose(ctx, sent.Requests)
		if err == nil {
			response, err := sent.response(answer)
			if !errors.Is(err, kv.ErrOverloaded) && !errors.Is(err, kv.ErrUnknownOutcome) {
				return response, err
			}
		} else if !worthAnother(err) {
			return kv.Response{}, fmt.Errorf("%w; sent again: %w", unknown, err)
		}
	}
}

// worthAnother reports whether a proposal that has failed with err may have an answer later.
func worthAnother(err error) bool {
	class := kv.Classify(err)
	switch class {
	case nil, kv.ErrClosed, kv.ErrRemoved, kv.ErrNotJoined:
		return false
	}
	return class.Retryable || class == kv.ErrUnknownOutcome
}
