package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

func TestAdmin_Join(t *testing.T) {
	a := mustAPI(t, nil)
	w := a.do("POST", "/admin/join", `{"id":"n4","peer_addr":"h:7004","http_addr":"h:8004"}`)
	if w.Code != http.StatusOK {
		t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	var got kv.Member
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if want := (kv.Member{ID: "n4", PeerAddr: "h:7004", HTTPAddr: "h:8004", Voter: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	expectHeaders(t, w.Header(), "Content-Type", "application/json", "Kvorum-Node", "n1")
}

func TestAdmin_LeaveAndTransfer(t *testing.T) {
	for _, act := range []string{"leave", "transfer"} {
		for body, name := range map[string]string{
			"":                   "",
			"{}":                 "",
			`{"id":"n2"}`:        "n2",
			"{\"id\":\"n2\"} \n": "n2",
		} {
			a := mustAPI(t, nil)
			if w := a.do("POST", "/admin/"+act, body); w.Code != http.StatusNoContent {
				t.Errorf("%s %q: got %d %s, want 204", act, body, w.Code, w.Body)
			}
			if got := a.node.called(); !slices.Equal(got, []string{act + " " + name}) {
				t.Errorf("%s %q: got %q", act, body, got)
			}
		}
	}
}

func TestAdmin_Snapshot(t *testing.T) {
	for body, name := range map[string]string{"": "", "{}": "", `{"id":"n2"}`: "n2"} {
		a := mustAPI(t, nil)
		w := a.do("POST", "/admin/snapshot", body)
		want := `{"id":"n1","index":7,"bytes":100,"log_bytes_before":9,"log_bytes_after":5}` + "\n"
		if w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("%q: got %d %s, want 200 %s", body, w.Code, w.Body, want)
		}
		if got := a.node.called(); !slices.Equal(got, []string{"snapshot " + name}) {
			t.Errorf("%q: got %q", body, got)
		}
	}
	for err, status := range map[error]int{
		kv.ErrNothingToSnapshot: http.StatusConflict,
		kv.ErrSnapshotRunning:   http.StatusConflict,
		kv.ErrDiskFull:          http.StatusInsufficientStorage,
		kv.ErrUnknownNode:       http.StatusNotFound,
	} {
		a := mustAPI(t, nil)
		a.node.hook = func(context.Context, string, string) error { return fmt.Errorf("%w: because", err) }
		w := a.do("POST", "/admin/snapshot", "")
		if w.Code != status || !strings.Contains(w.Body.String(), "because") || !strings.Contains(w.Body.String(), `"outcome":"not_done"`) {
			t.Errorf("%v: got %d %s, want %d", err, w.Code, w.Body, status)
		}
	}
	if w := mustAPI(t, nil).do("POST", "/admin/snapshot", `{"id":""}`); w.Code != http.StatusBadRequest {
		t.Errorf("an empty id: got %d, want 400", w.Code)
	}
}

func TestAdmin_LeaveByForce(t *testing.T) {
	for body, want := range map[string]string{`{"id":"n2","force":true}`: "leave n2 by force", `{"force":false,"id":"n2"}`: "leave n2"} {
		a := mustAPI(t, nil)
		if w := a.do("POST", "/admin/leave", body); w.Code != http.StatusNoContent {
			t.Errorf("%s: got %d %s, want 204", body, w.Code, w.Body)
		}
		if got := a.node.called(); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

func TestAdmin_StrictJSON(t *testing.T) {
	for _, test := range []struct{ path, body, names string }{
		{"join", ``, "id"},
		{"join", `{}`, "id"},
		{"join", `{"id":"n4"}`, "peer_addr"},
		{"join", `{"id":"","peer_addr":"a"}`, "id"},
		{"join", `{"id":"n4","peer_addr":7}`, "peer_addr"},
		{"join", `{"id":null,"peer_addr":"a"}`, "id"},
		{"join", `{"id":["n4"],"peer_addr":"a"}`, "id"},
		{"join", `{"id":{"id":"n4"},"peer_addr":"a"}`, "id"},
		{"join", `{"ID":"n4","peer_addr":"a"}`, `"ID"`},
		{"join", `{"id":"n4","id":"n5","peer_addr":"a"}`, "id"},
		{"join", `{"id":"n4","peer_addr":"a","voter":"true"}`, `"voter"`},
		{"join", `{"id":"n4","peer_addr":"a"}{}`, "body"},
		{"join", `{"id":"n4","peer_addr":"a"`, "body"},
		{"join", `{"id":"n4","peer_addr":"a",}`, "body"},
		{"join", `["n4"]`, "body"},
		{"join", `"n4"`, "body"},
		{"join", `null`, "body"},
		{"join", `id=n4`, "body"},
		{"join", "{\"id\":\"\xff\"}", "body"},
		{"leave", ` `, "body"},
		{"leave", `{"id":""}`, "id"},
		{"transfer", `{"id":""}`, "id"},
		{"leave", `{"id":"n4","force":"true"}`, "force"},
		{"leave", `{"id":"n4","force":1}`, "force"},
		{"transfer", `{"id":"n4","force":true}`, `"force"`},
		{"leave", `{"id":`, "id"},
	} {
		a := mustAPI(t, nil)
		p := expectProblem(t, a.do("POST", "/admin/"+test.path, test.body), http.StatusBadRequest, "invalid")
		if !strings.HasPrefix(p.Detail, test.names+": ") {
			t.Errorf("%s %s: detail %q does not name %s", test.path, test.body, p.Detail, test.names)
		}
		if calls := a.node.called(); len(calls) > 0 {
			t.Errorf("%s %s: the node was called: %q", test.path, test.body, calls)
		}
	}
}

func TestAdmin_BodyLimit(t *testing.T) {
	a := mustAPI(t, nil)
	body := `{"id":"` + strings.Repeat("x", 64<<10) + `"}`
	expectProblem(t, a.do("POST", "/admin/leave", body), http.StatusRequestEntityTooLarge, "too_large")
}

// TestStatus compares the whole body, with every name in it.
func TestStatus(t *testing.T) {
	a := mustAPI(t, nil)
	a.node.stat = kv.Status{ID: "n1", Role: "joining"}
	w := a.do("GET", "/status", "")
	want := `{"id":"n1","cluster_id":"","role":"joining","leader":null,"term":0,"commit_index":0,` +
		`"applied_index":0,"revision":0,"members":[]}` + "\n"
	if got := w.Body.String(); w.Code != http.StatusOK || got != want {
		t.Errorf("got %d %s, want 200 %s", w.Code, got, want)
	}
	expectHeaders(t, w.Header(), "Content-Type", "application/json")

	a.node.stat = kv.Status{
		ID: "n1", ClusterID: "c", Role: "leader", Leader: &kv.Leader{ID: "n1", HTTPAddr: "h:1"},
		Term: 2, CommitIndex: 9, AppliedIndex: 8, Revision: 5,
		Members:  []kv.Member{{ID: "n1", PeerAddr: "h:2", HTTPAddr: "h:1", Voter: true, CommandVersion: 2}},
		Versions: &kv.VersionStatus{Understands: 3, Announces: 2, Needs: 1, Writes: 1, HeldBackBy: []string{"n2"}},
		Log:      &kv.LogStatus{FirstIndex: 1, LastIndex: 9, Bytes: 4096, CacheBytes: 512, OldestAgeSeconds: 1.5, Sync50Ms: 0.25, Sync99Ms: 8},
		Queue:    &kv.QueueStatus{PendingBytes: 70, Proposals: 3, Forwarded: 4, Unapplied: 1},
		State:    &kv.StateStatus{Index: 7, Hash: "00000000000000ff", VerifiedIndex: 6},
		Settings: &kv.Settings{MaxKeyBytes: 9},
		Peers: []kv.PeerStatus{
			{ID: "n2", ServerID: "n2.ab", LastContactSeconds: -1},
			{ID: "n3", ServerID: "n3.cd", Connected: true, LastContactSeconds: 0.5, RoundTripMs: 0.75, MatchIndex: 5, Lag: 4,
				Snapshot: &kv.SnapshotStatus{Index: 3, Sent: 10, Total: 20}},
		},
	}
	want = `{"id":"n1","cluster_id":"c","role":"leader","leader":{"id":"n1","http_addr":"h:1"},"term":2,"commit_index":9,` +
		`"applied_index":8,"revision":5,"members":[{"id":"n1","peer_addr":"h:2","http_addr":"h:1","voter":true,"command_version":2}],` +
		`"versions":{"understands":3,"announces":2,"needs":1,"writes":1,"held_back_by":["n2"]},` +
		`"log":{"first_index":1,"last_index":9,"bytes":4096,"cache_bytes":512,"oldest_age_seconds":1.5,"sync_p50_ms":0.25,"sync_p99_ms":8},` +
		`"queue":{"pending_bytes":70,"proposals":3,"forwarded":4,"unapplied":1},` +
		`"state":{"index":7,"hash":"00000000000000ff","verified_index":6},` +
		`"peers":[{"id":"n2","server_id":"n2.ab","connected":false,"last_contact_seconds":-1,"round_trip_ms":0},` +
		`{"id":"n3","server_id":"n3.cd","connected":true,"last_contact_seconds":0.5,"round_trip_ms":0.75,"match_index":5,"lag":4,` +
		`"snapshot":{"index":3,"sent":10,"total":20}}],` +
		`"settings":{"history":{},"max_key_bytes":9}}` + "\n"
	if got := a.do("GET", "/status", "").Body.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestHealth(t *testing.T) {
	a := mustAPI(t, func(c *httpapi.Config) { c.MaxInflightRequests = 1 })
	expect := func(target string, status int, body string) {
		t.Helper()
		if w := a.do("GET", target, ""); w.Code != status || w.Body.String() != body {
			t.Errorf("%s: got %d %q, want %d %q", target, w.Code, w.Body, status, body)
		}
	}
	expect("/livez", 200, "ok\n")
	expect("/readyz", 200, "ready\n")

	a.node.ready = fmt.Errorf("%w: asked n2 and n3", kv.ErrNoLeader)
	expect("/livez", 200, "ok\n")
	p := expectProblem(t, a.do("GET", "/readyz", ""), http.StatusServiceUnavailable, "not_ready")
	if !strings.Contains(p.Detail, "asked n2 and n3") {
		t.Errorf("detail %q does not tell why", p.Detail)
	}
	a.node.ready = errors.New("replaying the log")
	expectProblem(t, a.do("GET", "/readyz", ""), http.StatusServiceUnavailable, "not_ready")

	w := a.do("GET", "/", "")
	for _, route := range []string{"/kv/{key}", "/admin/join", "/admin/leave", "/status", "/livez", "/readyz", "/metrics"} {
		if !strings.Contains(w.Body.String(), route) {
			t.Errorf("the help does not name %s", route)
		}
	}
	expectHeaders(t, w.Header(), "Content-Type", "text/plain; charset=utf-8")
}

// TestHealth_Overload checks that an overloaded node still answers health, status and
// metrics.
func TestHealth_Overload(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.MaxInflightRequests = 1 })
	entered, leave := a.holdCall()
	busy := a.dial()
	busy.send("GET /kv/k HTTP/1.1\r\nHost: x\r\n\r\n")
	await(t, "the first request", entered)

	for _, target := range []string{"/kv/k", "/kv/"} {
		p := expectProblem(t, a.do("GET", target, ""), http.StatusTooManyRequests, "overloaded")
		if !p.Retryable || p.Outcome != "not_done" {
			t.Errorf("%s: got %+v, want retryable and not done", target, p)
		}
	}
	expectProblem(t, a.do("POST", "/admin/leave", ""), http.StatusTooManyRequests, "overloaded")
	for _, target := range []string{"/livez", "/readyz", "/status", "/"} {
		if w := a.do("GET", target, ""); w.Code != http.StatusOK {
			t.Errorf("%s: got %d, want 200", target, w.Code)
		}
	}
	close(leave)
	busy.answer("GET")
	a.expectReleased()
}

func TestMetrics(t *testing.T) {
	a := mustAPI(t, func(c *httpapi.Config) {
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "# metrics") })
	})
	if w := a.do("GET", "/metrics", ""); w.Code != http.StatusOK || w.Body.String() != "# metrics" {
		t.Errorf("got %d %q, want the page", w.Code, w.Body)
	}
	a.do("PUT", "/kv/a", "v")
	a.do("PUT", "/kv/b", "v")
	a.do("GET", "/kv/a", "")
	a.do("GET", "/kv/", "")
	a.do("BREW", "/tea/1", "")
	a.do("BREW", "/tea/2", "")
	a.do("DELETE", "/kv/a", "", "Sec-Fetch-Site", "cross-site")

	families, err := a.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != "kvorum_http_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := make(map[string]string)
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			got[labels["method"]+" "+labels["route"]+" "+labels["code"]] = m.GetCounter().GetValue()
		}
	}
	want := map[string]float64{
		"GET /metrics 200": 1, "PUT /kv/{key} 201": 2, "GET /kv/{key} 200": 1,
		"GET /kv/ 200": 1, "other none 404": 2, "DELETE none 403": 1,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNew_Validates(t *testing.T) {
	ok := httpapi.Config{Node: newFakeNode(), NodeID: "n1"}
	if err := ok.Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for field, change := range map[string]func(*httpapi.Config){
		"Node":                func(c *httpapi.Config) { c.Node = nil },
		"NodeID":              func(c *httpapi.Config) { c.NodeID = "" },
		"MaxKeyBytes":         func(c *httpapi.Config) { c.MaxKeyBytes = 17 << 10 },
		"MaxValueBytes":       func(c *httpapi.Config) { c.MaxValueBytes = -1 },
		"MaxInflightBytes":    func(c *httpapi.Config) { c.MaxInflightBytes = 1<<20 - 1 },
		"MaxInflightRequests": func(c *httpapi.Config) { c.MaxInflightRequests = -1 },
		"MaxConns":            func(c *httpapi.Config) { c.MaxConns = -1 },
		"MaxStreams":          func(c *httpapi.Config) { c.MaxStreams = -1 },
		"RequestTimeout":      func(c *httpapi.Config) { c.RequestTimeout = -1 },
		"AdminTimeout":        func(c *httpapi.Config) { c.AdminTimeout = -1 },
		"StallTimeout":        func(c *httpapi.Config) { c.StallTimeout = -1 },
		"ReadHeaderTimeout":   func(c *httpapi.Config) { c.ReadHeaderTimeout = -1 },
		"IdleTimeout":         func(c *httpapi.Config) { c.IdleTimeout = -1 },
	} {
		cfg := ok
		change(&cfg)
		_, err := httpapi.New(cfg)
		var invalid *kv.ValidationError
		if !errors.As(err, &invalid) || invalid.Field != field {
			t.Errorf("%s: got %v, want a validation error of it", field, err)
		}
	}
	taken := prometheus.NewRegistry()
	ok.Registerer = taken
	if _, err := httpapi.New(ok); err != nil {
		t.Fatal(err)
	}
	if _, err := httpapi.New(ok); err == nil {
		t.Error("metrics registered twice: got no error")
	}
}
