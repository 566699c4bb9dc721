package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// fakeNode serves the part of the HTTP API that the client uses, from memory.
// Like a node, it does not clean paths.
type fakeNode struct {
	*httptest.Server

	mu       sync.Mutex
	kv       map[string]string // guarded by mu
	revision int               // guarded by mu
	requests []string          // guarded by mu; method and escaped path of each
	queries  []string          // guarded by mu; of each

	// hook, if set before the first request, answers instead where it returns true.
	hook func(w http.ResponseWriter, r *http.Request) bool
}

// newFake returns a node whose hook may be nil.
func newFake(t testing.TB, hook func(w http.ResponseWriter, r *http.Request) bool) *fakeNode {
	t.Helper()
	f := &fakeNode{kv: make(map[string]string), hook: hook}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeNode) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.URL.EscapedPath())
	f.queries = append(f.queries, r.URL.RawQuery)
	f.mu.Unlock()
	w.Header().Set("Kvorum-Node", "n1")
	if f.hook != nil && f.hook(w, r) {
		return
	}
	key, isKV := strings.CutPrefix(r.URL.Path, "/kv/")
	switch {
	case !isKV:
		f.serveOther(w, r)
	case key == "" && r.Method == http.MethodGet:
		f.list(w, r)
	default:
		f.serveKey(w, r, key)
	}
}

func (f *fakeNode) serveKey(w http.ResponseWriter, r *http.Request, key string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old, found := f.kv[key]
	switch r.Method {
	case http.MethodPut:
		f.kv[key] = string(body)
		f.revision++
		w.Header().Set("Kvorum-Revision", strconv.Itoa(f.revision))
		w.WriteHeader(map[bool]int{true: http.StatusNoContent, false: http.StatusCreated}[found])
	case http.MethodGet, http.MethodDelete:
		if !found {
			answerProblem(w, http.StatusNotFound, api.Problem{Title: "Key not found", Detail: "there is no such key", Outcome: "not_done"})
			return
		}
		if r.Method == http.MethodDelete {
			delete(f.kv, key)
			f.revision++
			w.Header().Set("Kvorum-Revision", strconv.Itoa(f.revision))
			w.WriteHeader(http.StatusNoContent)
			return
		}
		fmt.Fprint(w, old)
	}
}

func (f *fakeNode) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	all := f.snapshot()
	count := 0
	defer func() { fmt.Fprintf(w, `{"end":true,"count":%d}`+"\n", count) }()
	for i, key := range slices.Sorted(maps.Keys(all)) {
		if !strings.HasPrefix(key, q.Get("prefix")) {
			continue
		}
		if limit > 0 && i == limit {
			return
		}
		count++
		if q.Get("keys_only") == "true" {
			line, _ := json.Marshal(map[string][]byte{"key_b64": []byte(key)})
			fmt.Fprintf(w, "%s\n", line)
			continue
		}
		_ = api.WriteLine(w, kv.Item{Key: key, Value: []byte(all[key])})
	}
}

func (f *fakeNode) serveOther(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /status":
		fmt.Fprint(w, `{"id":"n1","cluster_id":"c","role":"leader","leader":{"id":"n1","http_addr":"h:1"},"term":2,
			"commit_index":9,"applied_index":8,"revision":7,"versions":{"understands":3,"announces":2,"needs":1,"writes":1,"held_back_by":["n2","n3"]},
			"settings":{"history":{"max_age":"1h0m0s"},"max_request_ops":256},"members":[{"id":"n1","peer_addr":"p:1","http_addr":"h:1","voter":true,"command_version":2},{"id":"n2","peer_addr":"p:2","http_addr":"h:2","voter":false}]}`)
	case "GET /readyz":
	case "POST /admin/leave", "POST /admin/transfer":
		f.keepBody(r)
		w.WriteHeader(http.StatusNoContent)
	case "POST /admin/join":
		f.keepBody(r)
		fmt.Fprint(w, `{"id":"n4","peer_addr":"h:7004","http_addr":"h:8004","voter":true}`)
	case "POST /admin/snapshot":
		f.keepBody(r)
		fmt.Fprint(w, `{"id":"n2","index":7,"bytes":1000,"log_bytes_before":9000,"log_bytes_after":5000}`)
	default:
		http.NotFound(w, r)
	}
}

// keepBody stores the body of a request under its path.
func (f *fakeNode) keepBody(r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kv[r.URL.Path] = string(body)
}

// snapshot returns a copy of all keys and values.
func (f *fakeNode) snapshot() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.kv)
}

// seen returns the requests so far.
func (f *fakeNode) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// set stores keys directly.
func (f *fakeNode) set(kv map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.kv, kv)
}

// answerProblem answers with an error in a node's form.
func answerProblem(w http.ResponseWriter, status int, p api.Problem) {
	p.Status = status
	w.Header().Set("Content-Type", "application/problem+json")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p)
}

// breakOff ends the connection without an answer.
func breakOff(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

// noLeader answers a node's 503.
func noLeader(w http.ResponseWriter, _ *http.Request) bool {
	answerProblem(w, http.StatusServiceUnavailable, api.Problem{Title: "No leader", Detail: "no leader is known", Retryable: true, Outcome: "not_done"})
	return true
}

// unknownOutcome answers a node's 504.
func unknownOutcome(w http.ResponseWriter, _ *http.Request) bool {
	answerProblem(w, http.StatusGatewayTimeout, api.Problem{Title: "Outcome unknown", Detail: "the answer was lost", Outcome: "unknown"})
	return true
}

// hang gives no answer until the client hangs up.
func hang(_ http.ResponseWriter, r *http.Request) bool {
	_, _ = io.Copy(io.Discard, r.Body) // a server notices a hang-up only once it has the body
	<-r.Context().Done()
	return true
}

// endpoints returns the --endpoints flag for nodes.
func endpoints(nodes ...*fakeNode) string {
	var urls []string
	for _, n := range nodes {
		urls = append(urls, n.URL)
	}
	return "--endpoints=" + strings.Join(urls, ",")
}
