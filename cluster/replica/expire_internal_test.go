package replica

import (
	"math"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// TestUntilDeadline has deadlines around the clock, and the latest that the latest clock makes.
// A wait that is not positive makes the leader write an entry.
func TestUntilDeadline(t *testing.T) {
	const ms = int64(time.Millisecond)
	for _, test := range []struct {
		deadline, clock int64
		want            time.Duration
	}{
		{7, 7 * ms, 0},
		{7, 7*ms - 1, 1},
		{7, 7*ms + 1, -1},
		{7, 5*ms + 1, 2*time.Millisecond - 1},
		{7, 1e18, 7*time.Millisecond - 1e18},
		{math.MaxInt64/ms + 1, math.MaxInt64, time.Duration(ms - math.MaxInt64%ms)},
		{math.MaxInt64/ms + 1 + kv.MaxTTL.Milliseconds(), math.MaxInt64, kv.MaxTTL + time.Duration(ms-math.MaxInt64%ms)},
		{math.MaxInt64/ms + kv.MaxTTL.Milliseconds(), 0, time.Duration(math.MaxInt64 / ms * ms)},
	} {
		if got := untilDeadline(test.deadline, test.clock); got != test.want {
			t.Errorf("from %d to %d: got %d, want %d", test.clock, test.deadline, got, test.want)
		}
	}
}
