package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// pollOf begins a long poll without a network, and returns its answer when it has one.
func (a *api) pollOf(ctx context.Context, target string, headers ...string) <-chan *httptest.ResponseRecorder {
	answers := make(chan *httptest.ResponseRecorder, 1)
	r := httptest.NewRequestWithContext(ctx, "GET", target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	go func() {
		w := httptest.NewRecorder()
		a.server.Handler().ServeHTTP(w, r)
		answers <- w
	}()
	return answers
}

// inPoll calls test in a bubble, with a server at revision 3: key a was put at 2 and b at 3.
func inPoll(t *testing.T, test func(t *testing.T, a *api, n *watchedNode)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, n := mustWatchAPI(t, nil)
		n.put("a", "x")
		n.put("b", "x")
		test(t, a, n)
	})
}

// expectPoll checks an answer: its status, body, revision and ETag.
func expectPoll(t *testing.T, answers <-chan *httptest.ResponseRecorder, status int, body, revision, etag string) {
	t.Helper()
	w := <-answers
	if w.Code != status || (body != "" && w.Body.String() != body) {
		t.Errorf("got %d %q, want %d %q", w.Code, w.Body, status, body)
	}
	expectHeaders(t, w.Header(), "Kvorum-Revision", revision, "ETag", etag, "Kvorum-Consistency", "linearizable")
}

// TestPoll_ChangedAlready shows that a poll does not wait for a change if there was one since
// the revision that the client has, of either state of the key.
func TestPoll_ChangedAlready(t *testing.T) {
	inPoll(t, func(t *testing.T, a *api, n *watchedNode) {
		begin := time.Now()
		expectPoll(t, a.pollOf(t.Context(), "/kv/a?wait=10s&newer_than=1"), 200, "x", "3", `"2"`)
		expectPoll(t, a.pollOf(t.Context(), "/kv/a?wait=10s", "If-None-Match", `"1"`), 200, "x", "3", `"2"`)
		expectPoll(t, a.pollOf(t.Context(), "/kv/none?wait=10s", "If-None-Match", `"1"`), 404, "", "3", "")
		n.put("a", "")
		expectPoll(t, a.pollOf(t.Context(), "/kv/a?wait=10s&newer_than=3"), 404, "", "4", "")
		expectPoll(t, a.pollOf(t.Context(), "/kv/a?wait=10s&newer_than=1"), 404, "", "4", "") // made and deleted
		n.compact(4)
		expectPoll(t, a.pollOf(t.Context(), "/kv/a?wait=10s&newer_than=2"), 404, "", "4", "") // the history is gone
		if took := time.Since(begin); took != 0 {
			t.Errorf("the polls have waited for %v", took)
		}
	})
}

// TestPoll_WaitsForAChange shows that a poll is answered by the next change of its key, and of
// no other.
func TestPoll_WaitsForAChange(t *testing.T) {
	for name, test := range map[string]struct {
		target  string
		headers []string
		change  string // the new value; "" deletes
		status  int
		etag    string
	}{
		"newer than":                  {"/kv/a?wait=10s&newer_than=2", nil, "y", 200, `"5"`},
		"newer than the store":        {"/kv/a?wait=10s&newer_than=3", nil, "y", 200, `"5"`},
		"newer than, deleted":         {"/kv/a?wait=10s&newer_than=3", nil, "", 404, ""},
		"ETag":                        {"/kv/a?wait=10s", []string{"If-None-Match", `W/"2"`}, "y", 200, `"5"`},
		"ETag, deleted":               {"/kv/a?wait=10s", []string{"If-None-Match", `"2"`}, "", 404, ""},
		"newer than, made":            {"/kv/none?wait=10s&newer_than=3", nil, "y", 200, `"5"`},
		"newer than an old one, made": {"/kv/none?wait=10s&newer_than=1", nil, "y", 200, `"5"`},
	} {
		t.Run(name, func(t *testing.T) {
			inPoll(t, func(t *testing.T, a *api, n *watchedNode) {
				answers := a.pollOf(t.Context(), test.target, test.headers...)
				synctest.Wait()
				n.put("b", "y")
				synctest.Wait()
				if len(answers) > 0 {
					t.Error("a change of another key: got an answer")
				}
				key, _, _ := strings.Cut(strings.TrimPrefix(test.target, "/kv/"), "?")
				n.put(key, test.change)
				body := test.change
				expectPoll(t, answers, test.status, body, "5", test.etag)
			})
		})
	}
}

// overtakenNode is a watchedNode whose next watches are overtaken by the compaction, as those
// behind a snapshot that the node installs.
type overtakenNode struct {
	*watchedNode
	overtaken int           // number of watches to come
	after     time.Duration // of each
}

