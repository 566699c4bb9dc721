package httpapi

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// roomTimeout is the maximum time that a request waits for the room of bodies that were
	// just cut off.
	roomTimeout = 250 * time.Millisecond
	// pressedGrace and pressedRate are the limits, in time and in bytes per second, by
	// which a body is slow when there is no room. A slow body takes longer than
	// pressedGrace plus the time for its reserved bytes at pressedRate.
	pressedGrace = time.Second
	pressedRate  = 1 << 20
)

// budget limits the requests in flight, and the bytes of their bodies and of the answers to
// transactions. If there is no room for a request, slow bodies are cut off for it, the oldest
// first. If there is still none, the request is refused: a queue would hide the overload. All
// methods are safe for concurrent use.
type budget struct {
	maxRequests int
	maxBytes    int64

	// mu guards the fields below.
	mu       sync.Mutex
	requests int        // Invariant: 0 <= requests <= maxRequests
	bytes    int64      // of bodies; Invariant: 0 <= bytes <= maxBytes
	answers  int64      // bytes of answers that wait for their clients; at least 0
	coming   *list.List // of *receipt: the bodies that are being read, the oldest first
	// returned is closed when room is given back or a body is cut off; nil while no request
	// waits.
	returned chan struct{}
}

// newBudget returns a budget of that many requests and bytes.
func newBudget(requests int, bytes int64) *budget {
	return &budget{maxRequests: requests, maxBytes: bytes, coming: list.New()}
}

// takeRequest reserves room for one request; putRequest must follow if it returns true.
func (b *budget) takeRequest() bool { return b.take(1, 0, nil) }

// putRequest gives back what takeRequest reserved.
func (b *budget) putRequest() { b.put(1, 0) }

// take reserves room for requests and bytes, on behalf of owner unless that is nil. If
// there is none, it cuts off slow bodies and waits for their room.
func (b *budget) take(requests int, bytes int64, owner *receipt) bool {
	return tryUntilTimeout(func() (bool, <-chan struct{}) { return b.tryTake(requests, bytes, owner) })
}

// takeAnswer reserves room for n bytes of an answer; putAnswer must follow if it returns true.
// If there is none, it waits for that of others. Answers may take half of all bytes, as far as
// bodies don't have them. One answer always has room, unless there are others.
func (b *budget) takeAnswer(n int64) bool {
	return n == 0 || tryUntilTimeout(func() (bool, <-chan struct{}) { return b.tryTakeAnswer(n) })
}

// tryTakeAnswer reserves room for n bytes of an answer if there is some. Otherwise it returns a
// channel that is closed when the caller should try again.
func (b *budget) tryTakeAnswer(n int64) (taken bool, returned <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answers == 0 || n <= min(b.maxBytes/2, b.maxBytes-b.bytes)-b.answers {
		b.answers += n
		return true, nil
	}
	return false, b.returnedLocked()
}

// putAnswer gives n bytes of an answer back. If n is negative, an answer is larger than was
// expected: it is there already, so that it gets room in any case.
func (b *budget) putAnswer(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answers -= n; b.answers < 0 {
		panic("httpapi: more bytes of answers given back than taken")
	}
	if n > 0 {
		b.wakeLocked()
	}
}

// tryUntilTimeout tries to reserve room, again and again if it is returned, until roomTimeout.
// It returns false at once if try returns no channel to wait for.
func tryUntilTimeout(try func() (taken bool, returned <-chan struct{})) bool {
	var timeout <-chan time.Time
	for {
		taken, returned := try()
		if taken || returned == nil {
			return taken
		}
		if timeout == nil {
			timer := time.NewTimer(roomTimeout)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-returned:
		case <-timeout:
			return false
		}
	}
}

// tryTake reserves room if there is some. Otherwise it cuts off slow bodies, and returns a
// channel that is closed when the caller should try again. The channel is nil if their room
// is not enough.
func (b *budget) tryTake(requests int, bytes int64, owner *receipt) (taken bool, returned <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if owner != nil && owner.cut.Load() {
		return false, nil // others wait for its room
	}
	if b.requests+requests <= b.maxRequests && bytes <= b.freeLocked() {
		b.requests += requests
		b.bytes += bytes
		if owner != nil {
			owner.requests += requests
			owner.bytes += bytes
			if owner.element == nil {
				owner.element = b.coming.PushBack(owner)
			}
		}
		return true, nil
	}
	if !b.cutSlow(b.requests+requests-b.maxRequests, bytes-b.freeLocked(), owner) {
		return false, nil
	}
	return false, b.returnedLocked()
}

