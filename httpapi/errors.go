package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// heading has the parts of an error's answer that its class does not have.
type heading struct {
	status int
	title  string
}

// headings has the heading of every class of package kv, by the class's code.
var headings = map[kv.Code]heading{
	kv.CodeInvalid:  {http.StatusBadRequest, "Invalid request"},
	kv.CodeTooLarge: {http.StatusRequestEntityTooLarge, "Too large"},

	kv.ErrUnknownOutcome.Code: {http.StatusGatewayTimeout, "Outcome unknown"},

	kv.ErrLoading.Code:     {http.StatusServiceUnavailable, "Loading"},
	kv.ErrNoLeader.Code:    {http.StatusServiceUnavailable, "No leader"},
	kv.ErrTimeout.Code:     {http.StatusServiceUnavailable, "No answer in time"},
	kv.ErrNotLeader.Code:   {http.StatusServiceUnavailable, "Not the leader"},
	kv.ErrNotJoined.Code:   {http.StatusServiceUnavailable, "Not in a cluster"},
	kv.ErrRemoved.Code:     {http.StatusServiceUnavailable, "Removed from its cluster"},
	kv.ErrClosed.Code:      {http.StatusServiceUnavailable, "Shutting down"},
	kv.ErrMemoryFull.Code:  {http.StatusInsufficientStorage, "Memory nearly full"},
	kv.ErrDataLimit.Code:   {http.StatusInsufficientStorage, "Data at its limit"},
	kv.ErrDiskFull.Code:    {http.StatusInsufficientStorage, "Disk nearly full"},
	kv.ErrBehind.Code:      {http.StatusServiceUnavailable, "Behind"},
	kv.ErrOverloaded.Code:  {http.StatusTooManyRequests, "Too many requests in flight"},
	kv.ErrUnsupported.Code: {http.StatusNotImplemented, "Not supported by all members"},

	kv.ErrCompacted.Code:   {http.StatusGone, "Revision compacted"},
	kv.ErrFuture.Code:      {http.StatusBadRequest, "Future revision"},
	kv.ErrNotNumber.Code:   {http.StatusConflict, "Not a number"},
	kv.ErrOverflow.Code:    {http.StatusConflict, "Overflow"},
	kv.ErrValueLimit.Code:  {http.StatusRequestEntityTooLarge, "Value too large"},
	kv.ErrAnswerLimit.Code: {http.StatusRequestEntityTooLarge, "Answer too large"},
	kv.ErrKeyLimit.Code:    {http.StatusRequestEntityTooLarge, "Too many keys"},

	kv.ErrQuotaTooLow.Code: {http.StatusConflict, "Quota below what is stored"},

	kv.ErrIdempotencyReused.Code: {http.StatusUnprocessableEntity, "Idempotency key of another request"},

	kv.ErrLeaseNotFound.Code: {http.StatusNotFound, "Lease not found"},
	kv.ErrLeaseExists.Code:   {http.StatusConflict, "Lease exists"},

	kv.ErrUnknownNode.Code:       {http.StatusNotFound, "No such node"},
	kv.ErrNameTaken.Code:         {http.StatusConflict, "Name taken"},
	kv.ErrTooOld.Code:            {http.StatusConflict, "Version too old"},
	kv.ErrOtherCluster.Code:      {http.StatusConflict, "Belongs to another cluster"},
	kv.ErrQuorum.Code:            {http.StatusConflict, "Too few live voters would be left"},
	kv.ErrNoSuccessor.Code:       {http.StatusConflict, "Leadership not handed over"},
	kv.ErrLastVoter.Code:         {http.StatusConflict, "The only voter"},
	kv.ErrNothingToSnapshot.Code: {http.StatusConflict, "Nothing new to snapshot"},
	kv.ErrSnapshotRunning.Code:   {http.StatusConflict, "Snapshot under way"},
	kv.ErrUnreachable.Code:       {http.StatusBadGateway, "Node unreachable"},
}

// protocolError is a class of errors that only HTTP has. A request that fails with one has
// changed nothing.
type protocolError struct {
	heading
	code      kv.Code
	retryable bool
	text      string
}

// Error implements error.
func (e *protocolError) Error() string { return e.text }

// Errors of the protocol itself.
var (
	errKeyNotFound    = &protocolError{heading{http.StatusNotFound, "Key not found"}, api.CodeKeyNotFound, false, "there is no such key"}
	errPrecondition   = &protocolError{heading{http.StatusPreconditionFailed, "Condition failed"}, api.CodeConditionFailed, false, "the condition does not hold"}
	errNoRoute        = &protocolError{heading{http.StatusNotFound, "Not found"}, "no_route", false, "there is nothing at this path"}
	errMethod         = &protocolError{heading{http.StatusMethodNotAllowed, "Method not allowed"}, "method_not_allowed", false, "this path does not have this method"}
	errCrossOrigin    = &protocolError{heading{http.StatusForbidden, "Cross-origin request"}, "cross_origin", false, "a page of another origin may not change anything here"}
	errEncoding       = &protocolError{heading{http.StatusUnsupportedMediaType, "Encoded body"}, "content_encoding", false, "the body must be sent as it is, without Content-Encoding"}
	errUnexpectedBody = &protocolError{heading{http.StatusBadRequest, "Unexpected body"}, "unexpected_body", false, "this request takes no body"}
	errLength         = &protocolError{heading{http.StatusLengthRequired, "Length required"}, "length_required", false, "the request does not say how long its body is: send Content-Length, 0 for an empty value, or a chunked body (curl: --data-binary '' for an empty value)"}
	errBadBody        = &protocolError{heading{http.StatusBadRequest, "Incomplete body"}, "bad_body", true, "the body could not be read whole"}
	errBodyTimeout    = &protocolError{heading{http.StatusRequestTimeout, "Slow body"}, "body_timeout", true, "the body came too slowly: send 32 KiB a second or more"}
	errViewEnded      = &protocolError{heading{http.StatusServiceUnavailable, "List ended early"}, "view_ended", true, "the list took longer than its view may be held; its cursor continues it while its revision is kept"}
	errStateEnded     = &protocolError{heading{http.StatusServiceUnavailable, "State not sent in time"}, "view_ended", true, "the state took longer than its view may be held: begin the watch again, and read faster, or watch a smaller range"}
	errNotReady       = &protocolError{heading{http.StatusServiceUnavailable, "Not ready"}, "not_ready", true, "this node can't serve"}
)