func (n *overtakenNode) Watch(ctx context.Context, options kv.WatchOptions) (kv.Watch, error) {
	if n.overtaken == 0 {
		return n.watchedNode.Watch(ctx, options)
	}
	n.overtaken--
	time.Sleep(n.after) // in the bubble
	return nil, &kv.CompactedError{Revision: options.From, CompactRevision: options.From + 1}
}

// TestPoll_Overtaken shows that a poll whose watch is overtaken waits on for the rest of its
// time, if the key is unchanged.
func TestPoll_Overtaken(t *testing.T) {
	overtaken := func(times int, target string, headers []string, test func(t *testing.T, n *overtakenNode, answers <-chan *httptest.ResponseRecorder)) {
		synctest.Test(t, func(t *testing.T) {
			n := &overtakenNode{watchedNode: mustWatchedNode(t), overtaken: times, after: 2 * time.Second}
			a := mustAPI(t, withNode(n, nil))
			n.put("a", "x")
			n.put("b", "x")
			test(t, n, a.pollOf(t.Context(), target, headers...))
		})
	}
	for _, poll := range []struct {
		target  string
		headers []string
	}{{"/kv/a?wait=10s&newer_than=3", nil}, {"/kv/a?wait=10s", []string{"If-None-Match", `"2"`}}} {
		overtaken(2, poll.target, poll.headers, func(t *testing.T, _ *overtakenNode, answers <-chan *httptest.ResponseRecorder) {
			begin := time.Now()
			expectPoll(t, answers, 304, "", "3", `"2"`)
			if took := time.Since(begin); took != 10*time.Second {
				t.Errorf("%s: the poll has taken %v", poll.target, took)
			}
		})
		overtaken(2, poll.target, poll.headers, func(t *testing.T, n *overtakenNode, answers <-chan *httptest.ResponseRecorder) {
			time.Sleep(5 * time.Second) // in the bubble
			n.put("a", "y")
			expectPoll(t, answers, 200, "y", "4", `"4"`)
		})
		overtaken(2, poll.target, poll.headers, func(t *testing.T, n *overtakenNode, answers <-chan *httptest.ResponseRecorder) {
			time.Sleep(time.Second) // in the bubble
			n.put("a", "y")
			expectPoll(t, answers, 200, "y", "4", `"4"`)
		})
	}
	overtaken(100, "/kv/a?wait=3s&newer_than=3", nil, func(t *testing.T, _ *overtakenNode, answers <-chan *httptest.ResponseRecorder) {
		expectPoll(t, answers, 304, "", "3", `"2"`)
	})
	overtaken(2, "/kv/none?wait=10s&newer_than=3", nil, func(t *testing.T, _ *overtakenNode, answers <-chan *httptest.ResponseRecorder) {
		expectPoll(t, answers, 404, "", "3", "") // it may have been made and deleted
	})
}

// TestPoll_NothingChanges shows the answer after the whole time. Its revision is one up to which
// nothing has changed.
func TestPoll_NothingChanges(t *testing.T) {
	inPoll(t, func(t *testing.T, a *api, n *watchedNode) {
		begin := time.Now()
		answers := a.pollOf(t.Context(), "/kv/a?wait=7s&newer_than=2")
		synctest.Wait()
		n.put("b", "y")
		expectPoll(t, answers, 304, "", "4", `"2"`)
		if took := time.Since(begin); took != 7*time.Second {
			t.Errorf("the poll has taken %v", took)
		}
		expectPoll(t, a.pollOf(t.Context(), "/kv/none?wait=1s&newer_than=4"), 304, "", "4", "")
		expectPoll(t, a.pollOf(t.Context(), "/kv/a?wait=10m", "If-None-Match", `"1", "2"`), 304, "", "4", `"2"`)
	})
}

// TestPoll_EachChangeIsSeen polls again and again while another client writes, each write after
// any part of a poll. The last value is always seen.
func TestPoll_EachChangeIsSeen(t *testing.T) {
	inPoll(t, func(t *testing.T, a *api, n *watchedNode) {
		const writes = 1000
		go func() {
			for i := range writes {
				n.put("a", fmt.Sprint(i+1))
				if i%3 == 0 {
					synctest.Wait() // the poll waits
				}
			}
		}()
		newerThan, value := "2", ""
		for value != fmt.Sprint(writes) {
			w := <-a.pollOf(t.Context(), "/kv/a?wait=10s&newer_than="+newerThan)
			if w.Code != http.StatusOK {
				t.Fatalf("after %q: got %d", value, w.Code)
			}
			newerThan, value = w.Header().Get("Kvorum-Revision"), w.Body.String()
		}
	})
}

