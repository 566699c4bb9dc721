package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	shapes "github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// newYear is 2026-01-01T00:00:00.000Z in milliseconds.
const newYear = 1_767_225_600_000

// mustClockAPI returns a server whose cluster clock is less than a millisecond before newYear.
func mustClockAPI(t testing.TB) *api {
	t.Helper()
	a := mustAPI(t, nil)
	a.node.clock = newYear - 1
	return a
}

// TestTTL_Forms follows a key with a time to live through every form of a write.
func TestTTL_Forms(t *testing.T) {
	a := mustClockAPI(t)
	const at, left = "Kvorum-Expires-At", "Kvorum-Expires-In-Ms"
	for _, step := range []struct {
		method, target, body string
		status               int
		want                 string
		headers              []string // of the answer
	}{
		{"PUT", "/kv/k?ttl=30s", "v", 201, "", []string{"ETag", `"1"`, "Kvorum-Revision", "1", at, "2026-01-01T00:00:30.000Z", left, ""}},
		{"GET", "/kv/k", "", 200, "v", []string{at, "2026-01-01T00:00:30.000Z", left, "30000"}},
		{"GET", "/kv/k?consistency=stale", "", 200, "v", []string{at, "2026-01-01T00:00:30.000Z", left, "30000"}},
		{"GET", "/kv/k?revision=1", "", 200, "v", []string{at, "2026-01-01T00:00:30.000Z", left, ""}},
		{"GET", "/kv/k?wait=1s&newer_than=1", "", 304, "", []string{at, "2026-01-01T00:00:30.000Z"}},
		{"PUT", "/kv/k", "w", 204, "", []string{at, ""}},
		{"GET", "/kv/k", "", 200, "w", []string{at, "", left, ""}},
		{"POST", "/kv/k?op=touch&ttl=1500ms", "", 204, "", []string{"ETag", `"3"`, "Kvorum-Revision", "3", at, "2026-01-01T00:00:01.500Z"}},
		{"GET", "/kv/k", "", 200, "w", []string{"ETag", `"3"`, "Kvorum-Version", "3", at, "2026-01-01T00:00:01.500Z", left, "1500"}},
		{"POST", "/kv/k?op=persist", "", 204, "", []string{"ETag", `"4"`, at, ""}},
		{"POST", "/kv/k?op=persist", "", 204, "", []string{"ETag", `"4"`, "Kvorum-Revision", "4", at, ""}},
		{"GET", "/kv/k", "", 200, "w", []string{at, ""}},
		{"PUT", "/kv/k?op=getset&ttl=876000h", "x", 200, "w", []string{at, "2125-12-08T00:00:00.000Z"}},
		{"POST", "/kv/k?op=getset&ttl=1ms", "y", 200, "x", []string{at, "2026-01-01T00:00:00.001Z"}},
		{"DELETE", "/kv/k?op=getdel", "", 200, "y", []string{at, ""}},
		{"POST", "/kv/n?op=incr&ttl=1h30m", "", 200, "1\n", []string{at, "2026-01-01T01:30:00.000Z"}},
		{"POST", "/kv/n?op=incr&ttl=10h&delta=2", "", 200, "3\n", []string{at, "2026-01-01T01:30:00.000Z"}},
		{"POST", "/kv/log?op=append&ttl=1.5s", "ab", 200, "2\n", []string{at, "2026-01-01T00:00:01.500Z"}},
		{"POST", "/kv/none?op=touch&ttl=1s", "", 404, "", []string{"ETag", "", "Kvorum-Revision", "10", at, ""}},
		{"POST", "/kv/none?op=persist", "", 404, "", []string{"ETag", "", "Kvorum-Revision", "10"}},
	} {
		w := a.do(step.method, step.target, step.body)
		if w.Code != step.status || (step.status < 300 && w.Body.String() != step.want) {
			t.Fatalf("%s %s: got %d %q, want %d %q", step.method, step.target, w.Code, w.Body, step.status, step.want)
		}
		expectHeaders(t, w.Header(), step.headers...)
	}
}

