package httpapi

import "sync"

// budget bounds the requests in flight and the bytes of their bodies. It never
// waits: what finds no room is refused, so that a queue can't hide an overload.
// Its methods may be called concurrently.
type budget struct {
	maxRequests int
	maxBytes    int64

	// mu guards the fields below.
	mu       sync.Mutex
	requests int   // Invariant: 0 <= requests <= maxRequests
	bytes    int64 // Invariant: 0 <= bytes <= maxBytes
}

// newBudget returns a budget of that many requests and bytes.
func newBudget(requests int, bytes int64) *budget {
	return &budget{maxRequests: requests, maxBytes: bytes}
}

// takeRequest reserves room for one request; putRequest must follow if it returns true.
func (b *budget) takeRequest() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.requests >= b.maxRequests {
		return false
	}
	b.requests++
	return true
}

// putRequest gives back what takeRequest reserved.
func (b *budget) putRequest() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests--
	if b.requests < 0 {
		panic("httpapi: more requests given back than taken")
	}
}

// takeBytes reserves room for n >= 0 bytes; putBytes(n) must follow if it returns true.
func (b *budget) takeBytes(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.maxBytes-b.bytes {
		return false
	}
	b.bytes += n
	return true
}

// putBytes gives back what takeBytes(n) reserved.
func (b *budget) putBytes(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes -= n
	if b.bytes < 0 {
		panic("httpapi: more bytes given back than taken")
	}
}

// inFlight returns the requests and bytes that are reserved.
func (b *budget) inFlight() (requests int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.requests, b.bytes
}
