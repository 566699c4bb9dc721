package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// expectBytes is the maximum size of a value that a put sends at once. For a larger one
	// it first waits for the node's consent (Expect: 100-continue). So the refusal of a value
	// that is too large costs little. It can't be lost either: a node that closes a
	// connection with unread bytes may break it before the client has read the answer.
	expectBytes = 1 << 20
	// maxAnswerBytes is the maximum number of bytes that are read of an answer that is no value: 4 MiB.
	maxAnswerBytes = 4 << 20
)

// request is one call of the API, sent to one endpoint after the other.
type request struct {
	method string
	path   string     // escaped, with its query
	query  url.Values // of a change of a key, until it is in path; nil is none
	header map[string]string
	body   []byte // nil is none
	json   bool   // body is JSON, not a raw value
	write  bool   // changes the cluster's state: sent again only if certainly not done
	// repeatable means that the request has an idempotency key, and is sent again if its outcome
	// is unknown.
	repeatable bool
	// anywhere means that it was accepted before. So an endpoint that refuses it is perhaps
	// of another version, or is no node, and the next one is tried.
	anywhere bool
}

// setHeader sets a header.
func (r *request) setHeader(name, value string) {
	if r.header == nil {
		r.header = make(map[string]string)
	}
	r.header[name] = value
}

// answer is a successful answer, read completely.
type answer struct {
	endpoint uint64 // number of the endpoint that gave it, modulo their number
	base     string // URL of that endpoint
	status   int
	header   http.Header
	body     []byte
}

// timeoutError reports that a call's time has ended.
type timeoutError struct{ after time.Duration }

// Error implements error.
func (e *timeoutError) Error() string { return fmt.Sprintf("no answer within %v", e.after) }

// Unwrap returns context.DeadlineExceeded.
func (e *timeoutError) Unwrap() error { return context.DeadlineExceeded }

// call sends r to one endpoint after the other and reads the complete answer, of at most
// limit bytes. d is the maximum time for all of that.
func (c *Client) call(ctx context.Context, d time.Duration, r request, limit int64) (answer, error) {
	if err := r.setKey(ctx); err != nil {
		return answer{}, err
	}
	if r.repeatable {
		d = min(d, maxRepeat)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d, &timeoutError{d})
	defer cancel()
	if r.repeatable {
		return c.callAgain(ctx, d, r, limit)
	}
	resp, n, err := c.do(ctx, r)
	if err != nil {
		return answer{}, err
	}
	return c.read(ctx, resp, n, r.write, limit)
}

// read reads the body of the answer that the nth endpoint gave.
func (c *Client) read(ctx context.Context, resp *http.Response, n uint64, write bool, limit int64) (answer, error) {
	defer resp.Body.Close()
	a := answer{endpoint: n, base: c.endpoint(n), status: resp.StatusCode, header: resp.Header}
	var err error
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case write: // the status means that it is done
	case err != nil:
		e := badAnswer(a.base, a.status, NotDone, "answer broke off: %w", transportReason(ctx, err))
		e.cause = endedOr(ctx, e.cause)
		return answer{}, e
	case int64(len(a.body)) > limit:
		return answer{}, badAnswer(a.base, a.status, NotDone, "answer is larger than %d bytes", limit)
	}
	return a, nil
}

// decode reads the JSON of an answer into v. An error names the answer by what, and has
// the outcome o, which is known already.
func (a *answer) decode(what string, o Outcome, v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return badAnswer(a.base, a.status, o, "read %s: %w", what, err)
	}
	return nil
}

// do sends r to one endpoint after the other until one succeeds, and returns the number of
// that endpoint. It tries another endpoint if r is certainly not done, or changes nothing,
// and if the failure is one that another endpoint may not have. The caller closes the body.
func (c *Client) do(ctx context.Context, r request) (*http.Response, uint64, error) {
	first := c.first.Load()
	begin := first
	var failures []error
	for n := first; n < first+uint64(len(c.endpoints)); n++ {
		resp, err := c.try(ctx, r, n)
		if err == nil {
			c.first.CompareAndSwap(begin, n)
			return resp, n, nil
		}
		var e *Error
		silent := errors.As(err, &e) && e.Status == 0 && !errors.Is(err, context.Canceled)
		if silent && c.first.CompareAndSwap(n, n+1) {
			begin = n + 1 // also for the next call
		}
		elsewhere := e != nil && (e.Retryable || r.anywhere && e.mayBeLocal())
		if !elsewhere || ctx.Err() != nil || len(c.endpoints) == 1 {
			return nil, n, err
		}
		failures = append(failures, err)
	}
	return nil, first, &allFailed{failures}
}

