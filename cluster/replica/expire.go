package replica

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/kv"
)

// A key is hidden once the cluster clock has reached its deadline, and the clock moves with the
// entries of the log alone. So the leader writes an entry at each deadline. It removes the
// keys that are due. Without a leader, the clock stands still, and no key expires.

// expire makes the leader remove keys when their deadlines have come, until ctx ends. It waits
// for the next deadline, for one that is earlier, for a correction of the clock, or for this
// node to lead.
func (r *Replica) expire(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		state, changed := r.leaders.Current()
		timer.Stop()
		if next := r.machine.NextDeadline(); next != 0 && state.Term != nil {
			wait := untilDeadline(next, state.Term.Stamp())
			if wait <= 0 {
				wait = r.expireDue(ctx)
			} else {
				wait = max(wait, time.Millisecond) // the clock may stand still for a while
			}
			timer.Reset(wait)
		}
		select {
		case <-timer.C:
		case <-r.machine.Sooner():
		case <-r.corrected:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// untilDeadline returns how long it is from a time of the clock, in nanoseconds since the Unix
// epoch, to a deadline, which is in milliseconds. It is 0 or less once the clock has reached the
// deadline. A deadline may be later than any time in nanoseconds.
func untilDeadline(deadline, clock int64) time.Duration {
	const ms = int64(time.Millisecond)
	left := min(deadline-clock/ms, math.MaxInt64/ms)
	return time.Duration(left*ms - clock%ms)
}

// heldBack is the pause between two attempts while keys or leases are due, and no entry may end
// them.
const heldBack = 100 * time.Millisecond

// expireDue removes keys that are due, a bounded number of them with each entry, and one entry
// at a time: puts of clients have their turn beside them. While the members are being asked for
// their versions, or one of them announces too low a version, it only moves the clock, which
// hides the keys. It returns how long to wait after it.
func (r *Replica) expireDue(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	_, err := r.proposer.Propose(ctx, r.machine.ExpireRequest(), true)
	if err == nil {
		return 0
	}
	wait := leadership.RetryDelay
	if errors.Is(err, propose.ErrAsking) || errors.Is(err, kv.ErrUnsupported) {
		wait = heldBack
		_, moved := r.proposer.Propose(ctx, r.machine.ClockRequest(), true)
		err = errors.Join(err, moved)
	}
	r.log.Debug("keys that are due not removed", "err", err)
	return wait
}
