package client_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

// sum answers an Add with a sum.
func sum(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("7\n")) }

// steps answers each request with the next handler, and then with the last one.
func steps(handlers ...http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		handlers[min(int(n.Add(1)), len(handlers))-1](w, r)
	}
}

// TestClient_RepeatsWithKey shows that a call with an idempotency key is sent to all endpoints,
// again and again, once its outcome is unknown; and that only an answer of the cluster tells the
// outcome then.
func TestClient_RepeatsWithKey(t *testing.T) {
	overloaded := problem(429, "overloaded", "Too many", "", "not_done", true)
	notNumber := problem(409, "not_a_number", "Not a number", "text", "not_done", false)
	invalid := problem(400, "invalid", "Invalid request", "other limits", "not_done", false)
	noRoute := problem(404, "no_route", "Not found", "an older build", "not_done", false)
	for name, tt := range map[string]struct {
		first, second http.HandlerFunc
		outcome       client.Outcome
		want          string // of the error; "" for none
		sent          int
	}{
		"unknown, then done":        {unknownOutcome, sum, 0, "", 2},
		"broken, then done":         {breakOff, sum, 0, "", 2},
		"hangs, then done":          {hang, sum, 0, "", 2},
		"second round":              {steps(breakOff, sum), overloaded, 0, "", 3},
		"unknown, then refused":     {unknownOutcome, notNumber, client.NotDone, "Not a number", 2},
		"unknown, then not allowed": {unknownOutcome, invalid, client.Unknown, "Outcome unknown", 2},
		"unknown, then no route":    {unknownOutcome, noRoute, client.Unknown, "Outcome unknown", 2},
		"unknown for ever":          {unknownOutcome, breakOff, client.Unknown, "Outcome unknown", 4},
		"not done":                  {noLeader, overloaded, client.NotDone, "No leader", 2},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := serve(t, tt.first), serve(t, tt.second)
			c := mustNew(t, client.Config{Endpoints: []string{first.URL, second.URL}, Timeout: time.Second})
			got, err := c.Add(client.WithIdempotencyKey(t.Context(), "key 1"), "k", 1)
			if tt.want == "" && (err != nil || got.Number != 7) {
				t.Errorf("got %+v, %v", got, err)
			} else if tt.want != "" {
				wantError(t, err, tt.outcome, tt.want)
			}
			all := append(first.seen(), second.seen()...)
			if len(all) < tt.sent || len(all) > tt.sent && tt.sent != 4 {
				t.Errorf("got %d requests, want %d", len(all), tt.sent)
			}
			for _, r := range all {
				if r.Header.Get("Idempotency-Key") != "key 1" {
					t.Errorf("got a request with the key %q", r.Header.Get("Idempotency-Key"))
				}
			}
		})
	}
}

// TestClient_KeyOfDo shows that the key of a request is sent in it and makes it repeatable, and
// that a response says that it is replayed.
func TestClient_KeyOfDo(t *testing.T) {
	done := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"succeeded":true,"revision":3,"replayed":true,"results":[{"existed":true,"mod_revision":3}]}`))
	}
	s := serve(t, steps(breakOff, done))
	c := mustNew(t, client.Config{Endpoints: []string{s.URL}, Timeout: 5 * time.Second})
	request := kv.Put("k", []byte("v"))
	request.IdempotencyKey = "in the request"
	got, err := c.Do(client.WithIdempotencyKey(t.Context(), "in the context"), request)
	if err != nil || !got.Replayed || got.Revision != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, r := range s.seen() {
		if r.Header.Get("Idempotency-Key") != "" {
			t.Error("the key of the context was sent too")
		}
	}
	request.IdempotencyKey = "\xff"
	if _, err := c.Do(t.Context(), request); !errors.Is(err, client.ErrUsage) {
		t.Errorf("a key that JSON can't have: got %v, want ErrUsage", err)
	}
}

// TestWithIdempotencyKey_Refuses shows which keys are refused before anything is sent, and that
// reads take no notice of a key.
func TestWithIdempotencyKey_Refuses(t *testing.T) {
	s := serve(t, ok)
	c := mustNew(t, client.Config{Endpoints: []string{s.URL}})
	for _, key := range []string{"", " a", "a\n", "é", strings.Repeat("k", 257)} {
		if _, err := c.Delete(client.WithIdempotencyKey(t.Context(), key), "k"); !errors.Is(err, client.ErrUsage) {
			t.Errorf("%q: got %v, want ErrUsage", key, err)
		}
	}
	if n := len(s.seen()); n > 0 {
		t.Errorf("got %d requests, want none", n)
	}
	ctx, cancel := context.WithTimeout(client.WithIdempotencyKey(t.Context(), "k"), 10*time.Second)
	defer cancel()
	if _, err := c.Get(ctx, "k", client.ReadOptions{}); err != nil || s.seen()[0].Header.Get("Idempotency-Key") != "" {
		t.Errorf("a read: got %v, and the key was sent", err)
	}
}
