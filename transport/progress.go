package transport

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// transit is a frame on its way over a bulk connection.
type transit struct {
	end     uint64       // bytes of frames that have arrived with the last of this one's
	arrived atomic.Int64 // the connection's age when it had; 0 until it has
}

// progress follows the frames that one end of a bulk connection sends. What a write
// to the socket returns says little of a narrow network: the kernel may hold
// megabytes. So the other end tells how much has arrived. The zero value is ready.
type progress struct {
	// mu guards the fields below.
	mu      sync.Mutex
	written uint64     // bytes of frames
	arrived uint64     // of these, as far as is known
	onWay   []*transit // followed ones that are written and not wholly arrived, in their order
}

// wrote takes in a frame of size bytes that is about to be written. It returns nil unless
// the frame is to be followed, until it has arrived or is dropped.
func (p *progress) wrote(size int, follow bool) *transit {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written += uint64(size)
	if !follow {
		return nil
	}
	f := &transit{end: p.written}
	p.onWay = append(p.onWay, f)
	return f
}

// total returns how many bytes of frames were written, or are about to be.
func (p *progress) total() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.written
}

// drop follows a frame no longer: its answer has come, or nobody waits for it. A peer that
// never tells what has arrived is remembered no more frames than are waited for.
func (p *progress) drop(f *transit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onWay = slices.DeleteFunc(p.onWay, func(other *transit) bool { return other == f })
}

// tell takes in how many bytes have arrived by now, the connection's age, and
// reports whether these are more than before. More than were written are nonsense.
func (p *progress) tell(arrived uint64, now time.Duration) (more bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if arrived > p.written {
		return false, fmt.Errorf("%w: %d bytes are said to have arrived, of %d", errMalformed, arrived, p.written)
	}
	if arrived <= p.arrived {
		return false, nil
	}
	p.arrived = arrived
	for len(p.onWay) > 0 && p.onWay[0].end <= arrived {
		p.onWay[0].arrived.Store(int64(now))
		p.onWay = p.onWay[1:]
	}
	return true, nil
}