// TestTTL_Conditions checks that a form with a condition that does not hold changes nothing.
func TestTTL_Conditions(t *testing.T) {
	for _, target := range []string{"/kv/k?op=touch&ttl=1s", "/kv/k?op=persist"} {
		a := mustClockAPI(t)
		a.do("PUT", "/kv/k?ttl=30s", "v")
		w := a.do("POST", target, "", "If-Match", `"7"`)
		expectProblem(t, w, http.StatusPreconditionFailed, "condition_failed")
		expectHeaders(t, a.do("GET", "/kv/k", "").Header(), "ETag", `"1"`, "Kvorum-Expires-In-Ms", "30000")
		if w := a.do("POST", target, "", "If-Match", `"1"`); w.Code != http.StatusNoContent {
			t.Errorf("%s: got %d %s, want 204", target, w.Code, w.Body)
		}
		expectProblem(t, a.do("POST", target, "", "If-None-Match", `*`), http.StatusPreconditionFailed, "condition_failed")
	}
}

// expectField fails unless an error answer names a field.
func expectField(t *testing.T, what, body, field string) {
	t.Helper()
	var p shapes.Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil || p.Field != field || p.Outcome != kv.NotDone {
		t.Errorf("%s: got field %q, outcome %q, %v, want %q", what, p.Field, p.Outcome, err, field)
	}
}

// TestTTL_Refuses sends times to live that are none, which the answer must say. The node is not
// asked.
func TestTTL_Refuses(t *testing.T) {
	const forms = "must be a duration with its unit, such as 30s, 1500ms or 1h30m"
	for text, reason := range map[string]string{
		"30":                         "is a number without a unit, and " + forms,
		"0":                          "is a number without a unit, and " + forms,
		"-1":                         "is a number without a unit, and " + forms,
		"1.5":                        "is a number without a unit, and " + forms,
		"":                           forms,
		"soon":                       forms,
		"1d":                         forms,
		"1s ":                        forms,
		"0s":                         "is 0s, the minimum is 1ms",
		"-30s":                       "is -30s, the minimum is 1ms",
		"999us":                      "is 999µs, the minimum is 1ms",
		"1ns":                        "is 1ns, the minimum is 1ms",
		"1500us":                     "is 1.5ms, which is no whole number of milliseconds",
		"1s1ns":                      "is 1.000000001s, which is no whole number of milliseconds",
		"876000h1ms":                 "is 876000h0m0.001s, the maximum is 876000h (100 years)",
		"9223372036854775808ns":      forms + ", and at most 876000h (100 years)",
		"99999999999999999999999h":   forms + ", and at most 876000h (100 years)",
		strings.Repeat("876000h", 2): "the maximum is 876000h (100 years)",
	} {
		escaped := strings.ReplaceAll(text, " ", "%20")
		for _, target := range []string{"PUT /kv/k?ttl=", "PUT /kv/k?op=getset&ttl=", "POST /kv/k?op=incr&ttl=", "POST /kv/k?op=append&ttl=", "POST /kv/k?op=getset&ttl=", "POST /kv/k?op=touch&ttl="} {
			method, path, _ := strings.Cut(target, " ")
			expectRefused(t, method, path+escaped, "", reason, "ttl")
		}
		quoted, _ := json.Marshal(text)
		for kind, format := range map[string]string{
			"put":    `{"put":{"key":"k","value":"v","ttl":%s}}`,
			"add":    `{"add":{"key":"k","delta":1,"ttl":%s}}`,
			"append": `{"append":{"key":"k","value":"v","ttl":%s}}`,
			"touch":  `{"touch":{"key":"k","ttl":%s}}`,
		} {
			expectRefused(t, "POST", "/txn", `{"then":[`+fmt.Sprintf(format, quoted)+`]}`, reason, "then[0]."+kind+".ttl")
			a := mustAPI(t, nil)
			line, _, _ := strings.Cut(a.do("POST", "/batch", fmt.Sprintf(format, quoted)).Body.String(), "\n")
			if field := `"field":"` + kind + `.ttl"`; !strings.Contains(line, field) || len(a.node.called()) > 0 {
				t.Errorf("%s of a batch: got %s, calls %q, want %s", text, line, a.node.called(), field)
			}
		}
	}
}

// expectRefused fails unless a request is refused before it reaches the node.
func expectRefused(t *testing.T, method, target, body, reason, field string) {
	t.Helper()
	a := mustAPI(t, nil)
	w := a.do(method, target, body)
	p := expectProblem(t, w, http.StatusBadRequest, "invalid")
	expectField(t, target+body, w.Body.String(), field)
	if !strings.Contains(p.Detail, reason) {
		t.Errorf("%.80s %.80s: detail %q does not say that it %s", target, body, p.Detail, reason)
	}
	if calls := a.node.called(); len(calls) > 0 {
		t.Errorf("%s%s: the node was called: %q", target, body, calls)
	}
}

