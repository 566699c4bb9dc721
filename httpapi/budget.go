package httpapi

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// roomTimeout is how long a request waits for room that is certain to come
	// back: that of bodies which have just been cut off.
	roomTimeout = 250 * time.Millisecond
	// pressedGrace and pressedRate say which bodies are slow when there is no room:
	// those that have been coming for longer than pressedGrace, and a second for
	// each pressedRate bytes that they have reserved.
	pressedGrace = time.Second
	pressedRate  = 1 << 20
)

// budget bounds the requests in flight and the bytes of their bodies. A request
// that finds no room is refused, so that a queue can't hide an overload; but
// before that, bodies that come slowly are cut off for it, the oldest first.
// Its methods may be called concurrently.
type budget struct {
	maxRequests int
	maxBytes    int64

	// mu guards the fields below.
	mu       sync.Mutex
	requests int        // Invariant: 0 <= requests <= maxRequests
	bytes    int64      // Invariant: 0 <= bytes <= maxBytes
	coming   *list.List // of *receipt: the bodies that are still being read, the oldest first
	// returned is closed when room is given back, or a body cut off, next; nil while
	// nobody waits.
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

// take reserves room for requests and bytes, those of owner unless that is nil.
// Where there is none, it cuts off slow bodies and waits for their room.
func (b *budget) take(requests int, bytes int64, owner *receipt) bool {
	var timeout <-chan time.Time
	for {
		taken, returned := b.tryTake(requests, bytes, owner)
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

// tryTake reserves room if there is some. Otherwise it returns a channel that is
// closed when it is to be tried again, nil if not enough room is certain to come back.
func (b *budget) tryTake(requests int, bytes int64, owner *receipt) (taken bool, returned <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if owner != nil && owner.cut.Load() {
		return false, nil // others count on its room
	}
	if b.requests+requests <= b.maxRequests && bytes <= b.maxBytes-b.bytes {
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
	if !b.cutSlow(b.requests+requests-b.maxRequests, bytes-(b.maxBytes-b.bytes), owner) {
		return false, nil
	}
	if b.returned == nil {
		b.returned = make(chan struct{})
	}
	return false, b.returned
}

// cutSlow cuts off slow bodies other than owner's until so many requests and
// bytes are on their way back, and returns whether they are. The caller holds mu.
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

// put gives room back, and wakes those that wait for it.
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

// wakeLocked has those that wait for room look again.
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
	return b.requests, b.bytes
}

// receipt is one body: the room that it has, and, while it is still being read,
// the way to cut it off.
type receipt struct {
	budget  *budget
	began   time.Time
	stop    func()        // ends a read of the body that waits; called once, with mu held
	element *list.Element // in coming until the body has come; guarded by mu
	// cut says that stop was called: the body is given up. It is changed with mu held.
	cut atomic.Bool

	// The fields below are guarded by the budget's mu.
	requests int
	bytes    int64
}

// receive reserves room for requests, and for the first bytes of a body that is to be
// read now. It returns the body's receipt, whose release must follow, or nil where
// there is no room. A budget without room for others may call stop, which must not block.
func (b *budget) receive(requests int, bytes int64, stop func()) *receipt {
	r := &receipt{budget: b, began: time.Now(), stop: stop}
	if !b.take(requests, bytes, r) {
		return nil
	}
	return r
}

// reserve reserves room for n more bytes, and returns whether there is some.
func (r *receipt) reserve(n int64) bool { return r.budget.take(0, n, r) }

// slow says whether the body has taken longer than it may when there is no room.
func (r *receipt) slow(now time.Time) bool {
	return now.Sub(r.began) > pressedGrace+timeFor(r.bytes, pressedRate)
}

// isCut says whether the body was cut off.
func (r *receipt) isCut() bool { return r.cut.Load() }

// arrived says that the body is not read any more, and returns whether it was
// cut off; it can't be from now on.
func (r *receipt) arrived() (cut bool) {
	r.budget.mu.Lock()
	defer r.budget.mu.Unlock()
	r.leaveLocked()
	return r.cut.Load()
}

// leaveLocked takes the receipt off the bodies that are read.
func (r *receipt) leaveLocked() {
	if r.element != nil {
		r.budget.coming.Remove(r.element)
		r.element = nil
	}
}

// release gives back the room of the request and of its body.
func (r *receipt) release() {
	r.budget.mu.Lock()
	defer r.budget.mu.Unlock()
	r.leaveLocked()
	r.budget.putLocked(r.requests, r.bytes)
}

// timeFor returns how long n bytes take at rate bytes a second.
func timeFor(n, rate int64) time.Duration {
	return time.Duration(n/rate)*time.Second + time.Duration(n%rate)*time.Second/time.Duration(rate)
}
