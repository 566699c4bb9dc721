package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// A batch is many requests that don't depend on each other, as JSON lines. A line is a
// transaction or a single operation. The answer has a line for each, in the same order, and
// an end:
//
//	{"put":{"key":"a","value":"x"}}                    {"revision":8,"result":{"existed":false,"mod_revision":8}}
//	{"if":[{"key":"a","version":9}],"then":[…]}        {"succeeded":false,"revision":8,"results":[]}
//	{"add":{"key":"text","delta":1}}                   {"error":{"code":"not_a_number",…}}
//	                                                   {"end":true,"count":3}
//
// Requests are carried out side by side, at most batchInFlight of them. Requests whose keys
// may overlap are carried out in the order of their lines. Both streams are read and written
// piece by piece: a client must read answers while it sends requests. A stream whose requests
// can't be read any more ends with {"end":false,"count":N,"error":{…}}: the first N
// requests have been answered, and no other was carried out.

const (
	// batchInFlight is the maximum number of requests of a batch that are in flight or wait
	// until their answers are written.
	batchInFlight = 64
	// batchBuffer is the number of bytes of answers that are collected before they are sent.
	batchBuffer = 16 << 10
)

// batch answers POST /batch.
func (s *Server) batch(w *response, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if err := refuseConditions(r.Header, "each request of a batch has its own conditions"); err != nil {
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
	b := &batch{
		server: s, w: w, stop: stop, expires: time.Now().Add(s.cfg.BatchTimeout),
		jobs: make(chan *batchJob, batchInFlight-2), // and one at each end of it
		out:  lineWriter{out: bufio.NewWriterSize(w, batchBuffer)},
	}
	w.stream(b.expires.Add(s.cfg.StallTimeout))
	w.Header().Set("Content-Type", linesType)
	lines := newLineReader(ctx, w, s.budget, s.maxTxnBytes())
	defer lines.close()
	var reader sync.WaitGroup
	reader.Go(func() { b.read(lines) })
	b.answer()
	reader.Wait()
	b.end()
	if b.out.err() != nil {
		panic(http.ErrAbortHandler) // the client must not take this for a whole answer
	}
	return nil
}

// batch is a batch that is being answered.
type batch struct {
	server  *Server
	w       *response
	stop    func()    // ends the reading
	expires time.Time // when no more requests are read
	jobs    chan *batchJob
	out     lineWriter
	count   int   // answered requests
	failed  error // why the rest of the requests can't be read; set before jobs is closed
}

// batchJob is one request of a batch.
type batchJob struct {
	batchRequest
	bytes    int64 // that are reserved in the budget, beside one request
	answer   int64 // bytes that are reserved for the answer
	response kv.Response
	err      error
	done     chan struct{} // closed when response and err are set
}

// read reads requests and begins them, until there are no more. Each is carried out by a
// goroutine of its own, which ends before the job is answered.
func (b *batch) read(lines *lineReader) {
	defer close(b.jobs)
	defer func() {
		if panicked := recover(); panicked != nil { // nothing else would catch it here
			b.server.panicked(panicked)
			b.failed = errPanicked
		}
	}()
	var inFlight []*batchJob
	for {
		line, err := b.next(lines)
		if err != nil {
			b.failed = err
			return
		}
		if line == nil {
			return
		}
		job := b.server.newJob(line)
		inFlight = unfinished(inFlight)
		before := job.after(inFlight)
		if b.jobs <- job; job.err != nil {
			close(job.done)
			continue
		}
		inFlight = append(inFlight, job)
		go b.server.run(job, before)
	}
}

// next returns the next line that is not empty, nil at the end.
func (b *batch) next(lines *lineReader) ([]byte, error) {
	if time.Now().After(b.expires) {
		return nil, errBatchTimeout
	}
	return lines.next()
}

// newJob returns the job of a line. If the line is wrong, or there is no room for it, its err
// is set.
func (s *Server) newJob(line []byte) *batchJob {
	job := &batchJob{done: make(chan struct{})}
	if job.batchRequest, job.err = s.readBatchRequest(line); job.err != nil {
		return job
	}
	if !s.budget.take(1, int64(len(line)), nil) {
		job.err = errNoRoom
		return job
	}
	job.bytes = int64(len(line))
	// In the order of the lines: an answer that waits for the one before must not have its room.
	expected := expectedAnswer(&job.request)
	if !s.budget.takeAnswer(expected) {
		job.err = errNoAnswerRoom
		return job
	}
	job.answer = expected
	return job
}

// run carries out a job once others are done.
func (s *Server) run(job *batchJob, before []*batchJob) {
	defer close(job.done)
	defer func() {
		if panicked := recover(); panicked != nil { // nothing else would catch it here
			s.panicked(panicked)
			job.err = errPanicked
		}
	}()
	for _, other := range before {
		<-other.done
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	var err error
	job.response, err = s.node.Do(ctx, job.request)
	size := int64(job.response.AnswerBytes())
	s.budget.putAnswer(job.answer - size)
	job.answer = size
	if err != nil {
		job.err = job.requestError(err)
		if kv.Classify(job.err) == nil {
			s.logger.Error("request failed", "method", http.MethodPost, "route", "/batch", "err", job.err)
		}
	}
}

// panicked logs a panic of a batch's goroutine.
func (s *Server) panicked(value any) {
	s.logger.Error("request panicked", "route", "/batch", "panic", value, "stack", string(debug.Stack()))
}

// unfinished returns the jobs that are not done.
func unfinished(jobs []*batchJob) []*batchJob {
	var rest []*batchJob
	for _, job := range jobs {
		select {
		case <-job.done:
		default:
			rest = append(rest, job)
		}
	}
	return rest
}

// after returns those of the jobs whose keys may overlap with those of j.
func (j *batchJob) after(jobs []*batchJob) (before []*batchJob) {
	for _, other := range jobs {
		if other.keys.Overlaps(j.keys) {
			before = append(before, other)
		}
	}
	return before
}

// answer writes the answers to all requests. If the client is gone, it stops the reading.
func (b *batch) answer() {
	for {
		job := receive(b.jobs, b.flush)
		if job == nil {
			return
		}
		receive(job.done, b.flush)
		b.w.restartProgress()
		b.write(job)
		b.count++
		if job.bytes > 0 {
			b.server.budget.put(1, job.bytes)
		}
		b.server.budget.putAnswer(job.answer)
		if b.out.err() != nil {
			b.stop()
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
func (b *batch) flush() {
	b.w.restartProgress()
	if b.out.out.Buffered() > 0 && b.out.out.Flush() == nil {
		_ = b.w.deadlines.Flush() // the next write returns its error
	}
}

// write writes the answer to a job.
func (b *batch) write(job *batchJob) {
	switch {
	case job.err != nil:
		b.out.raw(`{"error":`)
		b.out.raw(string(problemJSON(classify(job.err, !job.request.ReadOnly()))))
		b.out.raw("}")
	case job.single:
		b.out.number(`{"revision":`, job.response.Revision)
		b.out.replayed(job.response.Replayed)
		b.out.raw(`,"result":`)
		b.out.result(&job.request.Then[0], &job.response.Results[0])
		b.out.raw("}")
	default:
		b.out.response(&job.request, &job.response)
	}
	b.out.raw("\n")
}

// end writes the last line.
func (b *batch) end() {
	b.out.flag(`{"end":`, b.failed == nil)
	b.out.number(`,"count":`, uint64(b.count))
	if b.failed != nil {
		b.out.raw(`,"error":`)
		b.out.raw(string(problemJSON(classify(b.failed, false))))
	}
	b.out.raw("}\n")
	b.w.restartProgress()
	_ = b.out.out.Flush() // see lineWriter.err
}

// Errors that end a batch early.
var (
	errBatchTimeout = &protocolError{heading{http.StatusRequestTimeout, "Batch too long"}, "batch_timeout", true, "the batch took longer than it may: send the rest as another one"}
	errLineTimeout  = fmt.Errorf("%w, or a line of a batch within the time of a stalled body", errBodyTimeout)
)

// lineTooLong returns the error of a line above its limit.
func lineTooLong(limit int64) error {
	return tooLarge("line", "has at least", limit+1, limit)
}

// batchRequest is the request in a line of a batch.
type batchRequest struct {
	request kv.Request
	single  bool    // the line is a single operation
	keys    kv.Span // that hold all keys of the request
}

// readBatchRequest returns the request in a line.
func (s *Server) readBatchRequest(line []byte) (batchRequest, error) {
	r := s.newRequestReader(line)
	var b batchRequest
	b.request, b.single = r.transactionOrOp()
	r.End()
	b.keys = hullOf(&b.request)
	return b, bodyError(r.Err())
}

// requestError returns the error of the request, with the place in its line as the field.
func (b *batchRequest) requestError(err error) error {
	named := requestError(err, &b.request)
	invalid := (*kv.ValidationError)(nil)
	if b.single && errors.As(named, &invalid) {
		invalid.Field = trimFirst(invalid.Field) // requestError has made a copy
	}
	return named
}
