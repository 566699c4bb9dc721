package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

func TestErrors_Table(t *testing.T) {
	tooLarge := &kv.ValidationError{Field: "value", Reason: "has 9 bytes, the limit is 8", Size: 9, Limit: 8}
	invalid := &kv.ValidationError{Field: "key", Reason: "is odd"}
	const notDone, unknown = "not_done", "unknown"
	for _, test := range []struct {
		err       error
		status    int
		code      string
		retryable bool
		outcome   string // of a write; a read always is not done
	}{
		{kv.ErrNoLeader, 503, "no_leader", true, notDone},
		{kv.ErrTimeout, 503, "timeout", true, notDone},
		{kv.ErrNotLeader, 503, "not_leader", true, notDone},
		{kv.ErrNotJoined, 503, "not_joined", true, notDone},
		{kv.ErrRemoved, 503, "removed", true, notDone},
		{kv.ErrClosed, 503, "shutting_down", true, notDone},
		{kv.ErrBehind, 503, "behind", true, notDone},
		{kv.ErrOverloaded, 429, "overloaded", true, notDone},
		{kv.ErrUnknownNode, 404, "unknown_node", false, notDone},
		{kv.ErrNameTaken, 409, "name_taken", false, notDone},
		{kv.ErrTooOld, 409, "too_old", false, notDone},
		{kv.ErrUnsupported, 501, "unsupported_version", false, notDone},
		{kv.ErrOtherCluster, 409, "other_cluster", false, notDone},
		{kv.ErrLastVoter, 409, "last_voter", false, notDone},
		{kv.ErrUnreachable, 502, "unreachable", true, notDone},
		{tooLarge, 413, "too_large", false, notDone},
		{invalid, 400, "invalid", false, notDone},
		{kv.ErrUnknownOutcome, 504, "unknown_outcome", false, unknown},
		// An error of both classes is unknown: the request could be done twice if it were
		// sent again.
		{errors.Join(kv.ErrNoLeader, kv.ErrUnknownOutcome), 504, "unknown_outcome", false, unknown},
		{fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, invalid), 504, "unknown_outcome", false, unknown},
		// The error of a node that sent nothing before the deadline has a class beside the
		// deadline.
		{fmt.Errorf("%w: %w", kv.ErrNoLeader, context.DeadlineExceeded), 503, "no_leader", true, notDone},
	} {
		for _, request := range [][2]string{{"PUT", "/kv/k"}, {"DELETE", "/kv/k"}, {"GET", "/kv/k"}, {"GET", "/kv/"}, {"POST", "/admin/leave"}} {
			a := mustAPI(t, nil)
			a.node.hook = func(context.Context, string, string) error { return fmt.Errorf("from the node: %w", test.err) }
			p := expectProblem(t, a.do(request[0], request[1], ""), test.status, test.code)
			if p.Retryable != test.retryable || p.Outcome != test.outcome {
				t.Errorf("%v: got %+v, want retryable %v, outcome %s", test.err, p, test.retryable, test.outcome)
			}
		}
	}
}

// TestErrors_EachClass shows that every class of errors has an answer of its own, and
// that code, outcome and retryable are those of the class.
func TestErrors_EachClass(t *testing.T) {
	for _, class := range kv.Classes() {
		a := mustAPI(t, nil)
		a.node.hook = func(context.Context, string, string) error { return fmt.Errorf("from the node: %w", class) }
		w := a.do("PUT", "/kv/k", "v")
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%s: has no answer, got %s", class.Code, w.Body)
			continue
		}
		p := expectProblem(t, w, w.Code, string(class.Code))
		if p.Retryable != class.Retryable || p.Outcome != string(class.Outcome) {
			t.Errorf("%s: got %+v, want retryable %v, outcome %s", class.Code, p, class.Retryable, class.Outcome)
		}
		// Clients and proxies send a request again after one of these.
		if again := w.Code == http.StatusServiceUnavailable || w.Code == http.StatusTooManyRequests; again && !class.Retryable {
			t.Errorf("%s: got %d, must not be sent again", class.Code, w.Code)
		}
	}
}

// TestReadyz_Loading shows that a node that is loading says so, and not only that it can't
// serve.
func TestReadyz_Loading(t *testing.T) {
	a := mustAPI(t, nil)
	for ready, code := range map[error]string{kv.ErrLoading: "loading", kv.ErrNoLeader: "not_ready", errors.New("odd"): "not_ready"} {
		a.node.ready = ready
		p := expectProblem(t, a.do("GET", "/readyz", ""), http.StatusServiceUnavailable, code)
		if want := "this node can't serve: " + ready.Error(); p.Detail != want {
			t.Errorf("got detail %q, want %q", p.Detail, want)
		}
	}
}

// TestErrors_OneLine checks that several joined errors are one line of detail.
func TestErrors_OneLine(t *testing.T) {
	a := mustAPI(t, nil)
	a.node.hook = func(context.Context, string, string) error {
		return errors.Join(kv.ErrNoLeader, errors.New("probe n2: refused"), errors.New("probe n3: refused"))
	}
	p := expectProblem(t, a.do("GET", "/kv/k", ""), http.StatusServiceUnavailable, "no_leader")
	if want := "no leader is known; probe n2: refused; probe n3: refused"; p.Detail != want {
		t.Errorf("got detail %q, want %q", p.Detail, want)
	}
}

// TestErrors_Undecided checks errors that don't say whether a write was done.
func TestErrors_Undecided(t *testing.T) {
	secret := errors.New("open /secret: 10.0.0.1 is on fire")
	for _, test := range []struct {
		err     error
		method  string
		status  int
		code    string
		outcome string
	}{
		{context.DeadlineExceeded, "GET", 503, "timeout", "not_done"},
		{context.DeadlineExceeded, "PUT", 504, "unknown_outcome", "unknown"},
		{context.Canceled, "GET", 503, "timeout", "not_done"},
		{context.Canceled, "DELETE", 504, "unknown_outcome", "unknown"},
		{secret, "GET", 500, "internal", "not_done"},
		{secret, "PUT", 500, "internal", "unknown"},
	} {
		var log bytes.Buffer
		a := mustAPI(t, func(c *httpapi.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		a.node.hook = func(context.Context, string, string) error { return test.err }
		p := expectProblem(t, a.do(test.method, "/kv/some-key", ""), test.status, test.code)
		if p.Outcome != test.outcome || p.Retryable != (test.status == 503) {
			t.Errorf("%s %v: got %+v, want outcome %s", test.method, test.err, p, test.outcome)
		}
		if strings.Contains(p.Detail, "fire") {
			t.Errorf("the answer tells an internal error: %q", p.Detail)
		}
		if got, want := strings.Contains(log.String(), "on fire"), test.status == 500; got != want {
			t.Errorf("%s %v: logged is %v, want %v: %s", test.method, test.err, got, want, &log)
		}
		if strings.Contains(log.String(), "some-key") {
			t.Errorf("the log tells a key: %s", &log)
		}
	}
}

func TestErrors_Panic(t *testing.T) {
	var log bytes.Buffer
	a := mustAPI(t, func(c *httpapi.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	a.node.hook = func(context.Context, string, string) error { panic("a broken invariant") }
	p := expectProblem(t, a.do("PUT", "/kv/k", "value"), http.StatusInternalServerError, "internal")
	if p.Outcome != "unknown" {
		t.Errorf("got outcome %s, want unknown", p.Outcome)
	}
	if !strings.Contains(log.String(), "a broken invariant") || !strings.Contains(log.String(), "errors_test.go") {
		t.Errorf("the log tells neither what nor where: %s", &log)
	}
	a.expectReleased()
}
