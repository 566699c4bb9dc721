package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// expectTxn fails unless a transaction is answered with want, a JSON text.
func (a *api) expectTxn(body, want string) {
	a.t.Helper()
	w := a.do("POST", "/txn", body)
	if w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != want {
		a.t.Errorf("%s:\ngot  %d %s\nwant 200 %s", body, w.Code, w.Body, want)
	}
}

// TestTxn_Operations does every kind of operation, in branches and nested.
func TestTxn_Operations(t *testing.T) {
	a := mustAPI(t, nil)
	a.expectTxn(`{"then":[{"put":{"key":"a","value":"x","prev":true}},{"put":{"key_b64":"/w==","value_b64":"AP8=","flags":7,"content_type":"text/plain"}},{"add":{"key":"n","delta":-3}}]}`,
		`{"succeeded":true,"revision":1,"results":[{"existed":false,"mod_revision":1,"prev":null},{"existed":false,"mod_revision":1},{"existed":false,"mod_revision":1,"number":-3}]}`)
	a.expectTxn(`{"if":[{"key":"a","mod_revision":1}],"then":[{"put":{"key":"a","value":"y","prev":true}},{"append":{"key":"b","value":"12"}},{"get":{"key":"b"}},{"get":{"key":"none"}}]}`,
		`{"succeeded":true,"revision":2,"results":[{"existed":true,"mod_revision":2,"prev":{"key":"a","value":"x","create_revision":1,"mod_revision":1,"version":1}},`+
			`{"existed":false,"mod_revision":2,"length":2},{"item":{"key":"b","value":"12","create_revision":2,"mod_revision":2,"version":1}},{"item":null}]}`)
	a.expectTxn(`{"if":[{"key":"a","version":9}],"then":[{"put":{"key":"a","value":"z"}}]}`, `{"succeeded":false,"revision":2,"results":[]}`)
	a.expectTxn(`{"if":[{"key":"a","version":9}],"then":[],"else":[{"count":{"prefix":""}},{"range":{"start":"a","end":"c","limit":1,"reverse":true,"keys_only":true}},{"get":{"key_b64":"/w=="}}]}`,
		`{"succeeded":false,"revision":2,"results":[{"count":4},{"items":[{"key":"b","create_revision":2,"mod_revision":2,"version":1}],"count":2,"more":true},`+
			`{"item":{"key_b64":"/w==","value_b64":"AP8=","create_revision":1,"mod_revision":1,"version":1,"flags":7,"content_type":"text/plain"}}]}`)
	a.expectTxn(`{"then":[{"txn":{"if":[{"key":"n","value":"-3"}],"then":[{"add":{"key":"n","delta":5,"prev":true}}]}},{"get":{"key":"n","keys_only":true}},{"get":{"key":"a","revision":1}},{"range":{"start":"a","end":"a\u0000"}}]}`,
		`{"succeeded":true,"revision":3,"results":[{"succeeded":true,"revision":3,"results":[{"existed":true,"mod_revision":3,"number":2,"prev":{"key":"n","value":"-3","create_revision":1,"mod_revision":1,"version":1}}]},`+
			`{"item":{"key":"n","create_revision":1,"mod_revision":3,"version":2}},{"item":{"key":"a","value":"x","create_revision":1,"mod_revision":1,"version":1}},`+
			`{"items":[{"key":"a","value":"y","create_revision":1,"mod_revision":2,"version":2}],"count":1,"more":false}]}`)
	a.expectTxn(`{"then":[{"delete":{"prefix":"a","prev":true}},{"delete":{"start":"n"}}]}`,
		`{"succeeded":true,"revision":4,"results":[{"deleted":1,"prev":[{"key":"a","value":"y","create_revision":1,"mod_revision":2,"version":2}]},{"deleted":2}]}`)
	w := a.do("POST", "/txn", `{"then":[{"delete":{"key":"b"}}]}`)
	expectHeaders(t, w.Header(), "Kvorum-Revision", "5", "Content-Type", "application/json", "Cache-Control", "no-store", "ETag", "")
}

