package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/internal/strictjson"
	"github.com/kvorum/kvorum/kv"
)

// Keep-alives of many leases are an exchange:
//
//	{"lease":"00000000000004d2"}                       {"lease":"00000000000004d2","ttl":"30s"}
//	{"lease":"00000000000004d3"}                       {"lease":"00000000000004d3","error":{"code":"lease_not_found",…}}
//	                                                   {"end":true,"count":2}

const (
	// keepAlivesInFlight is the maximum number of keep-alives of an exchange that are in flight
	// or wait until their answers are written. A keep-alive waits for the leader, and shares its
	// messages with others that wait.
	keepAlivesInFlight = 512
	// maxKeepAliveLine is the maximum length of a line.
	maxKeepAliveLine = 1 << 10
)

// keepAlives answers POST /leases/keepalive.
func (s *Server) keepAlives(w *response, r *http.Request) error {
	e := &exchange{
		server: s, w: w, route: keepAlivesRoute, inFlight: keepAlivesInFlight, maxLine: maxKeepAliveLine,
		newJob: func(line []byte) lineJob { return s.newKeepAlive(line) },
	}
	return e.run(r, "is not for leases")
}

// keepAliveJob is a line that keeps a lease alive, by a goroutine of its own.
type keepAliveJob struct {
	server *Server
	id     kv.LeaseID
	ttl    time.Duration
	err    error
	done   chan struct{} // closed when ttl and err are set
}

// newKeepAlive returns the job of a line. If the line is wrong, or there is no room for it, its
// err is set. Otherwise room for a request is reserved until it ends.
func (s *Server) newKeepAlive(line []byte) *keepAliveJob {
	job := &keepAliveJob{server: s, done: make(chan struct{})}
	b := strictjson.New(line)
	b.Object(func(name string) bool {
		if name == leaseField {
			job.id = readLease(b, api.ParseLease)
		}
		return name == leaseField
	})
	b.End()
	if job.id == 0 {
		b.FailAt(leaseField, "is required")
	}
	switch job.err = bodyError(b.Err()); {
	case job.err != nil:
	case !s.budget.takeRequest():
		job.err = errNoRoom
	}
	return job
}

func (j *keepAliveJob) start() {
	if j.err != nil {
		close(j.done)
		return
	}
	go j.run()
}

func (j *keepAliveJob) run() {
	defer close(j.done)
	defer j.server.budget.putRequest()
	defer func() {
		if panicked := recover(); panicked != nil { // nothing else would catch it here
			j.server.panicked(keepAlivesRoute, panicked)
			j.err = errPanicked
		}
	}()
	ctx, cancel := context.WithTimeout(j.server.ctx, j.server.cfg.RequestTimeout)
	defer cancel()
	if j.ttl, j.err = j.server.node.KeepAlive(ctx, j.id); j.err == nil && j.ttl == 0 {
		j.err = kv.ErrLeaseNotFound
	}
}

func (j *keepAliveJob) finished() <-chan struct{} { return j.done }

// release does nothing: a short answer waits for its client without room for a request, so that a
// client that takes none keeps no room from others.
func (j *keepAliveJob) release() {}

// answer writes the lease, and its time to live or the error.
func (j *keepAliveJob) answer(out *lineWriter) {
	out.raw("{")
	if j.id != 0 {
		out.raw(`"lease":"`)
		out.leaseID(j.id)
		out.raw(`",`)
	}
	if j.err != nil {
		out.raw(`"error":`)
		out.raw(string(problemJSON(classify(j.err, true))))
	} else {
		out.raw(`"ttl":"` + j.ttl.String() + `"`)
	}
	out.raw("}")
}
