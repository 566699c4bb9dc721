package httpapi

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// restState says what is known of the part of a request's body that was not read.
type restState int

const (
	restNone   restState = iota // there is none
	restUnread                  // it may still be read
	restSlow                    // it may still be read, but the answer does not wait for it
	restBroken                  // its end can't be found any more
)

// response is the http.ResponseWriter of a request: it knows the route and the
// status for metrics, and gives every piece of an answer a deadline, so that a
// client that takes nothing, or too little, is cut off. It has neither Unwrap nor
// Hijack: a connection that a handler took over would keep its slot for ever. It
// is used by one goroutine, but for stop and stopRead.
type response struct {
	http.ResponseWriter
	deadlines http.ResponseController
	conns     *connLimit // of all connections
	route     string     // the route's template; "none" until one matched
	status    int        // 0 until the answer has begun
	progress  progress
	latest    time.Time // when the answer must have been taken; zero is no bound of its own

	body            io.Reader // the request's
	length          int64     // its length as declared, -1 if that is not known
	expectsContinue bool      // the client waits for consent before it sends the body
	restState       restState
	unframed        bool // bytes may follow the request that are no request

	// list is what answers has this in, between prev and next; all nil for a write.
	list       *answerList
	prev, next *response

	// mu guards the fields below, and that no deadline is set against them.
	mu       sync.Mutex
	begun    bool      // the answer has
	stopping bool      // the server stops
	limit    time.Time // no write's deadline is later, where both are true
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

// Write writes p piece by piece; each must be taken in time.
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

// begin does once what comes before an answer.
func (w *response) begin(status int) {
	if w.status == 0 {
		w.status = status
		w.settleRest()
		if w.conns.giveWay() {
			w.closeAfter()
		}
	}
}

// extendWrite gives the client its time to take the next n bytes.
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
	// Only a writer without a connection, as in a test, has no deadlines.
	_ = w.deadlines.SetWriteDeadline(deadline)
}

// stop gives the client stopGrace for the whole rest of the answer. It may be
// called from any goroutine while the request lasts.
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

// setReadDeadline sets when the next part of the body must have come. It must not
// be called once the body has come: net/http takes the deadline away then, and
// reads on to notice a client that hangs up, for which it would take a deadline
// that passes.
func (w *response) setReadDeadline(t time.Time) {
	_ = w.deadlines.SetReadDeadline(t) // see extendWrite
}

// stopRead ends a read of the body that waits. It may be called by any goroutine
// while the body is read.
func (w *response) stopRead() { w.setReadDeadline(time.Now()) }

// bodyRead notes how a read of the body ended.
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

// closeAfter ends the connection with the answer: the rest of the body is not
// worth reading, or can't be told from the next request.
func (w *response) closeAfter() { w.Header().Set("Connection", "close") }

// routeOf returns the template of the route that answers, for logs and metrics.
func routeOf(w http.ResponseWriter) string {
	if res, ok := w.(*response); ok {
		return res.route
	}
	return "none"
}
