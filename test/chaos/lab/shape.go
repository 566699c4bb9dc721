//go:build linux

package lab

import (
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// reorderHold is how much later a segment comes that others are to overtake.
	reorderHold = 10 * time.Millisecond
	// minBacklog is how many bytes wait for a slow link at least before more are lost.
	minBacklog = 64 << 10
)

// validate refuses what is no Shape.
func (s Shape) validate() error {
	if !(s.Loss >= 0 && s.Loss <= 1) || !(s.Reorder >= 0 && s.Reorder <= 1) {
		return errors.New("loss and reordering are parts, from 0 to 1")
	}
	if s.Delay < 0 || s.Jitter < 0 || s.BytesPerSecond < 0 {
		return errors.New("delay, jitter or rate is negative")
	}
	return nil
}

// wire says when what is sent over a shaped network comes. Its user locks it.
type wire struct {
	how  Shape
	free time.Time // when all before has been sent, which a rate makes later
	last time.Time // when what came before comes: nothing overtakes but what Reorder lets
}

// backlog returns how many bytes wait to be sent.
func (w *wire) backlog(now time.Time) int {
	return int(w.free.Sub(now).Seconds() * float64(w.how.BytesPerSecond))
}

// full says that a real link's buffer would overflow: half a second's bytes wait.
func (w *wire) full(now time.Time) bool {
	return w.how.BytesPerSecond > 0 && w.backlog(now) > max(minBacklog, w.how.BytesPerSecond/2)
}

// due returns when size bytes come that are sent now.
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
		return at.Add(reorderHold) // w.last stays: what follows overtakes it
	}
	w.last = at
	return at
}

// lost says that a segment is lost.
func (w *wire) lost() bool { return happens(w.how.Loss) }

// happens is true in so many of all cases.
func happens(part float64) bool { return part > 0 && rand.Float64() < part }
