package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// roundTrip is a transport that a test answers with.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// clientOf returns a client of two endpoints, whose requests are answered by f. It needs no
// network, so it may be in a bubble.
func clientOf(t testing.TB, f roundTrip) *Client {
	t.Helper()
	c, err := New(Config{Endpoints: []string{"n1:1", "n2:1"}, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	c.http.Transport = f
	return c
}

// answered returns an answer of a node.
func answered(status int, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Kvorum-Node": {"n1"}}, Body: body}
}

const (
	resultLine = `{"succeeded":true,"revision":8,"results":[{"existed":false,"mod_revision":8}]}` + "\n"
	endLine    = `{"end":true}` + "\n"
)

// answerLines answers each line of a request's body at once, up to limit of them.
func answerLines(limit int) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		out, in := io.Pipe()
		context.AfterFunc(r.Context(), func() { in.CloseWithError(r.Context().Err()) })
		go func() {
			lines := bufio.NewScanner(r.Body)
			for n := 0; lines.Scan(); n++ {
				if n < limit {
					_, _ = io.WriteString(in, resultLine)
				}
			}
			if lines.Err() == nil && limit > 0 {
				_, _ = io.WriteString(in, endLine)
			}
		}()
		return answered(http.StatusOK, out), nil
	}
}

// aPut is a request of one line.
func aPut() kv.Request { return kv.Put("a", []byte("x")) }

// TestBatch_PartlySentLine shows that a request of which a part was sent when its batch broke
// off is not done, because its rest can't be sent any more.
func TestBatch_PartlySentLine(t *testing.T) {
	c := clientOf(t, nil)
	b := newBatch(t.Context(), c, func(yield func(kv.Request) bool) {
		_ = yield(aPut()) && yield(kv.Put("large", make([]byte, 100<<10))) && yield(aPut())
	})
	defer b.close()
	b.turn = 1
	body := &batchBody{b, 1}
	if n, err := body.Read(make([]byte, 32<<10)); n == 0 || err != nil {
		t.Fatalf("the small request: got %d bytes, %v", n, err)
	}
	if n, err := body.Read(make([]byte, 32<<10)); n != 32<<10 || err != nil {
		t.Fatalf("a part of the large one: got %d bytes, %v", n, err)
	}
	var got []Outcome
	b.fail(func(_ kv.Response, err error) bool {
		if n, late := body.Read(make([]byte, 32<<10)); n != 0 || late == nil {
			t.Errorf("the rest of the large one after its outcome: %d bytes were sent", n)
		}
		failed := (*Error)(nil)
		if !errors.As(err, &failed) || failed.Retryable != (failed.Outcome == NotDone) {
			t.Fatalf("got %v", err)
		}
		got = append(got, failed.Outcome)
		return true
	}, badAnswer("n1", 200, Unknown, "broken"))
	if len(got) != 2 || got[0] != Unknown || got[1] != NotDone {
		t.Errorf("got %v, want unknown and not_done", got)
	}
}

// TestBatch_TimeOfTheCaller shows that a batch may take longer than a call while its loop or
// its requests do, and is ended when a node does not answer.
func TestBatch_TimeOfTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		for _, err := range clientOf(t, answerLines(5)).Batch(t.Context(), func(yield func(kv.Request) bool) {
			time.Sleep(5 * time.Second)
			for i := range 5 {
				if i == 3 {
					time.Sleep(30 * time.Second)
				}
				if !yield(aPut()) {
					return
				}
			}
		}) {
			if n++; err != nil {
				t.Fatalf("result %d: %v", n, err)
			}
			time.Sleep(5 * time.Second)
		}
		if n != 5 {
			t.Errorf("got %d results, want 5", n)
		}
		began := time.Now()
		for _, err := range clientOf(t, answerLines(0)).Batch(t.Context(), one(aPut())) {
			if took := time.Since(began); took != time.Second || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("no answer: got %v after %v, want the end of the time of a call", err, took)
			}
		}
	})
}

