package client_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/kvorum/kvorum/client"
)

// TestClient_Failover shows when another endpoint is asked: if the first request certainly
// had no effect, or could not have any.
func TestClient_Failover(t *testing.T) {
	for _, tc := range []struct {
		name    string
		first   http.HandlerFunc // nil: no server listens
		write   bool
		outcome client.Outcome
		want    string // "": the second endpoint did it
	}{
		{"write, refused connection", nil, true, 0, ""},
		{"write, no leader", noLeader, true, 0, ""},
		{"write, unknown outcome", unknownOutcome, true, client.Unknown, "Outcome unknown: the answer was lost"},
		{"write, broken connection", breakOff, true, client.Unknown, "outcome unknown, the write may or may not have happened: 127.0.0.1:"},
		{"write, a proxy's 502", status(http.StatusBadGateway), true, client.Unknown, "answered 502 Bad Gateway"},
		{"write, a proxy's 408", status(http.StatusRequestTimeout), true, client.Unknown, "answered 408 Request Timeout"},
		{"write, a proxy's 429", status(http.StatusTooManyRequests), true, 0, ""},
		{"write, a proxy's problem", problem(http.StatusBadGateway, "", "Bad Gateway", "", "", false), true, client.Unknown, "502"},
		{"write, a redirect", http.RedirectHandler("http://elsewhere.invalid/", http.StatusFound).ServeHTTP, true, client.NotDone, "302 Found"},
		{"write, too large", problem(413, "too_large", "Too large", "limit 3 bytes", "not_done", false), true, client.NotDone, "Too large: limit 3 bytes"},
		{"read, refused connection", nil, false, 0, ""},
		{"read, no leader", noLeader, false, 0, ""},
		{"read, broken connection", breakOff, false, 0, ""},
		{"read, a proxy's 502", status(http.StatusBadGateway), false, 0, ""},
		{"read, not found", problem(404, "key_not_found", "Key not found", "", "not_done", false), false, client.NotDone, "Key not found"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			first, second := unreachable(t), serve(t, ok)
			if tc.first != nil {
				first = serve(t, tc.first).URL
			}
			c := mustNew(t, client.Config{Endpoints: []string{first, second.URL}})
			var err error
			if tc.write {
				_, err = c.Put(t.Context(), "k", []byte("v"))
			} else {
				_, err = c.Get(t.Context(), "k", client.ReadOptions{})
			}
			asked := len(second.seen())
			if tc.want == "" {
				if err != nil || asked != 1 {
					t.Errorf("got %v and %d requests to the second, want none and 1", err, asked)
				}
				return
			}
			wantError(t, err, tc.outcome, tc.want)
			if asked != 0 {
				t.Errorf("got %d requests to the second endpoint, want none", asked)
			}
		})
	}
}

// TestClient_StaysWithWhoAnswers shows that calls begin at the endpoint that answered last.
func TestClient_StaysWithWhoAnswers(t *testing.T) {
	first, second := serve(t, noLeader), serve(t, ok)
	c := mustNew(t, client.Config{Endpoints: []string{first.URL, second.URL}})
	for range 3 {
		if _, err := c.Put(t.Context(), "k", nil); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := len(first.seen()), len(second.seen()); a != 1 || b != 3 {
		t.Errorf("got %d and %d requests, want 1 and 3", a, b)
	}
}

// TestClient_AllEndpointsFail shows that the error has each endpoint's failure, and that
// errors.As finds the first.
func TestClient_AllEndpointsFail(t *testing.T) {
	down, leaderless := unreachable(t), serve(t, noLeader)
	_, err := mustNew(t, client.Config{Endpoints: []string{down, leaderless.URL}}).Put(t.Context(), "k", nil)
	e := wantError(t, err, client.NotDone, "no endpoint could do it: "+down+": connection refused; No leader: no leader is known")
	if e.Endpoint != "http://"+down || e.Status != 0 || e.Code != "" || !e.Retryable {
		t.Errorf("got %+v", e)
	}
	_, err = mustNew(t, client.Config{Endpoints: []string{leaderless.URL}}).Put(t.Context(), "k", nil)
	e = wantError(t, err, client.NotDone, "No leader: no leader is known")
	if e.Endpoint != leaderless.URL || e.Status != 503 || e.Code != "no_leader" || !e.Retryable || e.RetryAfter != time.Second {
		t.Errorf("got %+v", e)
	}
}

// TestClient_HangingEndpoint shows the error for an endpoint that does not answer. The
// outcome of a write to it is unknown.
func TestClient_HangingEndpoint(t *testing.T) {
	for _, call := range calls {
		t.Run(call.name, func(t *testing.T) {
			t.Parallel()
			hanging, other := serve(t, hang), serve(t, ok)
			endpoints, outcome := []string{hanging.URL, other.URL}, client.NotDone
			if call.write {
				endpoints, outcome = endpoints[:1], client.Unknown // some take one endpoint alone
			}
			err := call.call(t.Context(), mustNew(t, client.Config{Endpoints: endpoints, Timeout: time.Second}))
			e := wantError(t, err, outcome, hanging.addr()+": no answer within 1s")
			if !errors.Is(err, context.DeadlineExceeded) || e.Retryable == call.write || e.Endpoint != hanging.URL || e.Status != 0 {
				t.Errorf("got %+v, want the end of the time", e)
			}
			if n := len(other.seen()); n != 0 {
				t.Errorf("got %d requests to the other endpoint, want none", n)
			}
		})
	}
}

// TestClient_PassesSilentEndpoint shows that an endpoint without an answer takes the time
// of only one call.
func TestClient_PassesSilentEndpoint(t *testing.T) {
	hanging, healthy := serve(t, hang), serve(t, ok)
	c := mustNew(t, client.Config{Endpoints: []string{hanging.URL, healthy.URL}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Get(ctx, "k", client.ReadOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the end of the time", err)
	}
	for range 2 {
		if _, err := c.Put(t.Context(), "k", nil); err != nil {
			t.Error(err)
		}
	}
	if a, b := len(hanging.seen()), len(healthy.seen()); a > 1 || b != 2 {
		t.Errorf("got %d and %d requests, want 1 and 2", a, b)
	}
}

// TestClient_Context shows that a caller's context ends a call, and that its end is in
// the error.
func TestClient_Context(t *testing.T) {
	reached := make(chan struct{}, 1)
	hanging := serve(t, func(w http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		hang(w, r)
	})
	other := serve(t, ok)
	c := mustNew(t, client.Config{Endpoints: []string{hanging.URL, other.URL}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
	}()
	_, err := c.Put(ctx, "k", nil)
	wantError(t, err, client.Unknown, hanging.addr()+": interrupted")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled in it", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.Get(ctx, "k", client.ReadOptions{})
	wantError(t, err, client.NotDone, hanging.addr()+": no answer before the context's deadline")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want context.DeadlineExceeded in it", err)
	}
	if n := len(other.seen()); n != 0 {
		t.Errorf("got %d requests to the other endpoint, want none", n)
	}
}