// errPanicked is the error of a handler that panicked. It has no class, so it is an
// internal error.
var errPanicked = errors.New("the handler panicked")

// classify returns the answer to err. A mutation was not done only if the class of its
// error says so. After a deadline alone, or an error without a class, its outcome is
// unknown. If an error is of several classes, kv.ErrUnknownOutcome has precedence.
func classify(err error, mutation bool) api.Problem {
	class := kv.Classify(err)
	if own := (*protocolError)(nil); class != kv.ErrUnknownOutcome && errors.As(err, &own) {
		return newProblem(own.heading, &kv.Error{Code: own.code, Outcome: kv.NotDone, Retryable: own.retryable}, oneLine(err))
	}
	if class != nil {
		if h, ok := headings[class.Code]; ok {
			return withFacts(newProblem(h, class, detailOf(class, err)), err)
		}
	}
	timedOut := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	switch {
	case timedOut && mutation:
		return newProblem(headings[kv.ErrUnknownOutcome.Code], kv.ErrUnknownOutcome,
			"no answer in time: the change may or may not have happened")
	case timedOut:
		return newProblem(headings[kv.ErrTimeout.Code], kv.ErrTimeout, "the node could not answer in time")
	}
	internal := &kv.Error{Code: "internal", Outcome: kv.NotDone}
	if mutation {
		internal.Outcome = kv.Unknown
	}
	return newProblem(heading{http.StatusInternalServerError, "Internal error"}, internal,
		"an internal error, which the node has logged")
}

// withFacts returns a problem with what a program needs of the error that is not a word.
func withFacts(p api.Problem, err error) api.Problem {
	if compacted := (*kv.CompactedError)(nil); errors.As(err, &compacted) {
		p.CompactRevision = compacted.CompactRevision
	}
	if invalid := (*kv.ValidationError)(nil); errors.As(err, &invalid) {
		p.Field, p.Size, p.Limit = invalid.Field, invalid.Size, invalid.Limit
	}
	p.Replayed = errors.As(err, new(*kv.ReplayedError))
	return p
}

// detailOf returns the detail of an error of a class. It omits the context in which the
// node found a *kv.ValidationError.
func detailOf(class *kv.Error, err error) string {
	invalid := (*kv.ValidationError)(nil)
	if class != kv.ErrUnknownOutcome && errors.As(err, &invalid) {
		return invalid.Error()
	}
	return oneLine(err)
}

// oneLine returns the text of an error on one line; joined errors have a line each.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// newProblem returns the problem of a class; its code determines its type.
func newProblem(h heading, class *kv.Error, detail string) api.Problem {
	return api.Problem{
		Type:      "urn:kvorum:problem:" + string(class.Code),
		Title:     h.title,
		Status:    h.status,
		Detail:    detail,
		Code:      class.Code,
		Retryable: class.Retryable,
		Outcome:   class.Outcome,
	}
}

// writeError answers r with err, and logs an internal error.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	p := classify(err, isMutation(r))
	if p.Status == http.StatusInternalServerError {
		s.logger.Error("request failed", "method", r.Method, "route", routeOf(w), "err", err)
	}
	setReplayed(w.Header(), p.Replayed)
	writeProblem(w, p)
}

// writeProblem answers with p. Only 503 and 429 have Retry-After, because proxies send a
// request with such an answer again.
func writeProblem(w http.ResponseWriter, p api.Problem) {
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

// problemJSON returns a problem as JSON.
func problemJSON(p api.Problem) []byte {
	body, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("httpapi: encode a problem: %v", err))
	}
	return body
}

// writeJSON answers with v, whose encoding must not fail.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	writeBody(w, status, contentType, encodeJSON(v))
}

// encodeJSON returns the body of an answer.
func encodeJSON(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("httpapi: encode %T: %v", v, err))
	}
	return append(body, '\n')
}

// writeBody answers with a whole body.
func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	values := []string{contentType, strconv.Itoa(len(body))} // values of both headers, in one allocation
	h["Content-Type"], h["Content-Length"] = values[:1:1], values[1:]
	w.WriteHeader(status)
	// If the client is gone or takes nothing, net/http closes the connection, because the
	// body is shorter than its Content-Length.
	_, _ = w.Write(body)
}

// isMutation reports whether r asks for a change.
func isMutation(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead
}
