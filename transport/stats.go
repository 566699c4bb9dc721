package transport

import (
	"errors"
	"sync/atomic"
)

// Stats is what a transport did since New, and what is open now.
type Stats struct {
	Connections     int // open, urgent and bulk, in both directions; those for snapshots excepted
	SnapshotStreams int // open, in both directions
	Handshaking     int // accepted connections that have not introduced themselves

	BytesIn, BytesOut uint64 // of all connections, handshakes included

	Calls      uint64 // by Call and CallAddr, those in progress excluded
	NotSent    uint64 // calls that failed with ErrNotSent
	NoAnswer   uint64 // calls that failed with ErrNoAnswer
	Handled    uint64 // requests of peers that the handler answered
	Overloaded uint64 // requests of peers that were refused with CodeOverloaded

	// Refused counts the handshakes that this node refused, dialed or accepted, by
	// reason. It has an entry for each reason.
	Refused map[Reason]uint64
}

// counters are the numbers behind Stats. The zero value is ready.
type counters struct {
	handshakes               atomic.Int64
	bytesIn, bytesOut        atomic.Uint64
	calls, notSent, noAnswer atomic.Uint64
	handled, overloads       atomic.Uint64
	refused                  [len(reasonNames)]atomic.Uint64 // by Reason
}

// called counts a call that ended with err.
func (c *counters) called(err error) {
	c.calls.Add(1)
	switch {
	case errors.Is(err, ErrNotSent):
		c.notSent.Add(1)
	case errors.Is(err, ErrNoAnswer):
		c.noAnswer.Add(1)
	}
}

// Stats returns numbers for status pages and metrics. It is cheap, and each
// number is read by itself: together they are no exact picture.
func (t *Transport) Stats() Stats {
	s := Stats{
		Handshaking: int(t.counts.handshakes.Load()),
		BytesIn:     t.counts.bytesIn.Load(),
		BytesOut:    t.counts.bytesOut.Load(),
		Calls:       t.counts.calls.Load(),
		NotSent:     t.counts.notSent.Load(),
		NoAnswer:    t.counts.noAnswer.Load(),
		Handled:     t.counts.handled.Load(),
		Overloaded:  t.counts.overloads.Load(),
		Refused:     make(map[Reason]uint64, len(reasonNames)-1),
	}
	for r := RefusedMalformed; int(r) < len(reasonNames); r++ {
		s.Refused[r] = t.counts.refused[r].Load()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		switch {
		case c.opened && c.kind == streamSnapshot:
			s.SnapshotStreams++
		case c.opened:
			s.Connections++
		}
	}
	return s
}
