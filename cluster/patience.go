package cluster

import (
	"context"
	"errors"
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

// outOfTime returns the error of a request that was not done in its time. last is how
// its last attempt ended, nil if there was none. ErrNoLeader is said only where no
// leader is known, or the attempt did not find it: one that is slow is another matter.
func (l *leadership) outOfTime(last error) error {
	state, _ := l.current()
	switch {
	case state.leader == "":
		return leaderTimeout(last)
	case last == nil:
		return fmt.Errorf("%w: it waited behind other writes", kv.ErrTimeout)
	case isSlow(last):
		return last
	}
	return leaderTimeout(last)
}

// isSlow says whether an error is that of a leader that is there, and slow or overloaded.
func isSlow(err error) bool {
	return !errors.Is(err, kv.ErrNoLeader) && (errors.Is(err, kv.ErrTimeout) || errors.Is(err, kv.ErrOverloaded))
}

// leaderTimeout returns the error of a request that found no leader in its time;
// last is how the last attempt ended, nil if there was none.
func leaderTimeout(last error) error {
	switch {
	case last == nil, last.Error() == kv.ErrNoLeader.Error(), isSlow(last):
		return fmt.Errorf("%w within the request's time", kv.ErrNoLeader)
	case errors.Is(last, kv.ErrNoLeader):
		return last // says more
	}
	return fmt.Errorf("%w within the request's time: %w", kv.ErrNoLeader, last)
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
