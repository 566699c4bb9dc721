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

// Errors of the protocol itself. None of them reaches the node, so all of them
// mean that nothing was done.
var (
	errNoRoute        = errors.New("there is nothing at this path")
	errMethod         = errors.New("this path does not have this method")
	errKeyNotFound    = errors.New("there is no such key")
	errPrecondition   = errors.New("the condition does not hold")
	errCrossOrigin    = errors.New("a page of another origin may not change anything here")
	errIdempotencyKey = errors.New("idempotency keys are not supported")
	errEncoding       = errors.New("the body must be sent as it is, without Content-Encoding")
	errUnexpectedBody = errors.New("this request takes no body")
	errLength         = errors.New("the request does not say how long its body is: send Content-Length, 0 for an empty value, or a chunked body (curl: --data-binary '' for an empty value)")
	errBadBody        = errors.New("the body could not be read whole")
	errBodyTimeout    = errors.New("the body came too slowly: send 32 KiB a second or more")
	errNotReady       = errors.New("this node can't serve")
)

// errPanicked is classified for a handler that panicked; being in no row of the
// table it is internal.
var errPanicked = errors.New("the handler panicked")

// Outcomes of a request that failed.
const (
	notDone = api.NotDone
	unknown = api.Unknown
)

// problems maps errors to answers. The first row that matches counts, so
// unknown outcomes stand before everything: an error that says both is unknown.
var problems = []struct {
	err       error
	status    int
	code      string
	title     string
	retryable bool
	outcome   api.Outcome
}{
	{kv.ErrUnknownOutcome, http.StatusGatewayTimeout, "unknown_outcome", "Outcome unknown", false, unknown},

	{kv.ErrLoading, http.StatusServiceUnavailable, "loading", "Loading", true, notDone},
	{errNotReady, http.StatusServiceUnavailable, "not_ready", "Not ready", true, notDone},
	{kv.ErrNoLeader, http.StatusServiceUnavailable, "no_leader", "No leader", true, notDone},
	{kv.ErrTimeout, http.StatusServiceUnavailable, "timeout", "No answer in time", true, notDone},
	{kv.ErrNotLeader, http.StatusServiceUnavailable, "not_leader", "Not the leader", true, notDone},
	{kv.ErrNotJoined, http.StatusServiceUnavailable, api.CodeNotJoined, "Not in a cluster", true, notDone},
	{kv.ErrRemoved, http.StatusServiceUnavailable, "removed", "Removed from its cluster", true, notDone},
	{kv.ErrClosed, http.StatusServiceUnavailable, "shutting_down", "Shutting down", true, notDone},
	{kv.ErrMemoryFull, http.StatusInsufficientStorage, "memory_full", "Memory nearly full", true, notDone},
	{kv.ErrDataLimit, http.StatusInsufficientStorage, "data_limit", "Data at its limit", true, notDone},
	{kv.ErrDiskFull, http.StatusInsufficientStorage, "disk_full", "Disk nearly full", true, notDone},
	{kv.ErrBehind, http.StatusServiceUnavailable, "behind", "Behind", true, notDone},
	{kv.ErrOverloaded, http.StatusTooManyRequests, "overloaded", "Too many requests in flight", true, notDone},

	{kv.ErrUnknownNode, http.StatusNotFound, "unknown_node", "No such node", false, notDone},
	{kv.ErrNameTaken, http.StatusConflict, "name_taken", "Name taken", false, notDone},
	{kv.ErrOtherCluster, http.StatusConflict, "other_cluster", "Belongs to another cluster", false, notDone},
	{kv.ErrQuorum, http.StatusConflict, "quorum", "Too few live voters would be left", false, notDone},
	{kv.ErrNoSuccessor, http.StatusConflict, "no_successor", "Leadership not handed over", true, notDone},
	{kv.ErrLastVoter, http.StatusConflict, "last_voter", "The only voter", false, notDone},
	{kv.ErrNothingToSnapshot, http.StatusConflict, "nothing_new", "Nothing new to snapshot", false, notDone},
	{kv.ErrSnapshotRunning, http.StatusConflict, "snapshot_running", "Snapshot under way", true, notDone},
	{kv.ErrUnreachable, http.StatusBadGateway, "unreachable", "Node unreachable", true, notDone},

	{errKeyNotFound, http.StatusNotFound, api.CodeKeyNotFound, "Key not found", false, notDone},
	{errPrecondition, http.StatusPreconditionFailed, api.CodeConditionFailed, "Condition failed", false, notDone},
	{errNoRoute, http.StatusNotFound, "no_route", "Not found", false, notDone},
	{errMethod, http.StatusMethodNotAllowed, "method_not_allowed", "Method not allowed", false, notDone},
	{errCrossOrigin, http.StatusForbidden, "cross_origin", "Cross-origin request", false, notDone},
	{errIdempotencyKey, http.StatusNotImplemented, "idempotency_key", "Idempotency-Key not supported", false, notDone},
	{errEncoding, http.StatusUnsupportedMediaType, "content_encoding", "Encoded body", false, notDone},
	{errUnexpectedBody, http.StatusBadRequest, "unexpected_body", "Unexpected body", false, notDone},
	{errLength, http.StatusLengthRequired, "length_required", "Length required", false, notDone},
	{errBadBody, http.StatusBadRequest, "bad_body", "Incomplete body", true, notDone},
	{errBodyTimeout, http.StatusRequestTimeout, "body_timeout", "Slow body", true, notDone},
}

