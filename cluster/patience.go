package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/kvorum/kvorum/kv"
)

const (
	// leaderCallTimeout bounds a call to the leader.
	leaderCallTimeout = 5 * time.Second
	// handlerTimeout bounds what a peer asks of this node where the peer set no time.
	handlerTimeout = 5 * time.Second
	// maxHandlerTimeout bounds it where the peer did: more than any request is given.
	maxHandlerTimeout = time.Minute
	// leaderPatience is how long a change of the membership waits for a leader. It
	// stays under 5 s, as a write does, while the change itself may take longer.
	leaderPatience = 4 * time.Second
	// handoverPause is how long a leader that is to leave waits after the first attempt
	// to hand leadership over that has failed; after each further one twice as long.
	// Each attempt may hold writes back for as long as a successor has to take over.
	handoverPause = 2 * time.Second
)

// handlerContext bounds what a peer asks of this node by nine tenths of the time
// that the peer itself has for it, which travels with the request: what could not
// be finished must still be answered in time.
func handlerContext(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := handlerTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(time.Until(deadline)*9/10, maxHandlerTimeout)
	}
	return context.WithTimeout(ctx, limit)
}

// behindError returns the error of a read whose wait for this node's state
// machine ended with err. That its time has passed is what ErrBehind says.
func behindError(ctx context.Context, what string, at, wants uint64, err error) error {
	behind := fmt.Errorf("%w: at %s %d, wants %d", kv.ErrBehind, what, at, wants)
	if ctx.Err() != nil {
		return behind
	}
	return fmt.Errorf("%w: %w", behind, err)
}
