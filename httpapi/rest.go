package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// The server may know its answer before it has the whole body of a request: the body is too
// large, for example. Many clients send everything before they read anything. If the
// connection is closed while they send, it is reset, and they never see the answer. So the
// server reads and drops a limited part of the rest of a body:
//
//   - a small rest before the answer, so that the connection can be kept;
//   - a larger rest after the answer, which tells the client that the connection closes.
//
// No handler sees a request whose head can't be parsed: net/http answers 400 and closes the
// connection at once.

const (
	// dropBytes is the maximum length of a rest that is read before the answer.
	dropBytes = 256 << 10
	// dropTimeout is the maximum time that the answer waits for it.
	dropTimeout = 500 * time.Millisecond

	// lingerTimeout is the maximum time that a rest is read after the answer, and
	// lingerIdle the maximum wait for its next bytes.
	lingerTimeout = 10 * time.Second
	lingerIdle    = 3 * time.Second
	// minLingerBytes is the maximum number of bytes that are read after an answer, unless
	// twice the maximum value is more.
	minLingerBytes = 8 << 20
)

// connKey is the key of a request's net.Conn in its context.
type connKey struct{}

// withConn returns ctx with the connection, for linger. It is the ConnContext hook of an
// http.Server.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// settleRest reads a small rest of the body before the answer, or makes the connection
// close after the answer.
func (w *response) settleRest() {
	if w.restState == restNone || (w.restState == restUnread && w.dropSmallRest()) {
		return
	}
	w.closeAfter()
}

// dropSmallRest reads a small rest of the body, and reports whether that was all of it.
func (w *response) dropSmallRest() bool {
	if w.expectsContinue || w.length > dropBytes {
		return false
	}
	w.setReadDeadline(time.Now().Add(min(w.progress.stall/2, dropTimeout)))
	_, err := io.CopyN(io.Discard, w.body, dropBytes+1)
	if err == nil {
		return false // there is more
	}
	w.bodyRead(err)
	return w.restState == restNone
}

// lingering limits the connections on which a rest is read after the answer to three
// quarters of all; others are closed at once. So clients that send without end can't take
// all connections, and most clients of a node that refuses many requests still get their
// answers.
type lingering struct {
	stopped  atomic.Int64 // when the server began to stop, in nanoseconds since the Unix epoch; 0 before
	count    atomic.Int64 // connections on which a rest is read
	maxCount int64
	bytes    int64 // maximum length of a rest that is read
}

// newLingering returns the limits for that many connections and for values of that length.
func newLingering(conns, valueBytes int) *lingering {
	return &lingering{
		maxCount: int64(max(1, conns*3/4)),
		bytes:    max(minLingerBytes, 2*int64(valueBytes)),
	}
}

// stop limits the time of all reading of rests, because the server stops.
func (l *lingering) stop() { l.stopped.CompareAndSwap(0, time.Now().UnixNano()) }

// stopping reports whether the server has been stopping for longer than stopGrace. A read
// that waits at that moment may still take lingerIdle.
func (l *lingering) stopping(now time.Time) bool {
	at := l.stopped.Load()
	return at != 0 && now.Sub(time.Unix(0, at)) > stopGrace
}

// linger sends the answer, and then reads and drops the rest of the request. So a client
// that sends its whole request before it reads gets the answer.
func (l *lingering) linger(w *response, r *http.Request) {
	switch {
	case w.restState == restNone && !w.unframed:
		return
	case w.streams && w.restState == restBroken:
		return // the answer's last chunk is sent after this, so the connection can't be half closed
	}
	defer l.count.Add(-1)
	if l.count.Add(1) > l.maxCount || w.deadlines.Flush() != nil {
		w.stopRead() // else net/http would continue to read, without a deadline
		return
	}
	rest := &restReader{
		of: l, src: w.body, setDeadline: w.setReadDeadline,
		end: time.Now().Add(lingerTimeout), idle: min(lingerIdle, w.progress.stall),
	}
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	if w.unframed || w.restState == restBroken {
		// The end of the body is unknown, so only the end of the connection shows the
		// client that the answer is complete.
		half, ok := conn.(interface{ CloseWrite() error })
		if !ok || half.CloseWrite() != nil {
			w.stopRead()
			return
		}
		rest.src = conn
	}
	// The connection is closed after this in any case.
	_, _ = io.CopyN(io.Discard, rest, l.bytes)
}

// restReader reads the rest of a request until it ends, pauses or takes too long.
type restReader struct {
	of          *lingering
	src         io.Reader
	end         time.Time
	idle        time.Duration // maximum pause
	setDeadline func(time.Time)
}

// Read implements io.Reader.
func (r *restReader) Read(p []byte) (int, error) {
	now := time.Now()
	if r.of.stopping(now) || now.After(r.end) {
		return 0, errRestTimeout
	}
	next := now.Add(r.idle)
	if r.end.Before(next) {
		next = r.end
	}
	r.setDeadline(next)
	return r.src.Read(p)
}

// errRestTimeout ends the reading of a rest.
var errRestTimeout = errors.New("the rest of the request takes too long")