// TestTTL_RefusesElsewhere checks that operations without a time to live have none, and that a
// touch has one.
func TestTTL_RefusesElsewhere(t *testing.T) {
	const unknown = "is not a parameter of this request"
	expectRefused(t, "POST", "/kv/k?op=touch", "", "is required with op=touch", "ttl")
	expectRefused(t, "POST", "/kv/k?op=persist&ttl=1s", "", "is not for op=persist", "ttl")
	expectRefused(t, "POST", "/kv/k?op=getdel&ttl=1s", "", "is not for op=getdel", "ttl")
	expectRefused(t, "PUT", "/kv/k?ttl=1s&ttl=2s", "", "is given more than once", `query parameter "ttl"`)
	for _, target := range []string{"GET /kv/k?ttl=1s", "GET /kv/k?wait=1s&newer_than=1&ttl=1s", "HEAD /kv/k?ttl=1s", "DELETE /kv/k?ttl=1s", "GET /kv/?ttl=1s", "DELETE /kv/?prefix=a&ttl=1s", "POST /txn?ttl=1s", "POST /batch?ttl=1s"} {
		method, path, _ := strings.Cut(target, " ")
		expectRefused(t, method, path, "", unknown, `query parameter "ttl"`)
	}
	for op, field := range map[string]string{
		`{"touch":{"key":"k"}}`:                            "then[0].touch.ttl",
		`{"touch":{"key":"","ttl":"1s"}}`:                  "",
		`{"touch":{"ttl":"1s"}}`:                           "then[0].touch.key",
		`{"touch":{"key":"k","ttl":30}}`:                   "then[0].touch.ttl",
		`{"touch":{"key":"k","ttl":null}}`:                 "then[0].touch.ttl",
		`{"touch":{"key":"k","ttl":"1s","value":"v"}}`:     "then[0].touch.value",
		`{"touch":{"prefix":"k","ttl":"1s"}}`:              "then[0].touch.prefix",
		`{"persist":{"key":"k","ttl":"1s"}}`:               "then[0].persist.ttl",
		`{"persist":{}}`:                                   "then[0].persist.key",
		`{"delete":{"key":"k","ttl":"1s"}}`:                "then[0].delete.ttl",
		`{"get":{"key":"k","ttl":"1s"}}`:                   "then[0].get.ttl",
		`{"range":{"prefix":"k","ttl":"1s"}}`:              "then[0].range.ttl",
		`{"txn":{"then":[{"touch":{"key":"k"}}]}}`:         "then[0].txn.then[0].touch.ttl",
		`{"put":{"key":"k","value":"v","ttl":"0.5ms"}}`:    "then[0].put.ttl",
		`{"put":{"key":"k","value":"v","ttl_b64":"MXM="}}`: "then[0].put.ttl_b64",
	} {
		if field != "" {
			expectRefused(t, "POST", "/txn", `{"then":[`+op+`]}`, "", field)
		}
	}
	expectRefused(t, "POST", "/txn", `{"then":[{"touch":{"key":"k","ttl":30}}]}`, `must be a duration with its unit as a string, such as "30s"`, "then[0].touch.ttl")
	w := mustAPI(t, nil).do("POST", "/txn", `{"then":[{"touch":{"key":"","ttl":"1s"}}]}`) // the node refuses it
	expectProblem(t, w, http.StatusBadRequest, "invalid")
	expectField(t, "no key", w.Body.String(), "then[0].touch.key")
	w = mustAPI(t, nil).do("POST", "/txn", `{"then":[{"touch":{"key":"k","ttl":"1s"}},{"put":{"key":"k","value":"v"}}]}`)
	expectProblem(t, w, http.StatusBadRequest, "invalid")
	expectProblem(t, mustAPI(t, nil).do("POST", "/kv/k?op=touch&ttl=1s", "body"), http.StatusBadRequest, "unexpected_body")
	expectProblem(t, mustAPI(t, nil).do("POST", "/kv/k?op=persist", "", "Kvorum-Flags", "7"), http.StatusBadRequest, "invalid")
}

