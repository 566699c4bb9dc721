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

// maxRetryAfter bounds how long a node may ask to wait.
const maxRetryAfter = 5 * time.Second

var (
	// ErrUsage is in the error of a call that was refused before anything was sent: an
	// argument or the Config is wrong.
	ErrUsage = errors.New("wrong use")
	// ErrNotFound is in the error of a Get or Delete of a key that does not exist.
	ErrNotFound = errors.New("there is no such key")
	// ErrConditionFailed is in the error of a write whose condition did not hold.
	ErrConditionFailed = errors.New("the condition does not hold")
)

// Outcome says what became of a call that failed.
type Outcome int

// Outcomes. A call that only reads is always NotDone.
const (
	Unknown Outcome = iota // it happened once or not at all
	NotDone                // nothing changed
	Done                   // it happened; its description alone could not be read
)

// String returns the outcome as the API names it: unknown, not_done or done.
func (o Outcome) String() string {
	switch o {
	case NotDone:
		return string(kv.NotDone)
	case Done:
		return "done"
	}
	return string(kv.Unknown)
}

// Error is why a call failed. A call that failed at several endpoints returns an
// error in which errors.As finds that of the first one; all of them are NotDone and
// Retryable then.
type Error struct {
	// Endpoint is the base URL of the endpoint that was asked, "" where none was.
	Endpoint string
	// Status is the HTTP status of the answer, 0 where there was none.
	Status int
	// Code names the reason: that of a class of package kv, "no_leader" for example, or
	// one of HTTP alone, such as "key_not_found"; "" where no node gave one.
	Code kv.Code
	// Outcome says what became of the call.
	Outcome Outcome
	// Retryable says that the same call may succeed later or at another endpoint, and
	// that nothing was done yet.
	Retryable bool
	// RetryAfter is how long the node asks to wait before that, at most 5 s; 0 where it
	// does not say.
	RetryAfter time.Duration
	// Revision is a revision that the answer is at least as new as, 0 where it has
	// none. Like that of a result it can be the MinRevision of later reads.
	Revision uint64
	// ModRevision is the key's revision where a condition failed, 0 for no such key.
	ModRevision uint64

	text  string
	cause error // nil where the answer says all
}

// Error returns what happened, in one line, with the endpoint where no node answered.
func (e *Error) Error() string {
	if e.Outcome == Unknown && !strings.Contains(strings.ToLower(e.text), "unknown") {
		return "outcome unknown, the write may or may not have happened: " + e.text
	}
	return e.text
}

// Unwrap returns what is below the error: ErrNotFound, ErrConditionFailed, ErrUsage,
// the end of a context, or an error of the network; nil where there is nothing.
func (e *Error) Unwrap() error { return e.cause }

// usagef returns the error of a call that must not be made.
func usagef(format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: kv.CodeInvalid, Outcome: NotDone, text: err.Error(), cause: &usageError{err}}
}

// usageError is an ErrUsage with its cause.
type usageError struct{ err error }

// Error implements error.
func (e *usageError) Error() string { return e.err.Error() }

// Is says that e is ErrUsage.
func (e *usageError) Is(target error) bool { return target == ErrUsage }

// Unwrap returns the cause.
func (e *usageError) Unwrap() error { return errors.Unwrap(e.err) }

// allFailed is the error of a call that no endpoint could do: one error for each.
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

// outcomeOf returns what became of a request that failed: a read changes nothing.
func outcomeOf(write, notDone bool) Outcome {
	if write && !notDone {
		return Unknown
	}
	return NotDone
}

// answerError returns the error that an answer without success stands for. An answer
// that is not a node's, a proxy's say, is judged by its status alone.
func answerError(resp *http.Response, endpoint string, write bool) *Error {
	e := &Error{Endpoint: endpoint, Status: resp.StatusCode, Revision: revisionOf(resp.Header)}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes)) // a cut body is judged by its status
	var p api.Problem
	if json.Unmarshal(body, &p) == nil && p.Title != "" && (p.Outcome == kv.NotDone || p.Outcome == kv.Unknown) {
		e.take(p, write)
	} else {
		e.text = fmt.Sprintf("%s answered %s", endpoint, resp.Status)
		if text := foreignText(body); text != "" {
			e.text += ": " + text
		}
		e.Retryable = resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode > 501
		// A proxy also says 408 of a request that it has passed on.
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

// take fills e with what a node says.
func (e *Error) take(p api.Problem, write bool) {
	e.text = p.Title
	if p.Detail != "" {
		e.text += ": " + p.Detail
	}
	e.Code, e.Retryable = p.Code, p.Retryable
	e.Outcome = outcomeOf(write, p.Outcome == kv.NotDone)
	switch p.Code {
	case api.CodeKeyNotFound:
		e.cause = ErrNotFound
	case api.CodeConditionFailed:
		e.cause = ErrConditionFailed
	}
}

// badAnswer returns the error of an answer whose status promised more than came.
func badAnswer(endpoint string, status int, o Outcome, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{
		Endpoint: endpoint, Status: status, Outcome: o, Retryable: o == NotDone,
		text: bare(endpoint) + ": " + err.Error(), cause: err,
	}
}

// bare returns an endpoint as messages show it.
func bare(endpoint string) string { return strings.TrimPrefix(endpoint, "http://") }