// TestPoll_Ends shows that a poll ends when its client is gone, and when the node or the
// server stops.
func TestPoll_Ends(t *testing.T) {
	for name, stop := range map[string]func(a *api, n *watchedNode) error{
		"server": func(a *api, _ *watchedNode) error { return a.server.Shutdown(context.Background()) },
		"node":   func(_ *api, n *watchedNode) error { return n.hub.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			inPoll(t, func(t *testing.T, a *api, n *watchedNode) {
				answers := a.pollOf(t.Context(), "/kv/a?wait=10m&newer_than=2")
				synctest.Wait()
				if err := stop(a, n); err != nil {
					t.Error(err)
				}
				expectProblem(t, <-answers, http.StatusServiceUnavailable, "shutting_down")
			})
		})
	}
	inPoll(t, func(t *testing.T, a *api, n *watchedNode) {
		ctx, cancel := context.WithCancel(t.Context())
		answers := a.pollOf(ctx, "/kv/a?wait=10m&newer_than=2")
		synctest.Wait()
		if got := n.hub.Len(); got != 1 {
			t.Errorf("%d watches are open", got)
		}
		cancel()
		<-answers
		if got := n.hub.Len(); got != 0 {
			t.Errorf("%d watches are left", got)
		}
	})
}

// TestPoll_Limit shows that polls count among the streams, and not among the requests in
// flight.
func TestPoll_Limit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, n := mustWatchAPI(t, func(cfg *httpapi.Config) { cfg.MaxStreams, cfg.MaxInflightRequests = 1, 1 })
		answers := a.pollOf(t.Context(), "/kv/a?wait=10s&newer_than=1")
		synctest.Wait()
		expectProblem(t, a.do("GET", "/kv/a?wait=10s&newer_than=1", ""), http.StatusTooManyRequests, "overloaded")
		if got := a.do("PUT", "/kv/other", "x").Code; got != http.StatusCreated {
			t.Errorf("a put: got %d", got)
		}
		n.put("a", "x")
		expectPoll(t, answers, 200, "x", "2", `"2"`)
		if got := a.do("GET", "/kv/a?wait=10s&newer_than=1", "").Code; got != http.StatusOK {
			t.Errorf("the next poll: got %d", got)
		}
	})
}

func TestPoll_Parameters(t *testing.T) {
	a, n := mustWatchAPI(t, nil)
	n.put("a", "x")
	for _, query := range []string{
		"wait=10s", "wait=0s&newer_than=1", "wait=-1s&newer_than=1", "wait=10m1s&newer_than=1", "wait=10&newer_than=1", "wait=&newer_than=1", "wait=true&newer_than=1",
		"newer_than=1", "wait=1s&newer_than=0", "wait=1s&newer_than=-1", "wait=1s&newer_than=x", "wait=1s&newer_than=9223372036854775808",
		"wait=1s&newer_than=1&revision=1", "wait=1s&newer_than=1&newer_than=2", "wait=1s&newer_than=1&consistency=none", "wait=1s&newer_than=1&max_stale=1s", "wait=1s&newer_than=1&op=incr",
	} {
		expectProblem(t, a.do("GET", "/kv/a?"+query, ""), http.StatusBadRequest, "invalid")
	}
	for _, headers := range [][]string{{"If-None-Match", "*"}, {"If-Match", `"1"`, "If-None-Match", `"1"`}, {"If-Match", "7"}} {
		expectProblem(t, a.do("GET", "/kv/a?wait=1s", "", headers...), http.StatusBadRequest, "invalid")
	}
	expectProblem(t, a.do("GET", "/kv/a?wait=1s&newer_than=1", "", "If-None-Match", `"1"`), http.StatusBadRequest, "invalid")
	expectProblem(t, a.do("GET", "/kv/?wait=1s&newer_than=1", ""), http.StatusBadRequest, "invalid")
	expectProblem(t, a.do("GET", "/kv/"+strings.Repeat("k", 1025)+"?wait=1s&newer_than=1", ""), http.StatusRequestEntityTooLarge, "too_large")
	expectProblem(t, a.do("GET", "/kv/a?wait=1s&newer_than=3", ""), http.StatusServiceUnavailable, "behind")
	if w := a.do("HEAD", "/kv/a?wait=1s&newer_than=1", ""); w.Code != http.StatusOK || w.Header().Get("Content-Length") != "1" {
		t.Errorf("HEAD: got %d %v", w.Code, w.Header())
	}
}

// TestPoll_RevisionInParts changes a key so often in one revision that the changes come in
// parts. A poll shows the key after the whole revision.
func TestPoll_RevisionInParts(t *testing.T) {
	inPoll(t, func(t *testing.T, a *api, n *watchedNode) {
		answers := a.pollOf(t.Context(), "/kv/a?wait=10s&newer_than=3")
		synctest.Wait()
		var pairs []string
		for i := range 2 * kv.MaxWatchEvents {
			pairs = append(pairs, "a", fmt.Sprint(i))
		}
		n.put(append(pairs, "a", "last")...)
		expectPoll(t, answers, 200, "last", "4", `"4"`)
	})
}