// TestTTL_Transactions checks the operations of transactions and batches, and their results.
func TestTTL_Transactions(t *testing.T) {
	a := mustClockAPI(t)
	a.expectTxn(`{"then":[{"put":{"key":"a","value":"x","ttl":"30s"}},{"add":{"key":"n","delta":1,"ttl":"1m"}},{"append":{"key":"l","value":"xy","ttl":"1500ms"}},{"put":{"key":"b","value":"y"}}]}`,
		`{"succeeded":true,"revision":1,"results":[{"existed":false,"mod_revision":1,"expires_at":"2026-01-01T00:00:30.000Z"},`+
			`{"existed":false,"mod_revision":1,"number":1,"expires_at":"2026-01-01T00:01:00.000Z"},{"existed":false,"mod_revision":1,"length":2,"expires_at":"2026-01-01T00:00:01.500Z"},{"existed":false,"mod_revision":1}]}`)
	a.expectTxn(`{"then":[{"touch":{"key":"a","ttl":"1h","prev":true}},{"persist":{"key":"n","prev":true}},{"touch":{"key":"none","ttl":"1s"}},{"persist":{"key_b64":"Yg=="}},{"get":{"key":"a"}},{"range":{"prefix":"l","keys_only":true}}]}`,
		`{"succeeded":true,"revision":2,"results":[{"existed":true,"mod_revision":2,"expires_at":"2026-01-01T01:00:00.000Z","prev":{"key":"a","value":"x","create_revision":1,"mod_revision":1,"version":1,"expires_at":"2026-01-01T00:00:30.000Z"}},`+
			`{"existed":true,"mod_revision":2,"prev":{"key":"n","value":"1","create_revision":1,"mod_revision":1,"version":1,"expires_at":"2026-01-01T00:01:00.000Z"}},`+
			`{"existed":false,"mod_revision":0},{"existed":true,"mod_revision":1},{"item":{"key":"a","value":"x","create_revision":1,"mod_revision":2,"version":2,"expires_at":"2026-01-01T01:00:00.000Z"}},`+
			`{"items":[{"key":"l","create_revision":1,"mod_revision":1,"version":1,"expires_at":"2026-01-01T00:00:01.500Z"}],"count":1,"more":false}]}`)
	w := a.do("POST", "/batch", `{"touch":{"key":"b","ttl":"10s"}}`+"\n"+`{"persist":{"key":"b"}}`+"\n")
	if got, want := w.Body.String(), `{"revision":3,"result":{"existed":true,"mod_revision":3,"expires_at":"2026-01-01T00:00:10.000Z"}}`+"\n"+
		`{"revision":4,"result":{"existed":true,"mod_revision":4}}`+"\n"+`{"end":true,"count":2}`+"\n"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// TestTTL_Lists checks that a list of the newest state has deadlines and what is left, and one of
// an older state only deadlines.
func TestTTL_Lists(t *testing.T) {
	a := mustClockAPI(t)
	a.do("PUT", "/kv/a?ttl=30s", "x")
	a.do("PUT", "/kv/b", "y")
	a.node.clock += 500
	const item = `{"key":"a","value":"x","create_revision":1,"mod_revision":1,"version":1,"expires_at":"2026-01-01T00:00:30.000Z"`
	const rest = `{"key":"b","value":"y","create_revision":2,"mod_revision":2,"version":1}`
	for target, want := range map[string]string{
		"/kv/":                            item + `,"ttl_ms":29500}` + "\n" + rest + "\n" + `{"end":true,"count":2}` + "\n",
		"/kv/?sort=version&limit=1":       item + `,"ttl_ms":29500}` + "\n",
		"/kv/?revision=1":                 item + "}\n" + `{"end":true,"count":1}` + "\n",
		"/kv/?keys_only=true&prefix=a":    strings.Replace(item, `"value":"x",`, "", 1) + `,"ttl_ms":29500}` + "\n" + `{"end":true,"count":1}` + "\n",
		"/kv/?revision=2&reverse=true":    rest + "\n" + item + "}\n" + `{"end":true,"count":2}` + "\n",
		"/kv/?consistency=stale&prefix=a": item + `,"ttl_ms":29500}` + "\n" + `{"end":true,"count":1}` + "\n",
	} {
		if got := a.do("GET", target, "", asLines...).Body.String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got\n%swant\n%s", target, got, want)
		}
	}
}

