//go:build linux

package lab

import (
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// reorderHold is the additional delay of a segment that others shall overtake.
	reorderHold = 10 * time.Millisecond
	// minBacklog is the minimum number of waiting bytes at which a slow link drops more.
	minBacklog = 64 << 10
)

// validate refuses an invalid Shape.
func (s Shape) validate() error {
	if !(s.Loss >= 0 && s.Loss <= 1) || !(s.Reorder >= 0 && s.Reorder <= 1) {
		return errors.New("loss and reordering are parts, from 0 to 1")
	}
	if s.Delay < 0 || s.Jitter < 0 || s.BytesPerSecond < 0 {
		return errors.New("delay, jitter or rate is negative")
	}
	return nil
}

// wire computes the arrival times of bytes that are sent over a shaped network. Its user
// locks it.
type wire struct {
	how  Shape
	free time.Time // when all earlier bytes have left at the link's rate
	last time.Time // when earlier bytes arrive; only Reorder lets later ones overtake them
}

// backlog returns the number of bytes that wait to leave.
func (w *wire) backlog(now time.Time) int {
	return int(w.free.Sub(now).Seconds() * float64(w.how.BytesPerSecond))
}

// full reports whether a real link's buffer would overflow: bytes for half a second wait.
func (w *wire) full(now time.Time) bool {
	return w.how.BytesPerSecond > 0 && w.backlog(now) > max(minBacklog, w.how.BytesPerSecond/2)
}

// due returns the time at which size bytes arrive that are sent now.
func (w *wire) due(now time.Time, size int) time.Time {
	if w.free.Before(now) {
		w.free = now
	}
	if w.how.BytesPerSecond > 0 {
		w.free = w.free.Add(time.Duration(float64(size) / float64(w.how.BytesPerSecond) * float64(time.Second)))
	}
	at := w.free.Add(w.how.Delay)
	if w.how.Jitter > 0 {
		at = at.Add(rand.N(2*w.how.Jitter) - w.how.Jitter)
	}
	if at.Before(w.last) {
		at = w.last
	}
	if happens(w.how.Reorder) {
		return at.Add(reorderHold) // w.last stays, so later bytes overtake these
	}
	w.last = at
	return at
}

// lost reports whether a segment is lost.
func (w *wire) lost() bool { return happens(w.how.Loss) }

// happens returns true with the given probability.
func happens(part float64) bool { return part > 0 && rand.Float64() < part }
