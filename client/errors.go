package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// maxRetryAfter is the maximum of Error.RetryAfter.
const maxRetryAfter = 5 * time.Second

var (
	// ErrUsage is matched by the error of a call that was refused before anything was
	// sent: an argument or the Config is wrong.
	ErrUsage = errors.New("wrong use")
	// ErrNotFound is matched by the error of a Get, Delete, Touch or Persist of a key that does
	// not exist.
	ErrNotFound = errors.New("there is no such key")
	// ErrConditionFailed is matched by the error of a write whose condition did not hold.
	ErrConditionFailed = errors.New("the condition does not hold")
)

// Outcome is the effect of a call that failed.
type Outcome int

// Outcomes. A call that only reads is always NotDone.
const (
	Unknown Outcome = iota // it happened once or not at all
	NotDone                // nothing changed
	Done                   // it happened; only its description could not be read
)

// String returns the outcome's name in the API: unknown, not_done or done.
func (o Outcome) String() string {
	switch o {
	case NotDone:
		return string(kv.NotDone)
	case Done:
		return "done"
	}
	return string(kv.Unknown)
}

// Error describes a call that failed. A call that failed at several endpoints returns an
// error in which errors.As finds that of the first one; then all of them are NotDone, and
// Retryable unless all endpoints have refused to continue a watch.
type Error struct {
	// Endpoint is the base URL of the endpoint that was asked, "" if none was.
	Endpoint string
	// Status is the HTTP status of the answer, 0 if there was none.
	Status int
	// Code names the reason: that of a class of package kv, "no_leader" for example, or
	// one of HTTP alone, such as "key_not_found"; "" if no node gave one.
	Code kv.Code
	// Outcome is the effect of the call.
	Outcome Outcome
	// Retryable means that the same call may succeed later or at another endpoint, and
	// that nothing was done yet.
	Retryable bool
	// RetryAfter is how long the node asks the caller to wait before another call, at most
	// 5 s; 0 if it does not ask.
	RetryAfter time.Duration
	// Revision is a revision that the answering node had reached, 0 if the answer has
	// none. It can be the MinRevision of later reads, like that of a result.
	Revision uint64
	// ModRevision is the key's revision if a condition failed, 0 if there is no such key.
	ModRevision uint64
	// CompactRevision is the oldest revision that can be read, if an older one was asked
	// for, otherwise 0.
	CompactRevision uint64

	text  string
	cause error // may be nil
}

// Error describes the failure in one line, with the endpoint if no node answered.
func (e *Error) Error() string {
	if e.Outcome == Unknown && !strings.Contains(strings.ToLower(e.text), "unknown") {
		return "outcome unknown, the write may or may not have happened: " + e.text
	}
	return e.text
}

// Unwrap returns the cause: ErrNotFound, ErrConditionFailed, ErrUsage, kv.ErrCompacted,
// kv.ErrLeaseNotFound, kv.ErrLeaseExists, the end of a context, an error of the network, or nil.
func (e *Error) Unwrap() error { return e.cause }

// mayBeLocal reports whether another endpoint may accept a read that one of them has refused with
// e: not if the history is compacted, or the caller's arguments or rights are the reason.
func (e *Error) mayBeLocal() bool {
	switch e.Code {
	case kv.ErrCompacted.Code, kv.CodeInvalid:
		return false
	}
	return e.Status != http.StatusUnauthorized && e.Status != http.StatusForbidden
}

// usagef returns the error of a call that must not be made.
func usagef(format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: kv.CodeInvalid, Outcome: NotDone, text: err.Error(), cause: &usageError{err}}
}

// usageError matches ErrUsage, and has a cause.
type usageError struct{ err error }

// Error implements error.
func (e *usageError) Error() string { return e.err.Error() }

// Is reports whether target is ErrUsage.
func (e *usageError) Is(target error) bool { return target == ErrUsage }

// Unwrap returns the cause.
func (e *usageError) Unwrap() error { return errors.Unwrap(e.err) }

// allFailed is the error of a call that no endpoint could do. It has one error for each.
type allFailed struct{ errs []error }

// Error implements error.
func (e *allFailed) Error() string {
	texts := make([]string, 0, len(e.errs))
	for _, err := range e.errs {
		texts = append(texts, err.Error())
	}
	return "no endpoint could do it: " + strings.Join(texts, "; ")
}

// Unwrap returns the errors of the endpoints.
func (e *allFailed) Unwrap() []error { return e.errs }

// outcomeOf returns the outcome of a request that failed: a read changes nothing.
func outcomeOf(write, notDone bool) Outcome {
	if write && !notDone {
		return Unknown
	}
	return NotDone
}

// answerError returns the error that belongs to an answer without success. If the answer
// is not a node's, but a proxy's for instance, only its status is used.
func answerError(resp *http.Response, endpoint string, write bool) *Error {
	e := &Error{Endpoint: endpoint, Status: resp.StatusCode, Revision: revisionOf(resp.Header)}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes)) // for an incomplete body the status is used
	var p api.Problem
	if json.Unmarshal(body, &p) == nil && p.Title != "" && (p.Outcome == kv.NotDone || p.Outcome == kv.Unknown) {
		e.take(p, write)
	} else {
		e.text = fmt.Sprintf("%s answered %s", endpoint, resp.Status)
		if text := foreignText(body); text != "" {
			e.text += ": " + text
		}
		e.Retryable = resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode > 501
		// A proxy may also answer 408 to a request that it has passed on.
		e.Outcome = outcomeOf(write, resp.StatusCode < 500 && resp.StatusCode != http.StatusRequestTimeout)
	}
	e.Retryable = e.Retryable && e.Outcome == NotDone
	if e.Code == api.CodeConditionFailed {
		e.ModRevision = modRevisionOf(resp.Header)
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = min(time.Duration(s)*time.Second, maxRetryAfter)
	}
	return e
}

// take fills e with a node's problem.
func (e *Error) take(p api.Problem, write bool) {
	e.text = p.Title
	if p.Detail != "" {
		e.text += ": " + p.Detail
	}
	e.Code, e.Retryable, e.CompactRevision = p.Code, p.Retryable, p.CompactRevision
	e.Outcome = outcomeOf(write, p.Outcome == kv.NotDone)
	switch p.Code {
	case api.CodeKeyNotFound:
		e.cause = ErrNotFound
	case api.CodeConditionFailed:
		e.cause = ErrConditionFailed
	case kv.ErrCompacted.Code:
		e.cause = kv.ErrCompacted
	case kv.ErrLeaseNotFound.Code:
		e.cause = kv.ErrLeaseNotFound
	case kv.ErrLeaseExists.Code:
		e.cause = kv.ErrLeaseExists
	}
}

// badAnswer returns the error of a successful answer whose body can't be used.
func badAnswer(endpoint string, status int, o Outcome, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{
		Endpoint: endpoint, Status: status, Outcome: o, Retryable: o == NotDone,
		text: bare(endpoint) + ": " + err.Error(), cause: err,
	}
}

// bare returns an endpoint in the form that messages show.
func bare(endpoint string) string { return strings.TrimPrefix(endpoint, "http://") }
