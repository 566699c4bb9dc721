package httpapi

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// restState is the state of the part of a request's body that was not read.
type restState int

const (
	restNone   restState = iota // there is no such part
	restUnread                  // it may still be read
	restSlow                    // it may still be read, but the answer does not wait for it
	restBroken                  // its end can't be found
)

// response is the http.ResponseWriter of a request. It has the route and the status for
// metrics. It sets a deadline for every piece of an answer, which ends the connection of a
// client that takes nothing, or too little. It has neither Unwrap nor Hijack: a connection
// that a handler took over would keep its slot for ever. Only stop and stopRead are safe
// for concurrent use.
type response struct {
	http.ResponseWriter
	deadlines http.ResponseController
	conns     *connLimit // of all connections
	route     string     // the route's template; "none" until one matched
	status    int        // 0 until the answer has begun
	progress  progress
	latest    time.Time // deadline of the whole answer; zero means none

	body            io.Reader // the request's
	length          int64     // its length as declared, -1 if that is not known
	expectsContinue bool      // the client waits for 100 Continue before it sends the body
	restState       restState
	unframed        bool  // bytes that are not a request may follow the request
	streams         bool  // the body is read while the answer is written
	answerBytes     int64 // that are reserved for the answer; see Server.expectAnswer

	idempotencyKey string // of the request, "" if there is none

	// list is the answers' list that has this, between prev and next; all three are nil for
	// a write.
	list       *answerList
	prev, next *response

	// mu guards the fields below, and is held while a write deadline is set.
	mu       sync.Mutex
	begun    bool      // the answer has begun
	stopping bool      // the server stops
	limit    time.Time // maximum of write deadlines if begun and stopping are set
}

// newResponse returns a response to r that writes to w.
func newResponse(w http.ResponseWriter, r *http.Request, conns *connLimit, stall time.Duration) *response {
	res := &response{
		ResponseWriter:  w,
		deadlines:       *http.NewResponseController(w),
		conns:           conns,
		route:           "none",
		progress:        progress{stall: stall},
		body:            r.Body,
		length:          r.ContentLength,
		expectsContinue: r.Header.Get("Expect") != "",
	}
	if r.ContentLength != 0 {
		res.restState = restUnread
	}
	return res
}

// WriteHeader begins the answer.
func (w *response) WriteHeader(status int) {
	w.begin(status)
	w.extendWrite(0)
	w.ResponseWriter.WriteHeader(status)
}

// Write writes p piece by piece; the client must take each in time.
func (w *response) Write(p []byte) (int, error) {
	w.begin(http.StatusOK)
	for written := 0; ; {
		piece := p[written:min(len(p), written+progressUnit)]
		w.extendWrite(len(piece))
		n, err := w.ResponseWriter.Write(piece)
		written += n
		w.progress.done += int64(n)
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// flush sends what the server has buffered of the answer.
func (w *response) flush() error { return w.deadlines.Flush() }

// begin does, once, the work before an answer.
func (w *response) begin(status int) {
	if w.status == 0 {
		w.status = status
		if !w.streams {
			w.settleRest()
		}
		if w.conns.giveWay() {
			w.closeAfter()
		}
	}
}

// stream lets the body be read while the answer is written, by another goroutine. The answer
// must end by latest. A body that is not read to its end closes the connection.
func (w *response) stream(latest time.Time) {
	w.streams, w.latest = true, latest
	_ = w.deadlines.EnableFullDuplex() // only a writer without a connection can't
}

// restartProgress begins the time for the next pieces of an answer that waits for something
// else than its client.
func (w *response) restartProgress() { w.progress = progress{stall: w.progress.stall} }

// extendWrite sets the deadline for the next n bytes.
func (w *response) extendWrite(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	deadline := w.progress.deadline(n)
	if w.stopping && !w.begun {
		w.limit = time.Now().Add(stopGrace)
	}
	w.begun = true
	if w.stopping && deadline.After(w.limit) {
		deadline = w.limit
	}
	if !w.latest.IsZero() && deadline.After(w.latest) {
		deadline = w.latest
	}
	// Only a writer without a connection, as in tests, has no deadlines.
	_ = w.deadlines.SetWriteDeadline(deadline)
}

// stop limits the rest of the answer to stopGrace. It is safe for concurrent use while the
// request lasts.
func (w *response) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopping {
		return
	}
	w.stopping, w.limit = true, time.Now().Add(stopGrace)
	if w.begun {
		_ = w.deadlines.SetWriteDeadline(w.limit) // see extendWrite
	}
}

// setReadDeadline sets the time by which the next part of the body must have arrived. It
// must not be called after the end of the body. There net/http removes the deadline and
// continues to read, to notice a client that disconnects; it would take a passed deadline
// for that.
func (w *response) setReadDeadline(t time.Time) {
	_ = w.deadlines.SetReadDeadline(t) // see extendWrite
}

// stopRead ends a waiting read of the body. It is safe for concurrent use while the body is
// read.
func (w *response) stopRead() { w.setReadDeadline(time.Now()) }

// bodyRead updates restState after a read of the body.
func (w *response) bodyRead(err error) {
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded) && w.length >= 0:
		w.restState = restSlow
	case errors.Is(err, io.EOF):
		w.restState = restNone
	default: // a chunked body can't be read any more after any error
		w.restState = restBroken
	}
}

// closeAfter makes the connection end after the answer: the rest of the body is too much to
// read, or can't be distinguished from the next request.
func (w *response) closeAfter() { w.Header().Set("Connection", "close") }

// routeOf returns the template of the request's route, for logs and metrics.
func routeOf(w http.ResponseWriter) string {
	if res, ok := w.(*response); ok {
		return res.route
	}
	return "none"
}
