//go:build linux

package lab

import (
	"context"
	"sync"
	"time"
)

const (
	// segmentBytes is how much of a stream TCP sends in one piece.
	segmentBytes = 1448
	// retransmission is how long TCP waits at first until it sends a lost segment again;
	// each further time it waits twice as long, up to retransmissionMost.
	retransmission, retransmissionMost = 200 * time.Millisecond, 5 * time.Second
)

// road is the network from one host to another, for streams and datagrams.
type road struct {
	datagrams *link

	mu      sync.Mutex
	severed bool          // guarded by mu
	wire    wire          // guarded by mu; the streams share it
	changed chan struct{} // guarded by mu; closed and replaced when the others change
}

func newRoad(datagrams *link) *road {
	return &road{datagrams: datagrams, changed: make(chan struct{})}
}

func (r *road) cut() {
	r.change(func() { r.severed = true })
	r.datagrams.cut()
}

func (r *road) shape(how Shape) {
	r.change(func() { r.wire.how = how })
	r.datagrams.shape(how)
}

func (r *road) heal() {
	r.change(func() { r.severed, r.wire = false, wire{} })
	r.datagrams.heal()
}

func (r *road) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// due returns when bytes of a stream come that are sent now, and until when the sender
// must wait with what follows.
func (r *road) due(now time.Time, size int) (at, again time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at = r.wire.due(now, size)
	for range (size + segmentBytes - 1) / segmentBytes {
		for wait := retransmission; r.wire.lost(); wait = min(2*wait, retransmissionMost) {
			at = at.Add(wait)
			if r.wire.how.Loss == 1 {
				break // it is cut in all but name
			}
		}
	}
	if r.wire.full(now) {
		again = r.wire.free
	}
	return at, again
}

// passable waits until the road is not cut and the time is at. A road without shape
// does not wait for that. It returns ctx's error where that ends first.
func (r *road) passable(ctx context.Context, at time.Time) error {
	for {
		r.mu.Lock()
		severed, how, changed := r.severed || r.wire.how.Loss == 1, r.wire.how, r.changed
		r.mu.Unlock()
		wait := time.Until(at)
		if !severed && (wait <= 0 || how == Shape{}) {
			return nil
		}
		var timer <-chan time.Time
		if !severed {
			timer = time.After(wait)
		}
		select {
		case <-timer:
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
