//go:build linux

package lab

import (
	"context"
	"sync"
	"time"
)

const (
	// segmentBytes is the number of bytes of a stream that TCP sends in one segment.
	segmentBytes = 1448
	// retransmission is the time after which TCP first sends a lost segment again. Each
	// further time it waits twice as long, up to retransmissionMost.
	retransmission, retransmissionMost = 200 * time.Millisecond, 5 * time.Second
)

// road is the network from one host to another, for streams and datagrams.
type road struct {
	datagrams *link

	mu      sync.Mutex
	severed bool          // guarded by mu
	wire    wire          // guarded by mu; the streams share it
	heals   int           // guarded by mu; number of heals
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
	r.change(func() { r.severed, r.wire, r.heals = false, wire{}, r.heals+1 })
	r.datagrams.heal()
}

func (r *road) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// arrival is the time at which a piece of a stream arrives, unless the road is healed
// before.
type arrival struct {
	at    time.Time
	heals int // of the road, when it was sent
}

// due returns the time at which bytes of a stream arrive that are sent now, and the time
// until which the sender must wait before the next ones. They wait for the one segment
// among them that is lost most often, because TCP sends several lost segments again at the
// same time.
func (r *road) due(now time.Time, size int) (comes, again arrival) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.wire.due(now, size)
	worst := time.Duration(0)
	for range (size + segmentBytes - 1) / segmentBytes {
		stall := time.Duration(0)
		for wait := retransmission; r.wire.how.Loss < 1 && r.wire.lost(); wait = min(2*wait, retransmissionMost) {
			stall += wait
		}
		worst = max(worst, stall)
	}
	comes, again = arrival{at.Add(worst), r.heals}, arrival{now, r.heals}
	if r.wire.full(now) {
		again.at = r.wire.free
	}
	return comes, again
}

// passable waits until the road is not cut and the piece arrives, which it does at once if
// the road was healed meanwhile. A road that loses everything counts as cut. It returns
// ctx's error if ctx ends first.
func (r *road) passable(ctx context.Context, a arrival) error {
	for {
		r.mu.Lock()
		severed, healed, changed := r.severed || r.wire.how.Loss == 1, r.heals != a.heals, r.changed
		r.mu.Unlock()
		wait := time.Until(a.at)
		if !severed && (healed || wait <= 0) {
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
