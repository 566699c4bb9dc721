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

// An answer may be known before the request's body has come: it is too large,
// say. Many clients send everything before they read anything, and a connection
// that is closed under what they send is reset: they never see the answer. So
// the rest of a body is read and dropped, within bounds:
//
//   - a small rest before the answer, which then keeps the connection;
//   - otherwise after the answer, which says that the connection closes.
//
// No handler sees a request whose head can't be parsed: net/http answers 400 then and
// closes at once.

const (
	// dropBytes is the largest rest that is read before the answer.
	dropBytes = 256 << 10
	// dropTimeout is the longest that the answer waits for it.
	dropTimeout = 500 * time.Millisecond

	// lingerTimeout is the longest that a rest is read after the answer, and
	// lingerIdle the longest that its next byte is waited for.
	lingerTimeout = 10 * time.Second
	lingerIdle    = 3 * time.Second
	// minLingerBytes is the number of bytes that are read after an answer at most,
	// or twice the largest value.
	minLingerBytes = 8 << 20
)

// connKey is the key of a request's net.Conn in its context.
type connKey struct{}

// withConn returns ctx with the connection in it, for linger; it is an
// http.Server's ConnContext hook.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// settleRest does with the rest of the body what must be done before an answer.
func (w *response) settleRest() {
	if w.restState == restNone || (w.restState == restUnread && w.dropSmallRest()) {
		return
	}
	w.closeAfter()
}

// dropSmallRest reads a small rest of the body, and returns whether that was all of it.
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

// lingering bounds the connections on which a rest is read after the answer to three
// quarters of all; others are closed at once. So clients that never end are not all
// that is served, and a node that refuses most of what comes is still understood.
type lingering struct {
	stopped atomic.Int64 // when the server began to stop, in nanoseconds since the Unix epoch; 0 before
	now     atomic.Int64
	most    int64
	bytes   int64 // of each rest
}

// newLingering returns the bounds for so many connections and so large values.
func newLingering(conns, valueBytes int) *lingering {
	return &lingering{
		most:  int64(max(1, conns*3/4)),
		bytes: max(minLingerBytes, 2*int64(valueBytes)),
	}
}

// stop bounds all reading of rests, as a server does that stops.
func (l *lingering) stop() { l.stopped.CompareAndSwap(0, time.Now().UnixNano()) }

// stopping reports whether the server has been stopping for longer than stopGrace. A client
// that is silent then is waited for once more, for lingerIdle at the longest.
func (l *lingering) stopping(now time.Time) bool {
	at := l.stopped.Load()
	return at != 0 && now.Sub(time.Unix(0, at)) > stopGrace
}

// linger sends the answer, and then reads and drops what still comes of the
// request, so that a client that sends all of it before it reads gets to see the
// answer.
func (l *lingering) linger(w *response, r *http.Request) {
	if w.restState == restNone && !w.unframed {
		return
	}
	defer l.now.Add(-1)
	if l.now.Add(1) > l.most || w.deadlines.Flush() != nil {
		w.stopRead() // else net/http reads on, without a deadline
		return
	}
	rest := &restReader{
		of: l, src: w.body, setDeadline: w.setReadDeadline,
		end: time.Now().Add(lingerTimeout), idle: min(lingerIdle, w.progress.stall),
	}
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	if w.unframed || w.restState == restBroken {
		// Nobody knows where the body ends: the client must see an end of the answer.
		half, ok := conn.(interface{ CloseWrite() error })
		if !ok || half.CloseWrite() != nil {
			w.stopRead()
			return
		}
		rest.src = conn
	}
	// However it ends, the connection is closed now.
	_, _ = io.CopyN(io.Discard, rest, l.bytes)
}

// restReader reads what still comes of a request until it ends, pauses or has
// taken too long.
type restReader struct {
	of          *lingering
	src         io.Reader
	end         time.Time
	idle        time.Duration // the longest pause
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
