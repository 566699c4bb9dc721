package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// An exchange is a stream of JSON lines that is answered line by line, in the same order, with an
// end. Lines are carried out side by side, a limited number of them. Both streams are read and
// written piece by piece: a client must read answers while it sends. A stream whose lines can't be
// read any more ends with {"end":false,"count":N,"error":{…}}: the first N lines have been
// answered, and no other was carried out.

// exchangeBuffer is the number of bytes of answers that are collected before they are sent.
const exchangeBuffer = 16 << 10

// lineJob is a line that is being answered.
type lineJob interface {
	// start begins what is left to do of it, once there is room for one more in flight.
	start()
	// finished returns a channel that is closed when the answer is known.
	finished() <-chan struct{}
	// answer writes the answer, without the end of the line.
	answer(out *lineWriter)
	// release gives back what was reserved for the job.
	release()
}

// exchange is an exchange that is being answered.
type exchange struct {
	server   *Server
	w        *response
	route    string
	inFlight int // maximum number of lines that are in flight or wait until their answers are written, at least 2
	maxLine  int64
	newJob   func(line []byte) lineJob // called for one line after the other

	stop    func()    // ends the reading
	expires time.Time // when no more lines are read
	jobs    chan lineJob
	out     lineWriter
	count   int   // answered lines
	failed  error // why the rest of the lines can't be read; set before jobs is closed
}

// run answers a request with the exchange. conditions says why it has no conditions.
func (e *exchange) run(r *http.Request, conditions string) error {
	s, w := e.server, e.w
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if err := refuseConditions(r.Header, conditions); err != nil {
		return err
	}
	if err := checkEncoding(r.Header); err != nil {
		return err
	}
	if err := w.checkLength(r, true); err != nil {
		return err
	}
	_, done, err := s.beginStream(r.Context())
	if err != nil {
		return err
	}
	defer done()
	ctx, stop := context.WithCancel(s.stopping)
	defer stop()
	interrupt := context.AfterFunc(ctx, w.stopRead)
	defer interrupt()
	e.stop, e.expires = stop, time.Now().Add(s.cfg.BatchTimeout)
	e.jobs = make(chan lineJob, e.inFlight-2) // and one at each end of it
	e.out = lineWriter{out: bufio.NewWriterSize(w, exchangeBuffer)}
	w.stream(e.expires.Add(s.cfg.StallTimeout))
	w.Header().Set("Content-Type", linesType)
	lines := newLineReader(ctx, w, s.budget, e.maxLine)
	defer lines.close()
	var reader sync.WaitGroup
	reader.Go(func() { e.read(lines) })
	e.answer()
	reader.Wait()
	e.end()
	if e.out.err() != nil {
		panic(http.ErrAbortHandler) // the client must not take this for a whole answer
	}
	return nil
}

// read reads lines and starts their jobs, until there are no more.
func (e *exchange) read(lines *lineReader) {
	defer close(e.jobs)
	defer func() {
		if panicked := recover(); panicked != nil { // nothing else would catch it here
			e.server.panicked(e.route, panicked)
			e.failed = errPanicked
		}
	}()
	for {
		line, err := e.next(lines)
		if err != nil {
			e.failed = err
			return
		}
		if line == nil {
			return
		}
		job := e.newJob(line)
		e.jobs <- job
		job.start()
	}
}

// next returns the next line that is not empty, nil at the end.
func (e *exchange) next(lines *lineReader) ([]byte, error) {
	if time.Now().After(e.expires) {
		return nil, errBatchTimeout
	}
	return lines.next()
}

// answer writes the answers to all lines. If the client is gone, it stops the reading.
func (e *exchange) answer() {
	for {
		job := receive(e.jobs, e.flush)
		if job == nil {
			return
		}
		receive(job.finished(), e.flush)
		e.w.restartProgress()
		job.answer(&e.out)
		e.out.raw("\n")
		e.count++
		if job.release(); e.out.err() != nil {
			e.stop()
		}
	}
}

// receive receives from ch, and calls wait first if it must wait.
func receive[T any](ch <-chan T, wait func()) T {
	select {
	case v := <-ch:
		return v
	default:
		wait()
		return <-ch
	}
}

// flush sends what was written.
func (e *exchange) flush() {
	e.w.restartProgress()
	if e.out.out.Buffered() > 0 && e.out.out.Flush() == nil {
		_ = e.w.deadlines.Flush() // the next write returns its error
	}
}

// end writes the last line.
func (e *exchange) end() {
	e.out.flag(`{"end":`, e.failed == nil)
	e.out.number(`,"count":`, uint64(e.count))
	if e.failed != nil {
		e.out.raw(`,"error":`)
		e.out.raw(string(problemJSON(classify(e.failed, false))))
	}
	e.out.raw("}\n")
	e.w.restartProgress()
	_ = e.out.out.Flush() // see lineWriter.err
}

// panicked logs a panic of a goroutine of an exchange.
func (s *Server) panicked(route string, value any) {
	s.logger.Error("request panicked", "route", route, "panic", value, "stack", string(debug.Stack()))
}

// Errors that end an exchange early.
var (
	errBatchTimeout = &protocolError{heading{http.StatusRequestTimeout, "Batch too long"}, "batch_timeout", true, "the batch took longer than it may: send the rest as another one"}
	errLineTimeout  = fmt.Errorf("%w, or a line of a batch within the time of a stalled body", errBodyTimeout)
)

// lineTooLong returns the error of a line above its limit.
func lineTooLong(limit int64) error {
	return tooLarge("line", "has at least", limit+1, limit)
}
