package transport

import (
	"io"
	"sync/atomic"
	"time"
)

// tellBytes is how many more bytes must have arrived over a bulk connection for the
// dialer to be told: the answer to a short frame tells as much, or else the next pong.
const tellBytes = 4 << 10

// tells decides when the acceptor of a bulk connection tells the dialer how much has
// arrived: at intervals, while much does. An idle connection has no timer that runs.
type tells struct {
	every time.Duration
	timer *time.Timer   // for the write loop to tell
	armed atomic.Bool   // the timer runs
	told  atomic.Uint64 // bytes that the dialer was told; set by the write loop
}

func newTells(every time.Duration) *tells {
	t := &tells{every: every, timer: time.NewTimer(every)}
	t.timer.Stop()
	return t
}

// arrived takes in how many bytes have arrived in all. The read loop calls it.
func (t *tells) arrived(all uint64) {
	if all >= t.told.Load()+tellBytes && t.armed.CompareAndSwap(false, true) {
		t.timer.Reset(t.every)
	}
}

// toldReader reads what arrives over a bulk connection.
type toldReader struct {
	io.Reader
	s *server
}

// Read implements io.Reader.
func (r *toldReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.s.tells.arrived(r.s.c.received.Load() - r.s.began)
	return n, err
}

// tell returns the report that is due. The write loop calls it when the timer has fired;
// what arrives from then on sets it again.
func (s *server) tell() (*outgoing, error) {
	s.tells.armed.Store(false)
	arrived := s.c.received.Load() - s.began
	s.tells.told.Store(arrived)
	return newOutgoing(appendFrame(nil, frameArrived, arrived, 0)), nil
}
