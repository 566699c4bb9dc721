package httpapi

import (
	"net/http"
	"sync"
	"time"
)

// progressUnit is what a client must send or take within StallTimeout.
const progressUnit = 64 << 10

// dropTimeout is the longest that a body which nobody wants is read.
const dropTimeout = 500 * time.Millisecond

// response is the http.ResponseWriter of a request: it knows the route and the
// status for metrics, and gives every piece of an answer a deadline, so that a
// client that takes nothing is cut off. It has neither Unwrap nor Hijack: a
// connection that a handler took over would keep its slot for ever. It is used by
// one goroutine, but for stop.
type response struct {
	http.ResponseWriter
	deadlines *http.ResponseController
	stall     time.Duration
	route     string // the route's template; "none" until one matched
	status    int    // 0 until the answer has begun

	// mu guards the fields below, and that no deadline is set against them.
	mu       sync.Mutex
	begun    bool      // the answer has
	stopping bool      // the server stops
	limit    time.Time // no write's deadline is later, where both are true
}

// newResponse returns a response that writes to w.
func newResponse(w http.ResponseWriter, stall time.Duration) *response {
	return &response{
		ResponseWriter: w,
		deadlines:      http.NewResponseController(w),
		stall:          stall,
		route:          "none",
	}
}

// WriteHeader begins the answer.
func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.extendWrite()
	w.ResponseWriter.WriteHeader(status)
}

// Write writes p piece by piece; each must be taken within the stall timeout.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	for written := 0; ; {
		piece := p[written:min(len(p), written+progressUnit)]
		w.extendWrite()
		n, err := w.ResponseWriter.Write(piece)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// extendWrite gives the client the stall timeout to take what is written next.
func (w *response) extendWrite() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	deadline := now.Add(w.stall)
	if w.stopping && !w.begun {
		w.limit = now.Add(stopGrace)
	}
	w.begun = true
	if w.stopping && deadline.After(w.limit) {
		deadline = w.limit
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

// extendRead gives the client the stall timeout to send more of its body. It
// must not be called once the body has come: net/http takes the deadline away
// then, and reads on to notice a client that hangs up, for which it would take a
// deadline that passes.
func (w *response) extendRead() {
	_ = w.deadlines.SetReadDeadline(time.Now().Add(w.stall)) // see extendWrite
}

// dropRest bounds how long net/http reads and drops a body, or what is left of
// it, that its handler does not want. It does so before it sends an answer that
// keeps the connection, so this must end well before the answer's own deadline.
func (w *response) dropRest() {
	_ = w.deadlines.SetReadDeadline(time.Now().Add(min(w.stall/2, dropTimeout))) // see extendWrite
}

// closeAfter ends the connection with the answer, which then does not wait for
// the rest of the body: that is not worth reading, or can't be told from the
// next request. It still is read for a moment, lest the client be reset by what
// it sends before it has seen the answer.
func (w *response) closeAfter() {
	w.Header().Set("Connection", "close")
	w.dropRest()
}

// routeOf returns the template of the route that answers, for logs and metrics.
func routeOf(w http.ResponseWriter) string {
	if res, ok := w.(*response); ok {
		return res.route
	}
	return "none"
}
