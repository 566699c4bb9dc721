package transport

import (
	"bufio"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// frameBufferBytes is the size of the read and the write buffer of an RPC
	// connection.
	frameBufferBytes = 64 << 10
	// vectorBytes is the size from which on a frame is not copied to be written.
	vectorBytes = 32 << 10
)

// session is what the two ends of an urgent or bulk connection have in common: one
// goroutine that writes the frames queued for it, and one end of life.
type session struct {
	c      *conn
	queue  chan *outgoing
	urgent chan *outgoing // small frames that overtake those in queue
	done   chan struct{}  // closed by end
	err    error          // why it ended; valid once done is closed
	once   sync.Once

	last func() (*outgoing, error) // asked for a frame before a flush; nil where there is none

	pings pings     // of lives
	out   *progress // of the dialing end of a bulk connection, else nil
}

func newSession(c *conn) session {
	return session{
		c: c, done: make(chan struct{}),
		queue: make(chan *outgoing, writeQueue), urgent: make(chan *outgoing, writeQueue),
	}
}

// end closes the connection and wakes all who wait for it. The first cause
// stays.
func (s *session) end(cause error) {
	s.once.Do(func() {
		s.err = cause
		close(s.done)
		s.c.Close()
	})
}

// ended reports whether end was called.
func (s *session) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// queueOf returns where to queue an urgent frame, or another.
func (s *session) queueOf(urgent bool) chan *outgoing {
	if urgent {
		return s.urgent
	}
	return s.queue
}

// put queues a frame, waiting for room, or drops it if the session ended.
func (s *session) put(o *outgoing, urgent bool) {
	select {
	case s.queueOf(urgent) <- o:
	case <-s.done:
	}
}

// offer queues an urgent frame if there is room. It is for frames whose loss
// does no harm.
func (s *session) offer(o *outgoing) {
	select {
	case s.urgent <- o:
	default:
	}
}

// writeLoop writes queued frames until the session ends, flushing when the
// queues are empty. On each tick, if any, it asks beat for a frame, nil being
// none; there are no ticks while a write is in progress, which has a deadline of
// its own.
func (s *session) writeLoop(tick <-chan time.Time, beat func() (*outgoing, error)) {
	w := bufio.NewWriterSize(s.c, frameBufferBytes)
	for {
		var err error
		select {
		case o := <-s.urgent:
			err = s.writeQueued(w, o)
		case o := <-s.queue:
			err = s.writeQueued(w, o)
		case <-tick:
			var o *outgoing
			if o, err = beat(); o != nil {
				err = s.writeQueued(w, o)
			}
		case <-s.done:
			return
		}
		if err != nil {
			s.end(err)
			return
		}
	}
}

// writeQueued writes o and whatever else is queued, the urgent first, and
// flushes.
func (s *session) writeQueued(w *bufio.Writer, o *outgoing) error {
	s.c.still = true
	for o != nil {
		if err := s.write(w, o); err != nil {
			return err
		}
		o = s.next()
	}
	if s.last != nil {
		o, err := s.last()
		if err == nil && o != nil {
			err = s.write(w, o)
		}
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

// next takes a frame from a queue, nil if there is none.
func (s *session) next() *outgoing {
	select {
	case o := <-s.urgent:
		return o
	default:
	}
	select {
	case o := <-s.queue:
		return o
	default:
		return nil
	}
}

// write writes a frame unless it was withdrawn. A large one is written from
// where it lies, after what w holds; w gathers small ones.
func (s *session) write(w *bufio.Writer, o *outgoing) error {
	if !o.take() {
		return nil
	}
	if !o.still {
		s.c.still = false
	}
	if s.out != nil {
		o.way.Store(s.out.wrote(o.size, o.followed))
	}
	if o.size >= vectorBytes && s.c.vectored() {
		if err := w.Flush(); err != nil {
			return err
		}
		return s.c.writeVector(o.parts)
	}
	for _, part := range o.parts {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// States of an outgoing frame.
const (
	stateQueued int32 = iota
	stateTaken
	stateWithdrawn
)

// outgoing is a frame to be written. It is either taken by the writer, from
// when on the peer may have seen it, or withdrawn, and then it was never sent.
type outgoing struct {
	parts [][]byte // written one after the other; not changed, by anybody
	size  int      // bytes
	state atomic.Int32
	way   atomic.Pointer[transit] // nil while it is not written, and where nobody follows it

	// still says that it is a ping at intervals, which does not count as movement; see conn.
	still bool
	// followed says that it is waited for as long as it moves; see progress.
	followed bool

	// ready is asked once the frame is taken, and has it not written if it returns
	// false; withheld is closed then, and after that, or where it is written, asked.
	// Nil for most frames.
	ready           func() bool
	withheld, asked chan struct{}
}

func newOutgoing(parts ...[]byte) *outgoing {
	o := &outgoing{parts: parts}
	for _, part := range parts {
		o.size += len(part)
	}
	return o
}

// take reports whether the frame is to be written. The writer calls it. From the moment
// on at which it is taken nobody withdraws it, so that ready never answers for a request
// that has ended, and is sent another time.
func (o *outgoing) take() bool {
	if !o.state.CompareAndSwap(stateQueued, stateTaken) {
		return false
	}
	if o.ready == nil {
		return true
	}
	defer close(o.asked)
	if o.ready() {
		return true
	}
	close(o.withheld)
	return false
}

// wasWithheld reports of a frame that was taken whether ready kept it from being written.
// It waits for ready, if that is still being asked.
func (o *outgoing) wasWithheld() bool {
	if o.ready == nil {
		return false
	}
	<-o.asked
	select {
	case <-o.withheld:
		return true
	default:
		return false
	}
}

// withdraw reports whether the frame was kept from being sent.
func (o *outgoing) withdraw() bool {
	return o.state.CompareAndSwap(stateQueued, stateWithdrawn)
}
