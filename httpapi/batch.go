package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/kvorum/kvorum/kv"
)

// A batch is an exchange of requests that don't depend on each other. A line is a transaction or
// a single operation. The answer has a line for each:
//
//	{"put":{"key":"a","value":"x"}}                    {"revision":8,"result":{"existed":false,"mod_revision":8}}
//	{"if":[{"key":"a","version":9}],"then":[…]}        {"succeeded":false,"revision":8,"results":[]}
//	{"add":{"key":"text","delta":1}}                   {"error":{"code":"not_a_number",…}}
//	                                                   {"end":true,"count":3}
//
// Requests are carried out side by side, at most batchInFlight of them. Requests whose keys
// may overlap, or that name the same lease, are carried out in the order of their lines.

// batchInFlight is the maximum number of requests of a batch that are in flight or wait until
// their answers are written.
const batchInFlight = 64

// batch answers POST /batch.
func (s *Server) batch(w *response, r *http.Request) error {
	var inFlight []*batchJob
	e := &exchange{
		server: s, w: w, route: batchRoute, inFlight: batchInFlight, maxLine: s.maxTxnBytes(),
		newJob: func(line []byte) lineJob {
			job := s.newJob(line)
			inFlight = unfinished(inFlight)
			job.before = job.after(inFlight)
			if job.err == nil {
				inFlight = append(inFlight, job)
			}
			return job
		},
	}
	return e.run(r, "each request of a batch has its own conditions")
}

// batchRoute is the template of the route of batches.
const batchRoute = "/batch"

// batchJob is one request of a batch. It is carried out by a goroutine of its own, which ends
// before the job is answered.
type batchJob struct {
	batchRequest
	server   *Server
	before   []*batchJob // those that must be done before it
	requests int         // that are reserved in the budget, 0 or 1
	bytes    int64       // the same
	expected int64       // bytes that are reserved for the answer
	response kv.Response
	err      error
	done     chan struct{} // closed when response and err are set
}

// newJob returns the job of a line. If the line is wrong, or there is no room for it, its err
// is set.
func (s *Server) newJob(line []byte) *batchJob {
	job := &batchJob{server: s, done: make(chan struct{})}
	if job.batchRequest, job.err = s.readBatchRequest(line); job.err != nil {
		return job
	}
	if !s.budget.take(1, int64(len(line)), nil) {
		job.err = errNoRoom
		return job
	}
	job.requests, job.bytes = 1, int64(len(line))
	// In the order of the lines: an answer that waits for the one before must not have its room.
	expected := expectedAnswer(&job.request)
	if !s.budget.takeAnswer(expected) {
		job.err = errNoAnswerRoom
		return job
	}
	job.expected = expected
	return job
}

// start carries the job out once others are done.
func (j *batchJob) start() {
	if j.err != nil {
		close(j.done)
		return
	}
	go j.run()
}

func (j *batchJob) run() {
	s := j.server
	defer close(j.done)
	defer func() {
		if panicked := recover(); panicked != nil { // nothing else would catch it here
			s.panicked(batchRoute, panicked)
			j.err = errPanicked
		}
	}()
	for _, other := range j.before {
		<-other.done
	}
	j.before = nil // so that no chain of jobs remains
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	var err error
	j.response, err = s.node.Do(ctx, j.request)
	size := int64(j.response.AnswerBytes())
	s.budget.putAnswer(j.expected - size)
	j.expected = size
	if err != nil {
		j.err = j.requestError(err)
		if kv.Classify(j.err) == nil {
			s.logger.Error("request failed", "method", http.MethodPost, "route", batchRoute, "err", j.err)
		}
	}
}

func (j *batchJob) finished() <-chan struct{} { return j.done }

func (j *batchJob) release() {
	j.server.budget.put(j.requests, j.bytes)
	j.server.budget.putAnswer(j.expected)
}

// answer writes the answer to the request.
func (j *batchJob) answer(out *lineWriter) {
	switch {
	case j.err != nil:
		out.raw(`{"error":`)
		out.raw(string(problemJSON(classify(j.err, !j.request.ReadOnly()))))
		out.raw("}")
	case j.single:
		out.number(`{"revision":`, j.response.Revision)
		out.replayed(j.response.Replayed)
		out.raw(`,"result":`)
		out.result(&j.request.Then[0], &j.response.Results[0])
		out.raw("}")
	default:
		out.response(&j.request, &j.response)
	}
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

// after returns those of the jobs whose keys may overlap with those of j, or that have a lease in
// common with it.
func (j *batchJob) after(jobs []*batchJob) (before []*batchJob) {
	for _, other := range jobs {
		if j.mayAffect(&other.batchRequest) {
			before = append(before, other)
		}
	}
	return before
}

// batchRequest is the request in a line of a batch.
type batchRequest struct {
	request kv.Request
	single  bool         // the line is a single operation
	keys    kv.Span      // that hold all keys of the request
	leases  []kv.LeaseID // that it names
	revokes bool         // it ends a lease, and so may delete any key
}

// readBatchRequest returns the request in a line.
func (s *Server) readBatchRequest(line []byte) (batchRequest, error) {
	r := s.newRequestReader(line)
	var b batchRequest
	b.request, b.single = r.transactionOrOp()
	r.End()
	h := hullOf(&b.request)
	b.keys, b.leases, b.revokes = h.Span, h.leases, h.revokes
	return b, bodyError(r.Err())
}

// mayAffect reports whether the order of two requests may matter. A key has one lease at most, so
// that no two leases end with the same key.
func (b *batchRequest) mayAffect(other *batchRequest) bool {
	if b.keys.Overlaps(other.keys) && (!b.revokes || !other.revokes) {
		return true
	}
	return slices.ContainsFunc(b.leases, func(id kv.LeaseID) bool { return slices.Contains(other.leases, id) })
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
