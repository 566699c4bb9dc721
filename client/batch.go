package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"sync"
	"time"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// Do carries out a request: all of it at one revision, or nothing. Response.Results has one
// result for each operation of the branch that was done, so none if that branch is empty. An
// append is limited by the node's maximum of a value; Op.MaxBytes is ignored. A request with an
// IdempotencyKey, which must be UTF-8, is sent again as WithIdempotencyKey says.
func (c *Client) Do(ctx context.Context, r kv.Request) (kv.Response, error) {
	body, err := api.EncodeRequest(&r)
	if err != nil {
		return kv.Response{}, usagef("request: %w", err)
	}
	write := !r.ReadOnly()
	sent := request{method: http.MethodPost, path: "/txn", body: body, json: true, write: write, repeatable: write && r.IdempotencyKey != ""}
	a, err := c.call(ctx, c.timeout, sent, maxTxnAnswer)
	if err != nil {
		return kv.Response{}, err
	}
	response, err := api.DecodeResponse(a.body, &r)
	if err != nil {
		outcome := Done
		if !write {
			outcome = NotDone
		}
		return kv.Response{}, badAnswer(a.base, a.status, outcome, "read the results: %w", err)
	}
	return response, nil
}

// Batch carries out many requests that don't depend on each other over one connection, and
// yields the response or the error of each, in their order. Requests are sent while answers
// are received, so neither side is ever whole in memory. They are carried out side by side;
// those whose keys may overlap, in their order.
//
// Each request that was taken from requests gets one result. If the stream breaks off, the
// requests without an answer get its error, with their own outcome, and no other request is
// taken. If all of those that were taken have an answer, one more gets the error. So all
// requests were taken and answered if the loop has seen as many results as there are requests.
//
// Another goroutine takes the requests, one at a time, each when the one before is sent. A node
// ends the batch if it gets no request for 10 s. If the loop is left early, requests that were
// sent are carried out. A batch is sent to another endpoint only before any request of it.
//
// The time of a call limits how long an answer is awaited, but neither the loop's body nor
// requests, which may block. A loop that is left does not wait for it: requests ends by itself,
// or when it yields. If the context ends, requests is not awaited either. The last error may
// then be that of no request, and a request that is yielded later has no result.
func (c *Client) Batch(ctx context.Context, requests iter.Seq[kv.Request]) iter.Seq2[kv.Response, error] {
	return func(yield func(kv.Response, error) bool) {
		b := newBatch(ctx, c, requests)
		defer b.close()
		if err := b.begin(); err != nil {
			b.fail(yield, err)
			return
		}
		defer b.resp.Body.Close()
		b.answers(yield)
	}
}

// batch is a batch that is being sent and answered.
type batch struct {
	client   *Client
	user     context.Context // of the caller
	ctx      context.Context // of the request
	cancel   context.CancelCauseFunc
	release  func() // ends the calls of wake
	endpoint string
	resp     *http.Response
	stall    *time.Timer   // ends the request; see await
	stopped  chan struct{} // closed when the goroutine that takes the requests has ended

	mu      sync.Mutex
	changed *sync.Cond     // taking, over, ended, line or turn has changed, or a context has ended
	taking  bool           // a request is being taken, or is to be
	over    bool           // no other is to be taken
	ended   bool           // there are no more requests, or they are not taken any more
	line    []byte         // the rest of the last request's line that is not sent
	sent    bool           // a part of a request was sent
	turn    int            // the number of the attempt that may read the body; above all of them once it is over
	waiting []batchRequest // those without an answer
	open    int            // the number of those that a node answers
	awaited bool           // an answer is awaited
}

// batchRequest is a request without an answer.
type batchRequest struct {
	request kv.Request
	err     error // why it is not sent
	sent    bool  // all of it was sent
}

// newBatch returns a batch, and starts the goroutine that takes its requests. The caller
// closes it.
func newBatch(ctx context.Context, c *Client, requests iter.Seq[kv.Request]) *batch {
	b := &batch{client: c, user: ctx, stopped: make(chan struct{})}
	b.changed = sync.NewCond(&b.mu)
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	b.stall = time.AfterFunc(c.timeout, func() { b.cancel(&timeoutError{c.timeout}) })
	b.stall.Stop() // until a request awaits its answer
	stopUser, stopRequest := context.AfterFunc(b.user, b.wake), context.AfterFunc(b.ctx, b.wake)
	b.release = func() {
		stopUser()
		stopRequest()
	}
	go b.take(requests)
	return b
}

// wake makes all who wait for a change look again.
func (b *batch) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changed.Broadcast()
}

