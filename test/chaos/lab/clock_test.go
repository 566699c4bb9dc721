//go:build linux

package lab_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// TestClock_Skew makes the wall clock of a running process jump, starts a process with a
// wrong clock, and corrects it. Monotonic clocks and other hosts do not change.
func TestClock_Skew(t *testing.T) {
	inEachKind(t, lab.Config{Initial: 2}, func(t *testing.T, l lab.Lab) {
		h, other := l.Hosts()[0], l.Hosts()[1]
		skew := func(ahead time.Duration) {
			t.Helper()
			err := h.SkewClock(t.Context(), ahead)
			if errors.Is(err, lab.ErrNotCovered) {
				t.Skip(err)
			}
			must(t, err)
		}
		const near = 5 * time.Second // the maximum time of a question
		expect := func(h lab.Host, ahead time.Duration) {
			t.Helper()
			for range 20 { // on several threads
				began := time.Now()
				now := time.Unix(0, int64(mustTell(t, h, "/now")))
				if off := now.Sub(began) - ahead; off < 0 || off > near {
					t.Fatalf("%s is ahead by %v, want %v", h.Name(), now.Sub(began), ahead)
				}
			}
			differ, took := time.Hour, time.Hour // the best values: this machine may be busy
			for range 10 {
				said, err := tell(t, h, "/tick")
				must(t, err)
				var wall, monotonic int64
				if _, err := fmt.Sscan(said, &wall, &monotonic); err != nil {
					t.Fatal(err)
				}
				took = min(took, time.Duration(monotonic)*time.Microsecond)
				differ = min(differ, (time.Duration(wall-monotonic) * time.Microsecond).Abs())
			}
			if took < tick || took > 10*tick || differ > tick/5 {
				t.Errorf("the monotonic clock went on by %v in %v, the wall clock by %v more or less", took, tick, differ)
			}
		}
		mustStart(t, h, other)
		for _, ahead := range []time.Duration{time.Hour, -time.Hour, 1500 * time.Millisecond, -300 * time.Millisecond, 0} {
			skew(ahead)
			expect(h, ahead)
			expect(other, 0)
		}
		must(t, h.Kill(t.Context()))
		skew(-24 * time.Hour)
		mustStart(t, h)
		expect(h, -24*time.Hour)
		must(t, h.Pause(t.Context()))
		skew(0)
		must(t, h.Resume(t.Context()))
		expect(h, 0)
		must(t, h.Kill(t.Context()))
		mustStart(t, h)
		expect(h, 0)
	})
}