// freeLocked returns the room for bodies. Answers never take more than half of all bytes from
// them.
func (b *budget) freeLocked() int64 { return b.maxBytes - b.bytes - min(b.answers, b.maxBytes/2) }

// returnedLocked returns a channel that is closed when room is given back.
func (b *budget) returnedLocked() <-chan struct{} {
	if b.returned == nil {
		b.returned = make(chan struct{})
	}
	return b.returned
}

// cutSlow cuts off slow bodies other than owner's until those that were cut off have that
// many requests and bytes, and reports whether they have. The caller holds mu.
func (b *budget) cutSlow(requests int, bytes int64, owner *receipt) bool {
	now := time.Now()
	for e := b.coming.Front(); e != nil && (requests > 0 || bytes > 0); e = e.Next() {
		r := e.Value.(*receipt)
		cut := r.cut.Load()
		if r == owner || (!cut && !r.slow(now)) {
			continue
		}
		if !cut {
			r.cut.Store(true)
			r.stop()
			b.wakeLocked() // it may wait for more room
		}
		requests--
		bytes -= r.bytes
	}
	return requests <= 0 && bytes <= 0
}

// put gives room back, and wakes the waiting requests.
func (b *budget) put(requests int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.putLocked(requests, bytes)
}

func (b *budget) putLocked(requests int, bytes int64) {
	b.requests -= requests
	b.bytes -= bytes
	if b.requests < 0 || b.bytes < 0 {
		panic("httpapi: more requests or bytes given back than taken")
	}
	b.wakeLocked()
}

// wakeLocked makes the waiting requests try again.
func (b *budget) wakeLocked() {
	if b.returned != nil {
		close(b.returned)
		b.returned = nil
	}
}

// inFlight returns the requests and bytes that are reserved.
func (b *budget) inFlight() (requests int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.requests, b.bytes + b.answers
}

// receipt is the reservation of one body, and the way to cut the body off while it is being
// read.
type receipt struct {
	budget  *budget
	began   time.Time
	stop    func()        // ends a waiting read of the body; called once, with mu held
	element *list.Element // in coming while the body is being read; guarded by mu
	// cut is set when stop is called: the body will not be used. It is changed with mu
	// held.
	cut atomic.Bool

	// The fields below are guarded by the budget's mu.
	requests int
	bytes    int64
}

// receive reserves room for requests, and for the first bytes of a body that will be read
// now. It returns the body's receipt, which the caller must release, or nil if there is no
// room. If there is no room for others, the budget may call stop, which must not block.
func (b *budget) receive(requests int, bytes int64, stop func()) *receipt {
	r := &receipt{budget: b, began: time.Now(), stop: stop}
	if !b.take(requests, bytes, r) {
		return nil
	}
	return r
}

// reserve reserves room for n more bytes, and reports whether there was some.
func (r *receipt) reserve(n int64) bool { return r.budget.take(0, n, r) }

// slow reports whether the body is slow by pressedGrace and pressedRate.
func (r *receipt) slow(now time.Time) bool {
	return now.Sub(r.began) > pressedGrace+timeFor(r.bytes, pressedRate)
}

// isCut reports whether the body was cut off.
func (r *receipt) isCut() bool { return r.cut.Load() }

// arrived marks the body as no longer being read, and reports whether it was cut off. It
// can't be cut off after that.
func (r *receipt) arrived() (cut bool) {
	r.budget.mu.Lock()
	defer r.budget.mu.Unlock()
	r.leaveLocked()
	return r.cut.Load()
}

// leaveLocked removes the receipt from the bodies that are being read.
func (r *receipt) leaveLocked() {
	if r.element != nil {
		r.budget.coming.Remove(r.element)
		r.element = nil
	}
}

// release gives back the room of the body and of its requests.
func (r *receipt) release() {
	r.budget.mu.Lock()
	defer r.budget.mu.Unlock()
	r.leaveLocked()
	r.budget.putLocked(r.requests, r.bytes)
}

// timeFor returns the time that n bytes take at rate bytes per second.
func timeFor(n, rate int64) time.Duration {
	return time.Duration(n/rate)*time.Second + time.Duration(n%rate)*time.Second/time.Duration(rate)
}