// begin sends the batch to the first endpoint that takes it.
func (b *batch) begin() error {
	first := b.client.first.Load()
	var failures []error
	for n := first; n < first+uint64(len(b.client.endpoints)); n++ {
		sent, err := b.try(n)
		if err == nil {
			b.client.first.CompareAndSwap(first, n)
			return nil
		}
		failed := (*Error)(nil)
		if sent || b.ctx.Err() != nil || !errors.As(err, &failed) || !failed.Retryable || len(b.client.endpoints) == 1 {
			return err
		}
		failures = append(failures, err)
	}
	return &allFailed{failures}
}

// try sends the batch to the nth endpoint. If it fails, nothing is sent any more, and sent says
// whether a part of a request was. The body is sent when the node agrees, or says nothing for a
// second. A connection that would be kept also gets the body after a refusal, so it is not kept.
func (b *batch) try(n uint64) (sent bool, err error) {
	b.endpoint = b.client.endpoint(n)
	b.mu.Lock()
	b.turn++
	body := &batchBody{b, b.turn}
	b.mu.Unlock()
	req, err := http.NewRequestWithContext(b.ctx, http.MethodPost, b.endpoint+"/batch", body)
	if err != nil {
		return false, fmt.Errorf("make request: %w", err)
	}
	req.Close = true
	req.Header.Set("Expect", "100-continue")
	req.Header.Set("Content-Type", "application/x-ndjson")
	b.await(true)
	resp, err := b.client.http.Do(req)
	b.await(false)
	switch {
	case err != nil:
		sent = b.stopSending()
		return sent, &Error{
			Endpoint: b.endpoint, Outcome: outcomeOf(sent, false), Retryable: !sent,
			text: bare(b.endpoint) + ": " + explain(b.ctx, err, nil).Error(), cause: endedOr(b.ctx, err),
		}
	case resp.StatusCode != http.StatusOK:
		defer resp.Body.Close()
		sent = b.stopSending()
		return sent, answerError(resp, b.endpoint, sent)
	case resp.Header.Get("Kvorum-Node") == "":
		defer resp.Body.Close()
		sent = b.stopSending()
		return sent, strangerError(resp, b.endpoint, sent)
	}
	b.resp = resp
	return false, nil
}

// stopSending ends the turn of the attempt: no byte is sent after it. It reports whether a part
// of a request was sent.
func (b *batch) stopSending() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn++
	b.changed.Broadcast()
	return b.sent
}

// await notes whether an answer is awaited. The request ends if one is for too long while a
// request is without one. So the time of the loop's body and of requests does not count.
func (b *batch) await(awaited bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.awaited = awaited; !awaited {
		b.stall.Stop()
	} else if b.open > 0 {
		b.stall.Reset(b.client.timeout)
	}
}

// batchBody is the body of one attempt to send a batch.
type batchBody struct {
	batch *batch
	turn  int
}

// Read implements io.Reader: it waits for a request when the last one is sent. A request that
// comes too late for its attempt is left to the next one.
func (r *batchBody) Read(p []byte) (int, error) {
	b := r.batch
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case b.turn != r.turn || b.ctx.Err() != nil:
			return 0, errBodyTaken
		case len(b.line) > 0:
			n := copy(p, b.line)
			b.line, b.sent = b.line[n:], true
			if last := len(b.waiting) - 1; len(b.line) == 0 && last >= 0 {
				b.waiting[last].sent = true
			}
			return n, nil
		case b.ended:
			return 0, io.EOF
		}
		b.taking = true
		b.changed.Broadcast()
		b.changed.Wait()
	}
}

// Close implements io.Closer; there is nothing to close.
func (r *batchBody) Close() error { return nil }

// take takes the requests, each when it is wanted.
func (b *batch) take(requests iter.Seq[kv.Request]) {
	defer close(b.stopped)
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.taking, b.ended = false, true
		b.changed.Broadcast()
	}()
	if !b.wanted() {
		return
	}
	for request := range requests {
		if b.add(request); !b.wanted() {
			return
		}
	}
}

// wanted waits until the next request is wanted, and returns false if none is any more.
func (b *batch) wanted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.taking && !b.over {
		b.changed.Wait()
	}
	return !b.over
}