// TestTTL_Pages checks that no page of a list shows a key that had expired when the first page was
// read, and was removed between two pages. A page shows all other keys of the list's revision.
func TestTTL_Pages(t *testing.T) {
	for query, want := range map[string]string{
		"limit=1": "a c d", "limit=1&reverse=true": "d c a", "limit=1&sort=mod_revision": "a c d", "limit=1&delimiter=/": "a c d", "limit=2&revision=5": "a c d",
	} {
		a := mustClockAPI(t)
		for _, target := range []string{"a", "b?ttl=10s", "b2?ttl=10s", "c?ttl=20s", "d"} {
			a.do("PUT", "/kv/"+target, "x")
		}
		a.node.clock += 15_000
		var keys []string
		for cursor := ""; len(keys) < 10; {
			items, last := parseList(t, a.do("GET", "/kv/?"+query+cursor, "", asLines...).Body.String())
			for _, it := range items {
				keys = append(keys, it.key())
			}
			if last.Cursor == "" {
				break
			}
			cursor = "&cursor=" + last.Cursor
			a.do("PUT", "/kv/e", "x") // the revision of the list is an old one now
			a.node.clock += 10_000
		}
		if got := strings.Join(keys, " "); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

// TestTTL_Unsupported checks that a request which a member does not understand is not done.
func TestTTL_Unsupported(t *testing.T) {
	for target, body := range map[string]string{
		"PUT /kv/k?ttl=1s": "v", "POST /kv/k?op=touch&ttl=1s": "", "POST /kv/k?op=persist": "",
		"POST /txn": `{"then":[{"touch":{"key":"k","ttl":"1s"}}]}`,
	} {
		a := mustClockAPI(t)
		a.node.hook = func(context.Context, string, string) error {
			return fmt.Errorf("%w: n2 runs version 4", kv.ErrUnsupported)
		}
		method, path, _ := strings.Cut(target, " ")
		if p := expectProblem(t, a.do(method, path, body), http.StatusNotImplemented, "unsupported_version"); p.Outcome != "not_done" {
			t.Errorf("%s: got %+v", target, p)
		}
	}
}

// expiryNode is a node whose watches return one batch of changes, and then end.
type expiryNode struct {
	*fakeNode
	batch kv.WatchBatch
	kinds kv.EventKinds
}

func (n *expiryNode) Watch(_ context.Context, o kv.WatchOptions) (kv.Watch, error) {
	n.kinds = o.Kinds
	return &expiryWatch{batches: []kv.WatchBatch{n.batch}}, nil
}

type expiryWatch struct{ batches []kv.WatchBatch }

func (w *expiryWatch) Next(context.Context) (kv.WatchBatch, error) {
	if len(w.batches) == 0 {
		return kv.WatchBatch{}, kv.ErrClosed
	}
	b := w.batches[0]
	w.batches = w.batches[1:]
	return b, nil
}

func (w *expiryWatch) Revision() uint64 { return 7 }
func (w *expiryWatch) Close() error     { return nil }

// TestTTL_Watch checks the messages of a put with a deadline, and of its end.
func TestTTL_Watch(t *testing.T) {
	before := kv.Item{Key: "a", Value: []byte("x"), CreateRevision: 3, ModRevision: 3, Version: 1, Deadline: newYear}
	n := &expiryNode{fakeNode: newFakeNode(), batch: kv.WatchBatch{Kind: kv.WatchChanges, Revision: 8, Events: []kv.Event{
		{Kind: kv.EventExpire, Item: kv.Item{Key: "a", ModRevision: 8}, Prev: &before},
		{Kind: kv.EventPut, Item: kv.Item{Key: "b", Value: []byte("y"), CreateRevision: 8, ModRevision: 8, Version: 1, Deadline: newYear + 1}},
	}}}
	a := mustAPI(t, withNode(n, nil))
	got := a.do("GET", "/watch?prev=true&ops=expire", "").Body.String()
	want := `{"type":"start","revision":7}` + "\n" +
		`{"type":"changes","revision":8,"events":[{"op":"expire","key":"a","mod_revision":8,"prev":{"key":"a","value":"x","create_revision":3,"mod_revision":3,"version":1,"expires_at":"2026-01-01T00:00:00.000Z"}},` +
		`{"op":"put","key":"b","value":"y","create_revision":8,"mod_revision":8,"version":1,"expires_at":"2026-01-01T00:00:00.001Z"}]}` + "\n"
	if !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if n.kinds != kv.Kinds(kv.EventExpire) {
		t.Errorf("ops=expire selects %b", n.kinds)
	}
}