// classify returns the answer to err. Only errors that say so mean that a
// mutation was not done; a deadline by itself, or an error that the table does
// not know, leaves its outcome unknown.
func classify(err error, mutation bool) api.Problem {
	var invalid *kv.ValidationError
	if errors.As(err, &invalid) && !errors.Is(err, kv.ErrUnknownOutcome) {
		return invalidRequest(invalid)
	}
	for _, row := range problems {
		if errors.Is(err, row.err) {
			detail := strings.ReplaceAll(err.Error(), "\n", "; ") // several errors joined
			return newProblem(row.status, row.code, row.title, detail, row.retryable, row.outcome)
		}
	}
	timedOut := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	switch {
	case timedOut && mutation:
		return newProblem(http.StatusGatewayTimeout, "unknown_outcome", "Outcome unknown",
			"no answer in time: the change may or may not have happened", false, unknown)
	case timedOut:
		return newProblem(http.StatusServiceUnavailable, "timeout", "No answer in time",
			"the node could not answer in time", true, notDone)
	case mutation:
		return newProblem(http.StatusInternalServerError, "internal", "Internal error",
			"an internal error, which the node has logged", false, unknown)
	default:
		return newProblem(http.StatusInternalServerError, "internal", "Internal error",
			"an internal error, which the node has logged", false, notDone)
	}
}

// invalidRequest returns the answer to a request that can never be carried out:
// 413 where it is too large, otherwise 400.
func invalidRequest(e *kv.ValidationError) api.Problem {
	if e.Size > e.Limit {
		return newProblem(http.StatusRequestEntityTooLarge, "too_large", "Too large", e.Error(), false, notDone)
	}
	return newProblem(http.StatusBadRequest, api.CodeInvalid, "Invalid request", e.Error(), false, notDone)
}

// newProblem returns a problem of the type that its code names.
func newProblem(status int, code, title, detail string, retryable bool, o api.Outcome) api.Problem {
	return api.Problem{
		Type:      "urn:kvorum:problem:" + code,
		Title:     title,
		Status:    status,
		Detail:    detail,
		Code:      code,
		Retryable: retryable,
		Outcome:   o,
	}
}

// writeError answers r with err, and logs it where it is internal.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	p := classify(err, isMutation(r))
	if p.Status == http.StatusInternalServerError {
		s.logger.Error("request failed", "method", r.Method, "route", routeOf(w), "err", err)
	}
	writeProblem(w, p)
}

// writeProblem answers with p. Retry-After goes with 503 and 429 alone: what
// comes with it is sent again by proxies.
func writeProblem(w http.ResponseWriter, p api.Problem) {
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

// writeJSON answers with v, which must be a value that always can be encoded.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("httpapi: encode %T: %v", v, err))
	}
	writeBody(w, status, contentType, append(body, '\n'))
}

// writeBody answers with a whole body.
func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	// A client that is gone, or takes nothing, gets no more of this connection:
	// net/http closes it when the body falls short of its Content-Length.
	_, _ = w.Write(body)
}

// isMutation says whether r asks for a change.
func isMutation(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead
}