// add adds a request that was taken.
func (b *batch) add(request kv.Request) {
	line, err := api.EncodeRequest(&request)
	if err != nil {
		err = usagef("request: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, batchRequest{request: request, err: err})
	b.taking = false
	if err == nil {
		b.line = append(line, '\n')
		if b.open++; b.open == 1 && b.awaited {
			b.stall.Reset(b.client.timeout)
		}
	}
	b.changed.Broadcast()
}

// batchAnswers reads the answer of a batch.
type batchAnswers struct{ batch *batch }

// Read implements io.Reader.
func (r batchAnswers) Read(p []byte) (int, error) {
	r.batch.await(true)
	defer r.batch.await(false)
	return r.batch.resp.Body.Read(p)
}

// answers yields the results of all requests.
func (b *batch) answers(yield func(kv.Response, error) bool) {
	lines := api.NewLines(batchAnswers{b})
	for {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			b.fail(yield, b.broken("the answer has no end"))
			return
		} else if err != nil {
			b.fail(yield, b.broken("the answer broke off: %w", transportReason(b.ctx, err)))
			return
		}
		var j struct {
			End   *bool        `json:"end"`
			Error *api.Problem `json:"error"`
		}
		switch err := json.Unmarshal(line, &j); {
		case err != nil:
			b.fail(yield, b.broken("bad answer: %w", err))
			return
		case j.End != nil:
			b.end(yield, j.Error)
			return
		}
		if !b.answer(yield, line, j.Error) {
			return
		}
	}
}

// answer yields the result of the next request that was sent, and before it the errors of those
// that were not. It returns false if no other may be yielded.
func (b *batch) answer(yield func(kv.Response, error) bool, line []byte, problem *api.Problem) bool {
	for {
		next, some := b.pop()
		switch {
		case !some:
			b.fail(yield, b.broken("there are more answers than requests"))
			return false
		case next.err != nil:
			if !yield(kv.Response{}, next.err) {
				return false
			}
			continue
		case problem != nil:
			return yield(kv.Response{}, b.refused(&next.request, problem))
		}
		response, err := api.DecodeResponse(line, &next.request)
		if err != nil {
			return yield(kv.Response{}, badAnswer(b.endpoint, b.resp.StatusCode, Done, "read the results: %w", err))
		}
		return yield(response, nil)
	}
}

// refused returns the error of a request that a node has answered with a problem.
func (b *batch) refused(r *kv.Request, problem *api.Problem) error {
	e := &Error{Endpoint: b.endpoint, Status: problem.Status}
	e.take(*problem, !r.ReadOnly())
	return e
}

// end yields what is left at the end of the answer, which may say why the rest was not done.
func (b *batch) end(yield func(kv.Response, error) bool, problem *api.Problem) {
	if problem == nil {
		b.fail(yield, nil)
		return
	}
	e := &Error{Endpoint: b.endpoint, Status: problem.Status}
	e.take(*problem, false) // no request without an answer was carried out
	b.fail(yield, e)
}

// pop removes the oldest request without an answer.
func (b *batch) pop() (next batchRequest, some bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.popLocked()
}

// popLocked is pop while mu is held.
func (b *batch) popLocked() (next batchRequest, some bool) {
	if len(b.waiting) == 0 {
		return next, false
	}
	if next, b.waiting = b.waiting[0], b.waiting[1:]; next.err == nil {
		b.open--
	}
	return next, true
}

// broken returns the error of an answer that can't be read.
func (b *batch) broken(format string, args ...any) *Error {
	e := badAnswer(b.endpoint, b.resp.StatusCode, Unknown, "batch: %w", fmt.Errorf(format, args...))
	e.cause = endedOr(b.ctx, e.cause)
	return e
}

// close ends the batch. It waits until requests has returned, unless that is taking its time.
func (b *batch) close() {
	b.stopSending()
	b.cancel(nil)
	b.stall.Stop()
	b.release()
	b.mu.Lock()
	b.over = true
	b.changed.Broadcast()
	busy := b.taking
	b.mu.Unlock()
	if !busy {
		<-b.stopped
	}
}

// fail yields err for each request without an answer, and for one more if there is none. If err
// is nil, the node has answered all that were sent.
func (b *batch) fail(yield func(kv.Response, error) bool, err error) {
	b.stopSending() // before the outcomes are decided
	b.cancel(nil)
	told := err == nil
	for {
		next, some := b.unanswered(!told)
		if !some {
			return
		}
		told = true
		reason := next.err
		if reason == nil {
			reason = b.outcome(&next.request, err, !next.sent)
		}
		if !yield(kv.Response{}, reason) {
			return
		}
	}
}

// unanswered removes the oldest request without an answer once nothing is sent any more. It waits
// for one that is being taken. If one is needed, it takes another one, and makes one up if the
// caller's context ends before.
func (b *batch) unanswered(needed bool) (next batchRequest, some bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if next, some = b.popLocked(); some || b.ended || !b.taking && !needed {
			return next, some
		}
		if b.user.Err() != nil {
			return next, needed
		}
		b.taking = true
		b.changed.Broadcast()
		b.changed.Wait()
	}
}

// outcome returns the error of a request without an answer. It is not done if it was not sent, or
// changes nothing, or if the node says so.
func (b *batch) outcome(r *kv.Request, err error, unsent bool) error {
	if err == nil {
		err = b.broken("the answer ends before that of the request")
	}
	failed := (*Error)(nil)
	if !errors.As(err, &failed) || failed.Outcome == NotDone {
		return err
	}
	e := *failed
	if unsent || r.ReadOnly() {
		e.Outcome, e.Retryable = NotDone, true
	} else {
		e.Outcome, e.Retryable = Unknown, false
	}
	return &e
}