// one yields one request.
func one(r kv.Request) iter.Seq[kv.Request] {
	return func(yield func(kv.Request) bool) { yield(r) }
}

// TestBatch_LateReadOfAnotherAttempt shows that the body of an endpoint that has refused the
// batch takes no request from the next endpoint.
func TestBatch_LateReadOfAnotherAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused, taken := make(chan struct{}), make(chan error, 1)
		attempts := 0
		c := clientOf(t, func(r *http.Request) (*http.Response, error) {
			if !r.Close {
				t.Error("the connection of an attempt is kept, so a body is sent after a refusal")
			}
			if attempts++; attempts == 1 {
				go func() {
					_, err := r.Body.Read(make([]byte, 100))
					taken <- err
				}()
				synctest.Wait() // it waits for a request
				return answered(http.StatusTooManyRequests, http.NoBody), nil
			}
			close(refused)
			return answerLines(2)(r)
		})
		n := 0
		for response, err := range c.Batch(t.Context(), func(yield func(kv.Request) bool) {
			<-refused
			if yield(aPut()) {
				yield(aPut())
			}
		}) {
			if n++; err != nil || !response.Succeeded {
				t.Errorf("result %d: got %+v, %v", n, response, err)
			}
		}
		if err := <-taken; err == nil || n != 2 {
			t.Errorf("got %d results, and %v for the refused attempt, want 2 and an error", n, err)
		}
	})
}

// TestBatch_BlockedRequests shows that a batch does not wait for requests that block, if the loop
// is left, or the context ends.
func TestBatch_BlockedRequests(t *testing.T) {
	for _, name := range []string{"the loop is left", "the context ends", "the context ends at once"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				unblock, ended := make(chan struct{}), make(chan bool, 1)
				n := 0
				first := name != "the context ends at once"
				if !first {
					time.AfterFunc(time.Minute, cancel)
				}
				for _, err := range clientOf(t, answerLines(5)).Batch(ctx, func(yield func(kv.Request) bool) {
					if first {
						yield(aPut())
					}
					<-unblock
					ended <- yield(aPut())
				}) {
					if n++; n == 1 && first {
						if err != nil {
							t.Fatal(err)
						}
						synctest.Wait() // the next request is being taken
						if name == "the loop is left" {
							break
						}
						time.AfterFunc(time.Minute, cancel)
						continue
					}
					if failed := (*Error)(nil); !errors.Is(err, context.Canceled) || !errors.As(err, &failed) || failed.Outcome != NotDone {
						t.Errorf("got %v", err)
					}
				}
				if want := map[string]int{"the context ends": 2}[name]; n != max(want, 1) {
					t.Errorf("got %d results", n)
				}
				close(unblock)
				if <-ended {
					t.Error("another request is taken after the end")
				}
			})
		})
	}
}

// TestBatch_RefusedAfterARequest shows that a batch of which an endpoint got a request before it
// refused it is not sent to another one.
func TestBatch_RefusedAfterARequest(t *testing.T) {
	attempts := 0
	c := clientOf(t, func(r *http.Request) (*http.Response, error) {
		if attempts++; attempts == 1 {
			if n, err := r.Body.Read(make([]byte, 1)); n != 1 {
				t.Error(err)
			}
			return answered(http.StatusTooManyRequests, http.NoBody), nil
		}
		return answerLines(2)(r)
	})
	results := 0
	for _, err := range c.Batch(t.Context(), one(aPut())) {
		failed := (*Error)(nil)
		if results++; !errors.As(err, &failed) || failed.Outcome != NotDone || failed.Status != http.StatusTooManyRequests {
			t.Errorf("got %v, want the refusal", err)
		}
	}
	if results != 1 || attempts != 1 {
		t.Errorf("got %d results of %d attempts, want 1 of 1", results, attempts)
	}
}
