package leadership

import (
	"errors"
	"fmt"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// RetryDelay is the pause after an attempt that changed nothing, unless leadership
// changes earlier.
const RetryDelay = 20 * time.Millisecond

// OutOfTime returns the error of a request that was not done in its time. last is the error
// of its last attempt, nil if there was none. The class is kv.ErrNoLeader only where no
// leader is known, or the attempt did not find it: one that is slow is another matter.
func (t *Tracker) OutOfTime(last error) error {
	state, _ := t.Current()
	switch {
	case state.Leader == "":
		return NoneInTime(last)
	case last == nil:
		return fmt.Errorf("%w: it waited behind other writes", kv.ErrTimeout)
	case IsSlow(last):
		return last
	}
	return NoneInTime(last)
}

// IsSlow says whether an error is that of a leader that is there, and slow or overloaded.
func IsSlow(err error) bool {
	return !errors.Is(err, kv.ErrNoLeader) && (errors.Is(err, kv.ErrTimeout) || errors.Is(err, kv.ErrOverloaded))
}

// NoneInTime returns the error, of class kv.ErrNoLeader, of a request that found no leader
// in its time; last is the error of its last attempt, nil if there was none.
func NoneInTime(last error) error {
	switch {
	case last == nil, last.Error() == kv.ErrNoLeader.Error(), IsSlow(last):
		return fmt.Errorf("%w within the request's time", kv.ErrNoLeader)
	case errors.Is(last, kv.ErrNoLeader):
		return last // says more
	}
	return fmt.Errorf("%w within the request's time: %w", kv.ErrNoLeader, last)
}
