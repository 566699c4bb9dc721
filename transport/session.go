package transport

import (
	"bufio"
	"sync"
	"sync/atomic"
	"time"
)

// frameBufferBytes is the size of the read and the write buffer of an RPC
// connection.
const frameBufferBytes = 64 << 10

// session is what the two ends of an RPC connection have in common: one
// goroutine that writes the frames queued for it, and one end of life.
type session struct {
	c     *conn
	queue chan *outgoing
	done  chan struct{} // closed by end
	err   error         // why it ended; valid once done is closed
	once  sync.Once
}

func newSession(c *conn) session {
	return session{c: c, queue: make(chan *outgoing, writeQueue), done: make(chan struct{})}
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

// put queues a frame, waiting for room, or drops it if the session ended.
func (s *session) put(o *outgoing) {
	select {
	case s.queue <- o:
	case <-s.done:
	}
}

// offer queues a frame if there is room. It is for frames whose loss does no
// harm.
func (s *session) offer(o *outgoing) {
	select {
	case s.queue <- o:
	default:
	}
}

// writeLoop writes queued frames until the session ends, flushing when the
// queue is empty. On each tick, if any, it asks beat whether to send a ping;
// there are no ticks while a write is in progress, which has a deadline of its
// own.
func (s *session) writeLoop(tick <-chan time.Time, beat func() (ping bool, err error)) {
	w := bufio.NewWriterSize(s.c, frameBufferBytes)
	for {
		var err error
		select {
		case o := <-s.queue:
			err = s.writeQueued(w, o)
		case <-tick:
			var ping bool
			if ping, err = beat(); err == nil && ping {
				err = s.writeQueued(w, newOutgoing(appendFrame(nil, framePing, 0, 0), nil))
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

// writeQueued writes o and whatever else is queued, and flushes.
func (s *session) writeQueued(w *bufio.Writer, o *outgoing) error {
	for {
		if err := o.writeTo(w); err != nil {
			return err
		}
		select {
		case o = <-s.queue:
		default:
			return w.Flush()
		}
	}
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
	head    []byte
	payload []byte
	state   atomic.Int32
}

func newOutgoing(head, payload []byte) *outgoing {
	return &outgoing{head: head, payload: payload}
}

// withdraw reports whether the frame was kept from being sent.
func (o *outgoing) withdraw() bool {
	return o.state.CompareAndSwap(stateQueued, stateWithdrawn)
}

func (o *outgoing) writeTo(w *bufio.Writer) error {
	if !o.state.CompareAndSwap(stateQueued, stateTaken) {
		return nil
	}
	if _, err := w.Write(o.head); err != nil {
		return err
	}
	_, err := w.Write(o.payload)
	return err
}