// TestTxn_Compares checks what each compare means for the engine.
func TestTxn_Compares(t *testing.T) {
	for text, want := range map[string]kv.Compare{
		`{"key":"a","value":"x"}`:                         {Span: kv.One("a"), Target: kv.TargetValue, Relation: kv.Equal, Value: []byte("x")},
		`{"key":"a","value":"","is":"!="}`:                {Span: kv.One("a"), Target: kv.TargetValue, Relation: kv.NotEqual, Value: []byte{}},
		`{"key":"a","value_b64":"/w==","is":">"}`:         {Span: kv.One("a"), Target: kv.TargetValue, Relation: kv.Greater, Value: []byte("\xff")},
		`{"key":"a","version":3,"is":"<"}`:                {Span: kv.One("a"), Target: kv.TargetVersion, Relation: kv.Less, Number: 3},
		`{"key":"a","create_revision":0,"is":"="}`:        {Span: kv.One("a"), Target: kv.TargetCreateRevision, Relation: kv.Equal},
		`{"key":"a","mod_revision":9223372036854775807}`:  {Span: kv.One("a"), Target: kv.TargetModRevision, Relation: kv.Equal, Number: 9223372036854775807},
		`{"key":"a","lease":"0000000000000000","is":">"}`: {Span: kv.One("a"), Target: kv.TargetLease, Relation: kv.Greater},
		`{"key":"a","lease":"8000000000000000"}`:          {Span: kv.One("a"), Target: kv.TargetLease, Relation: kv.Equal, Number: -9223372036854775808},
		`{"key":"a","exists":true}`:                       kv.Present("a"),
		`{"key":"a","exists":false}`:                      kv.Absent("a"),
		`{"prefix":"","exists":false}`:                    {Span: kv.All(), Target: kv.TargetVersion, Relation: kv.Equal},
		`{"prefix_b64":"/w==","exists":false}`:            {Span: kv.Prefix("\xff"), Target: kv.TargetVersion, Relation: kv.Equal},
		`{"start":"a","end":"b","mod_revision":5}`:        {Span: kv.Span{Start: "a", End: "b"}, Target: kv.TargetModRevision, Relation: kv.Equal, Number: 5},
		`{"end_b64":"Yg==","mod_revision":5}`:             {Span: kv.Span{End: "b"}, Target: kv.TargetModRevision, Relation: kv.Equal, Number: 5},
		`{"start":"a","mod_revision":5,"is":">"}`:         {Span: kv.From("a"), Target: kv.TargetModRevision, Relation: kv.Greater, Number: 5},
	} {
		a := mustAPI(t, nil)
		if w := a.do("POST", "/txn", `{"if":[`+text+`]}`); w.Code != http.StatusOK {
			t.Errorf("%s: got %d %s", text, w.Code, w.Body)
		}
		if got := a.node.request.If; len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

// TestTxn_Refuses sends what is wrong in one place, which the answer must name.
func TestTxn_Refuses(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	long := strings.Repeat("k", httpapi.DefaultMaxKeyBytes+1)
	many := strings.TrimSuffix(strings.Repeat(`{"count":{"prefix":""}},`, 129), ",")
	for body, field := range map[string]string{
		``:                 "body",
		`[]`:               "body",
		`{}`:               "request",
		`{"then":[]}`:      "request",
		`{"then":{}}`:      "then",
		`{"then":[{}]}`:    "then[0]",
		`{"then":[7]}`:     "then[0]",
		`{"do":[]}`:        "do",
		`{"If":[]}`:        `"If"`,
		`{"if":[],"if":1}`: "if",
		`{"then":[{"put":{"key":"a","value":"x"},"delete":{"key":"b"}}]}`:                   "then[0].delete",
		`{"then":[{"incr":{"key":"a"}}]}`:                                                   "then[0].incr",
		`{"then":[{"put":{"key":"a"}}]}`:                                                    "then[0].put.value",
		`{"then":[{"put":{"value":"a"}}]}`:                                                  "then[0].put.key",
		`{"then":[{"put":{"key":"a","value":"x"}},{"put":{"key":"","value":"x"}}]}`:         "then[1].put.key",
		`{"then":[{"put":{"key":7,"value":"x"}}]}`:                                          "then[0].put.key",
		`{"then":[{"put":{"key":"a","value":null}}]}`:                                       "then[0].put.value",
		`{"then":[{"put":{"key":"a","value":"x","value_b64":""}}]}`:                         "then[0].put.value_b64",
		`{"then":[{"put":{"key":"a","value_b64":"*"}}]}`:                                    "then[0].put.value_b64",
		`{"then":[{"put":{"key":"a","value":"x","ttl":5}}]}`:                                "then[0].put.ttl",
		`{"then":[{"put":{"key":"a","value":"x","flags":4294967296}}]}`:                     "then[0].put.flags",
		`{"then":[{"put":{"key":"a","value":"x","flags":-1}}]}`:                             "then[0].put.flags",
		`{"then":[{"put":{"key":"a","value":"x","content_type":"a\nb"}}]}`:                  "then[0].put.content_type",
		`{"then":[{"put":{"key":"a","value":"x","content_type":" a/b"}}]}`:                  "then[0].put.content_type",
		`{"then":[{"put":{"key":"a","value":"x","content_type":"` + form + `"}}]}`:          "then[0].put.content_type",
		`{"then":[{"put":{"key":"a","value":"x","content_type_b64":""}}]}`:                  "then[0].put.content_type_b64",
		`{"then":[{"put":{"key":"` + long + `","value":"x"}}]}`:                             "then[0].put.key",
		`{"then":[{"add":{"key":"a","delta":9223372036854775808}}]}`:                        "then[0].add.delta",
		`{"then":[{"add":{"key":"a","delta":1.5}}]}`:                                        "then[0].add.delta",
		`{"then":[{"add":{"key":"a"}}]}`:                                                    "then[0].add.delta",
		`{"then":[{"append":{"key":"a"}}]}`:                                                 "then[0].append.value",
		`{"then":[{"get":{"prefix":"a"}}]}`:                                                 "then[0].get.prefix",
		`{"then":[{"get":{"key":"a","revision":0}}]}`:                                       "then[0].get.revision",
		`{"then":[{"get":{"key":""}}]}`:                                                     "then[0].get.key",
		`{"else":[{"range":{}}]}`:                                                           "else[0].range",
		`{"else":[{"range":{"key":"a","prefix":"b"}}]}`:                                     "else[0].range",
		`{"else":[{"range":{"start":"a","end":""}}]}`:                                       "else[0].range.end",
		`{"else":[{"range":{"prefix":"a","limit":0}}]}`:                                     "else[0].range.limit",
		`{"else":[{"range":{"prefix":"` + long + `"}}]}`:                                    "else[0].range.prefix",
		`{"else":[{"delete":{"start":"a","end":"` + long + `x"}}]}`:                         "else[0].delete.end",
		`{"else":[{"delete":{"start":"` + long + `"}}]}`:                                    "else[0].delete.start",
		`{"else":[{"count":{"prefix":"a","limit":1}}]}`:                                     "else[0].count.limit",
		`{"else":[{"txn":{}},{"txn":{"then":[{"txn":{"else":[{"delete":{"key":""}}]}}]}}]}`: "else[1].txn.then[0].txn.else[0].delete.key",
		`{"if":[{"key":"a"}]}`:                                                              "if[0]",
		`{"if":[{"exists":true}]}`:                                                          "if[0]",
		`{"if":[{"key":"a","version":1,"lease":"0000000000000002"}]}`:                       "if[0].lease",
		`{"if":[{"key":"a","version":-1}]}`:                                                 "if[0].version",
		`{"if":[{"key":"a","version":1,"is":"=="}]}`:                                        "if[0].is",
		`{"if":[{"key":"a","exists":true,"is":"="}]}`:                                       "if[0].is",
		`{"if":[{"key":"` + long + `","version":1}]}`:                                       "if[0].key",
		`{"if":[{"prefix":"` + long + `","version":1}]}`:                                    "if[0].prefix",
		`{"then":[{"put":{"key":"a","value":"x"}},{"put":{"key":"a","value":"y"}}]}`:        "request",
		`{"then":[{"put":{"key":"a","value":"x"}},{"delete":{"prefix":"a"}}]}`:              "request",
		`{"then":[{"put":{"key":"a","value":"` + strings.Repeat("v", 1<<20+1) + `"}}]}`:     "then[0].put.value",
		`{"then":[` + many + `]}`:                                                           "request",
		`{"then":[{"txn":{"then":[` + many + `]}}]}`:                                        "then[0].txn",
		`{"then":[` + strings.Repeat(many+",", 16) + many + `]}`:                            "then[2048]",
		`{"then":[{"get":{"key":"a"}}]} x`:                                                  "body",
		"{\"then\":[{\"get\":{\"key\":\"\xff\"}}]}":                                         "body",
	} {
		a := mustAPI(t, nil)
		w := a.do("POST", "/txn", body)
		var p struct{ Code, Detail, Field, Outcome string }
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || (w.Code != 400 && w.Code != 413) || p.Field != field ||
			!strings.HasPrefix(p.Detail, field+": ") || p.Outcome != "not_done" {
			t.Errorf("%.200s: got %d %s, want the field %s", body, w.Code, w.Body, field)
		}
		if calls := a.node.called(); len(calls) > 0 {
			t.Errorf("%.200s: the node was called: %q", body, calls)
		}
	}
}

// TestTxn_StateErrors checks the answers to requests that the state of the store refuses.
func TestTxn_StateErrors(t *testing.T) {
	a := mustAPI(t, nil)
	a.node.put(item("text", "x", 0), item("max", "9223372036854775807", 0), item("long", strings.Repeat("v", 1<<20), 0), item("a", "1", 0))
	a.node.compact = 2
	for body, want := range map[string]struct {
		status int
		code   string
	}{
		`{"then":[{"add":{"key":"text","delta":1}}]}`:                                 {409, "not_a_number"},
		`{"then":[{"put":{"key":"b","value":"1"}},{"add":{"key":"max","delta":1}}]}`:  {409, "overflow"},
		`{"then":[{"append":{"key":"long","value":"1"}}]}`:                            {413, "value_limit"},
		`{"then":[{"get":{"key":"a","revision":5}}]}`:                                 {400, "future_revision"},
		`{"then":[{"put":{"key":"b","value":"1"}},{"get":{"key":"a","revision":1}}]}`: {410, "compacted"},
	} {
		w := a.do("POST", "/txn", body)
		p := expectProblem(t, w, want.status, want.code)
		if p.Outcome != "not_done" || p.Retryable {
			t.Errorf("%s: got %+v", body, p)
		}
		if want.code == "compacted" && !strings.Contains(w.Body.String(), `"compact_revision":2`) {
			t.Errorf("%s does not have the compact revision", w.Body)
		}
	}
	if _, ok := a.node.value("b"); ok || a.node.revision != 4 {
		t.Errorf("something was changed: revision %d", a.node.revision)
	}
}

func TestTxn_RefusesHeaders(t *testing.T) {
	const body = `{"then":[{"get":{"key":"a"}}]}`
	for header, status := range map[string]int{
		"If-Match": 400, "If-None-Match": 400, "Idempotency-Key": 400, "Content-Encoding": 415, "Origin": 403,
	} {
		a := mustAPI(t, nil)
		if w := a.do("POST", "/txn", body, header, "https://x.example"); w.Code != status {
			t.Errorf("%s: got %d %s, want %d", header, w.Code, w.Body, status)
		}
		if calls := a.node.called(); len(calls) > 0 {
			t.Errorf("%s: the node was called: %q", header, calls)
		}
	}
	a := mustAPI(t, nil)
	expectProblem(t, a.do("POST", "/txn?prev=true", body), 400, "invalid")
	expectProblem(t, a.do("GET", "/txn", ""), 405, "method_not_allowed")
	p := expectProblem(t, a.do("POST", "/txn", strings.Repeat(" ", 3<<20+1)), 413, "too_large")
	if want := fmt.Sprintf("body: has %d bytes, the limit is %d", 3<<20+1, 3<<20); p.Detail != want {
		t.Errorf("got %q, want %q", p.Detail, want)
	}
}

// TestTxn_UnsupportedByAMember checks the answer while a member is too old.
func TestTxn_UnsupportedByAMember(t *testing.T) {
	a := mustAPI(t, nil)
	a.node.hook = func(context.Context, string, string) error { return fmt.Errorf("%w: n2", kv.ErrUnsupported) }
	p := expectProblem(t, a.do("POST", "/txn", `{"then":[{"add":{"key":"a","delta":1}}]}`), 501, "unsupported_version")
	if !strings.Contains(p.Detail, "n2") {
		t.Errorf("detail %q does not name the member", p.Detail)
	}
}