// endpoint returns the base URL of the nth endpoint, counted modulo their number.
func (c *Client) endpoint(n uint64) string { return c.endpoints[n%uint64(len(c.endpoints))] }

// try sends r to the nth endpoint. Its error is an *Error unless the request itself
// could not be made.
func (c *Client) try(ctx context.Context, r request, n uint64) (*http.Response, error) {
	endpoint := c.endpoint(n)
	// Of a request that never had a connection, no bytes were sent.
	var conn atomic.Pointer[net.Conn]
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) { conn.Store(&got.Conn) },
	})
	body := &lentBody{bytes: r.body}
	defer body.take()
	req, err := newHTTPRequest(traced, endpoint, r, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		o := outcomeOf(r.write, conn.Load() == nil)
		return nil, &Error{
			Endpoint: endpoint, Outcome: o, Retryable: o == NotDone,
			text: bare(endpoint) + ": " + explain(ctx, err, conn.Load()).Error(), cause: endedOr(ctx, err),
		}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		return nil, answerError(resp, endpoint, r.write)
	}
	if resp.Header.Get("Kvorum-Node") == "" {
		defer resp.Body.Close()
		return nil, strangerError(resp, endpoint, r.write)
	}
	return resp, nil
}

// newHTTPRequest returns r as a request to an endpoint. body holds the bytes of r's body.
func newHTTPRequest(ctx context.Context, endpoint string, r request, body *lentBody) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, endpoint+r.path, http.NoBody)
	if err != nil {
		return nil, err
	}
	if len(r.body) > 0 {
		req.Body, req.ContentLength = body.reader(), int64(len(r.body))
		req.GetBody = func() (io.ReadCloser, error) { return body.reader(), nil }
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if len(r.body) > expectBytes {
		req.Header.Set("Expect", "100-continue")
	}
	switch {
	case r.json:
		req.Header.Set("Content-Type", "application/json")
	case r.body != nil && r.header["Content-Type"] == "":
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	return req, nil
}

// strangerError returns the error of a successful answer that is not a node's: a node names
// itself in each answer. A read may succeed elsewhere; the outcome of a write is not known.
func strangerError(resp *http.Response, endpoint string, write bool) *Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxForeignText)) // it is only shown
	text := fmt.Sprintf("%s answered %s, as no node does: %q; %s", endpoint, resp.Status, foreignText(body), noAPIHint)
	return &Error{Endpoint: endpoint, Status: resp.StatusCode, Outcome: outcomeOf(write, false), Retryable: !write, text: text}
}

// revisionOf returns the revision in an answer, 0 for none.
func revisionOf(h http.Header) uint64 { return numberOf(h, "Kvorum-Revision") }

// numberOf returns the number in a header, 0 for none.
func numberOf(h http.Header, name string) uint64 {
	n, _ := strconv.ParseUint(h.Get(name), 10, 64) // 0 if it is no number
	return n
}

// modRevisionOf returns the key's revision in an answer, 0 for none.
func modRevisionOf(h http.Header) uint64 {
	revision, _ := strconv.ParseUint(strings.Trim(h.Get("ETag"), `"`), 10, 64) // 0 if it is no number
	return revision
}

// jsonRequest returns a request that changes the cluster, with body as JSON.
func jsonRequest(path string, body any) (request, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return request{}, fmt.Errorf("encode request: %w", err)
	}
	return request{method: http.MethodPost, path: path, body: data, json: true, write: true}, nil
}

// optional returns a pointer to name, or nil if name is "": then the field is omitted.
func optional(name string) *string {
	if name == "" {
		return nil
	}
	return &name
}
