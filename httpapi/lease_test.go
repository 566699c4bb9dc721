package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/kv"
)

// The ids of leases in these tests: one that is chosen by the client, and the first two that the
// fake node chooses.
const (
	ownLease    = "00000000000004d2"
	firstLease  = "0000000000000001"
	secondLease = "0000000000000002"
	lastLease   = "ffffffffffffffff" // -1, the greatest without a sign
)

// TestLease_Life follows a lease from its grant through keep-alives to its end.
func TestLease_Life(t *testing.T) {
	a := mustAPI(t, nil)
	for _, step := range []struct {
		method, target, body string
		status               int
		want                 string
		headers              []string
	}{
		{"POST", "/leases", `{"ttl":"30s"}`, 201, `{"lease":"` + firstLease + `","ttl":"30s"}`, []string{"Location", "/leases/" + firstLease, "Content-Type", "application/json", "Kvorum-Revision", "0"}},
		{"POST", "/leases", `{"ttl":"1ms"}`, 201, `{"lease":"` + secondLease + `","ttl":"2s"}`, nil},
		{"POST", "/leases", `{"ttl":"2500000h","lease":"` + ownLease + `"}`, 201, `{"lease":"` + ownLease + `","ttl":"2500000h0m0s"}`, nil},
		{"POST", "/leases", `{"ttl":"1m","lease":"` + lastLease + `"}`, 201, `{"lease":"` + lastLease + `","ttl":"1m0s"}`, nil},
		{"POST", "/leases", `{"ttl":"1m","lease":"` + ownLease + `"}`, 409, `"code":"lease_exists"`, nil},
		{"PUT", "/kv/b?lease=" + firstLease, "x", 201, "", nil},
		{"PUT", "/kv/a%FF?op=getset&lease=" + firstLease, "y", 201, "", nil},
		{"GET", "/kv/b", "", 200, "x", []string{"Kvorum-Lease", firstLease}},
		{"GET", "/leases/" + firstLease, "", 200, `{"lease":"` + firstLease + `","ttl":"30s","ttl_ms":29500}`, nil},
		{"GET", "/leases/" + firstLease + "?keys=true", "", 200, `{"lease":"` + firstLease + `","ttl":"30s","ttl_ms":29500,"keys":[{"key_b64":"Yf8="},{"key":"b"}]}`, nil},
		{"GET", "/leases/" + secondLease + "?keys=true", "", 200, `{"lease":"` + secondLease + `","ttl":"2s","ttl_ms":1500,"keys":[]}`, nil},
		{"POST", "/leases/" + firstLease + "/keepalive", "", 200, `{"lease":"` + firstLease + `","ttl":"30s"}`, nil},
		{"GET", "/leases/" + firstLease + "?keys=false", "", 200, `{"lease":"` + firstLease + `","ttl":"30s","ttl_ms":30000}`, nil},
		{"GET", "/leases?limit=2", "", 200, `{"leases":[{"lease":"` + firstLease + `","ttl":"30s"},{"lease":"` + secondLease + `","ttl":"2s"}],"more":true}`, nil},
		{"GET", "/leases?after=" + secondLease, "", 200, `{"leases":[{"lease":"` + ownLease + `","ttl":"2500000h0m0s"},{"lease":"` + lastLease + `","ttl":"1m0s"}],"more":false}`, nil},
		{"GET", "/leases?after=" + lastLease, "", 200, `{"leases":[],"more":false}`, nil},
		{"PUT", "/kv/a%FF", "z", 204, "", nil},
		{"GET", "/kv/a%FF", "", 200, "z", []string{"Kvorum-Lease", ""}},
		{"DELETE", "/leases/" + firstLease, "", 200, `{"deleted":1,"revision":4}`, []string{"Kvorum-Revision", "4"}},
		{"GET", "/kv/b", "", 404, "", nil},
		{"DELETE", "/leases/" + firstLease, "", 404, `"code":"lease_not_found"`, nil},
		{"GET", "/leases/" + firstLease, "", 404, `"code":"lease_not_found"`, nil},
		{"POST", "/leases/" + firstLease + "/keepalive", "", 404, `"code":"lease_not_found"`, nil},
		{"PUT", "/kv/b?lease=" + firstLease, "x", 404, `"code":"lease_not_found"`, nil},
		{"DELETE", "/leases/" + secondLease, "", 200, `{"deleted":0,"revision":4}`, nil},
	} {
		w := a.do(step.method, step.target, step.body)
		if w.Code != step.status || !strings.Contains(w.Body.String(), step.want) {
			t.Fatalf("%s %s: got %d %s, want %d %s", step.method, step.target, w.Code, w.Body, step.status, step.want)
		}
		if w.Code >= 400 && !strings.Contains(w.Body.String(), `"outcome":"not_done"`) {
			t.Errorf("%s %s: got %s, want not_done", step.method, step.target, w.Body)
		}
		expectHeaders(t, w.Header(), step.headers...)
	}
}

// TestLease_Items checks that items have their lease wherever they are, and the operations of
// transactions and batches.
func TestLease_Items(t *testing.T) {
	a := mustAPI(t, nil)
	a.do("POST", "/leases", `{"ttl":"30s","lease":"`+ownLease+`"}`)
	const item = `{"key":"a","value":"x","create_revision":1,"mod_revision":1,"version":1,"lease":"` + ownLease + `"}`
	a.expectTxn(`{"then":[{"put":{"key":"a","value":"x","lease":"`+ownLease+`"}},{"put":{"key":"b","value":"y"}}]}`,
		`{"succeeded":true,"revision":1,"results":[{"existed":false,"mod_revision":1},{"existed":false,"mod_revision":1}]}`)
	a.expectTxn(`{"if":[{"key":"a","lease":"`+ownLease+`"},{"key":"b","lease":"0000000000000000"},{"key":"a","lease":"0000000000000001","is":"!="}],"then":[{"get":{"key":"a"}}]}`,
		`{"succeeded":true,"revision":1,"results":[{"item":`+item+`}]}`)
	if got := a.do("GET", "/kv/", "", asLines...).Body.String(); !strings.HasPrefix(got, item+"\n"+`{"key":"b"`) {
		t.Errorf("list: got %s", got)
	}
	a.expectTxn(`{"then":[{"append":{"key":"a","value":"y","prev":true}}]}`,
		`{"succeeded":true,"revision":2,"results":[{"existed":true,"mod_revision":2,"length":2,"prev":`+item+`}]}`)
	a.expectTxn(`{"then":[{"grant":{"ttl":"1m"}}]}`, `{"succeeded":true,"revision":2,"results":[{"lease":"`+secondLease+`","ttl":"1m0s"}]}`)
	got := a.batch(
		`{"grant":{"ttl":"5s","lease":"00000000000000aa"}}`,
		`{"put":{"key":"c","value":"z","lease":"00000000000000aa"}}`,
		`{"put":{"key":"d","value":"z","lease":"00000000000000ab"}}`,
		`{"revoke":{"lease":"00000000000000aa"}}`,
		`{"revoke":{"lease":"00000000000000aa"}}`,
		`{"grant":{"ttl":"5s","lease":"00000000000000aa"},"idempotency_key":"i"}`,
		`{"grant":{"ttl":"5s","lease":"00000000000000aa"},"idempotency_key":"i"}`,
	)
	for i, want := range []string{
		`{"revision":2,"result":{"lease":"00000000000000aa","ttl":"5s"}}`,
		`{"revision":3,"result":{"existed":false,"mod_revision":3}}`,
		`"code":"lease_not_found"`,
		`{"revision":4,"result":{"deleted":1}}`,
		`"code":"lease_not_found"`,
		`{"revision":4,"result":{"lease":"00000000000000aa","ttl":"5s"}}`,
		`{"revision":4,"replayed":true,"result":{"lease":"00000000000000aa","ttl":"5s"}}`,
		`{"end":true,"count":7}`,
	} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Errorf("line %d: got %q, want %s", i, got, want)
		}
	}
}

// TestLease_Idempotency checks that a grant and a revoke are carried out once with one key.
func TestLease_Idempotency(t *testing.T) {
	a := mustAPI(t, nil)
	for _, want := range []string{`{"lease":"` + firstLease + `","ttl":"30s"}`, `{"lease":"` + firstLease + `","ttl":"30s","replayed":true}`} {
		if w := a.do("POST", "/leases", `{"ttl":"30s"}`, "Idempotency-Key", "g"); w.Code != 201 || strings.TrimSpace(w.Body.String()) != want {
			t.Errorf("grant: got %d %s, want %s", w.Code, w.Body, want)
		}
	}
	expectProblem(t, a.do("POST", "/leases", `{"ttl":"31s"}`, "Idempotency-Key", "g"), http.StatusUnprocessableEntity, "idempotency_key_reused")
	for _, replayed := range []string{"", "true"} {
		w := a.do("DELETE", "/leases/"+firstLease, "", "Idempotency-Key", "r")
		if w.Code != 200 || !strings.Contains(w.Body.String(), `{"deleted":0,"revision":0}`) {
			t.Errorf("revoke: got %d %s", w.Code, w.Body)
		}
		expectHeaders(t, w.Header(), "Kvorum-Replayed", replayed)
	}
	for _, target := range []string{"GET /leases", "GET /leases/" + firstLease, "POST /leases/" + firstLease + "/keepalive", "POST /leases/keepalive"} {
		method, path, _ := strings.Cut(target, " ")
		w := a.do(method, path, "", "Idempotency-Key", "k")
		expectProblem(t, w, http.StatusBadRequest, "invalid")
		expectField(t, target, w.Body.String(), "Idempotency-Key")
	}
}

// TestLease_RefusesTTL sends times to live that no lease has. The node is not asked.
func TestLease_RefusesTTL(t *testing.T) {
	const forms = "must be a duration with its unit, such as 30s, 1500ms or 1h30m"
	for text, reason := range map[string]string{
		`"30"`:                    "is a number without a unit, and " + forms,
		`"0"`:                     "is a number without a unit, and " + forms,
		`""`:                      forms,
		`"soon"`:                  forms,
		`"0s"`:                    "is 0s, and must be greater than 0",
		`"-30s"`:                  "is -30s, and must be greater than 0",
		`"1ns"`:                   "is 1ns, which is no whole number of milliseconds",
		`"2s1us"`:                 "is 2.000001s, which is no whole number of milliseconds",
		`"2500000h1ms"`:           "is 2500000h0m0.001s, the maximum is 2500000h",
		`"9223372036854775808ns"`: forms + ", and at most 2500000h",
		`"99999999999999999999h"`: forms + ", and at most 2500000h",
		`30`:                      `must be a duration with its unit as a string, such as "30s"`,
		`null`:                    `must be a duration with its unit as a string, such as "30s"`,
	} {
		expectRefused(t, "POST", "/leases", `{"ttl":`+text+`}`, reason, "ttl")
		expectRefused(t, "POST", "/txn", `{"then":[{"grant":{"ttl":`+text+`}}]}`, reason, "then[0].grant.ttl")
	}
	expectRefused(t, "POST", "/leases", `{}`, "is required", "ttl")
	expectRefused(t, "POST", "/leases", ``, "", "body")
	expectRefused(t, "POST", "/leases", `{"ttl":"1s","ttl":"2s"}`, "is given more than once", "ttl")
	expectRefused(t, "POST", "/leases", `{"ttl":"1s","id":"`+ownLease+`"}`, "is not a field of this request", "id")
	expectRefused(t, "POST", "/leases?ttl=1s", ``, "is not a parameter", `query parameter "ttl"`)
	expectRefused(t, "POST", "/txn", `{"then":[{"grant":{}}]}`, "is required", "then[0].grant.ttl")
}

// TestLease_RefusesIDs sends ids of leases in other forms than the one. The node is not asked.
func TestLease_RefusesIDs(t *testing.T) {
	const form = "must be the id of a lease: 16 hexadecimal digits in lower case, such as 00000000000004d2"
	for text, reason := range map[string]string{
		"4d2": form, "1234": form, "-1": form, "": form, "00000000000004D2": form, "0x000000000004d2": form, "+0000000000004d2": form,
		"000000000000000g": form, "000000000000004d2": form, "7587862094143": form, "0000_0000_0004d2": form,
		"0000000000000000": "is 0, which is no lease",
	} {
		expectRefused(t, "PUT", "/kv/k?lease="+text, "", reason, "lease")
		expectRefused(t, "POST", "/kv/k?op=getset&lease="+text, "", reason, "lease")
		expectRefused(t, "GET", "/leases?after="+text, "", reason, `query parameter "after"`)
		for body, place := range map[string]string{
			`{"then":[{"put":{"key":"k","value":"v","lease":"` + text + `"}}]}`: "then[0].put.lease",
			`{"then":[{"grant":{"ttl":"1s","lease":"` + text + `"}}]}`:          "then[0].grant.lease",
			`{"then":[{"revoke":{"lease":"` + text + `"}}]}`:                    "then[0].revoke.lease",
		} {
			expectRefused(t, "POST", "/txn", body, reason, place)
		}
		if reason == form {
			expectRefused(t, "POST", "/txn", `{"if":[{"key":"k","lease":"`+text+`"}],"then":[{"get":{"key":"k"}}]}`, reason, "if[0].lease")
		}
		expectRefused(t, "POST", "/leases", `{"ttl":"1s","lease":"`+text+`"}`, reason, "lease")
		if text == "" {
			continue
		}
		for _, target := range []string{"GET /leases/" + text, "DELETE /leases/" + text, "POST /leases/" + text + "/keepalive"} {
			method, path, _ := strings.Cut(target, " ")
			expectRefused(t, method, path, "", reason, "lease")
		}
	}
	expectRefused(t, "GET", "/leases/0000000000000%34d2", "", form, "lease")
	expectRefused(t, "POST", "/txn", `{"then":[{"put":{"key":"k","value":"v","lease":1234}}]}`, `must be the id of a lease as a string`, "then[0].put.lease")
	expectRefused(t, "POST", "/leases", `{"ttl":"1s","lease":1234}`, `must be the id of a lease as a string`, "lease")
}

// TestLease_RefusesElsewhere checks that only puts have a lease, and that a grant or a revoke is
// alone in its request. The node carries nothing out.
func TestLease_RefusesElsewhere(t *testing.T) {
	const lease = "lease=" + ownLease
	for _, op := range []string{"incr", "append", "getdel", "touch&ttl=1s", "persist"} {
		expectRefused(t, "POST", "/kv/k?op="+op+"&"+lease, "", "is not for op=", "lease")
	}
	for _, target := range []string{"GET /kv/k?", "DELETE /kv/k?", "GET /kv/?", "DELETE /kv/?prefix=a&", "POST /txn?", "POST /leases?", "GET /leases?", "GET /leases/" + ownLease + "?", "DELETE /leases/" + ownLease + "?", "POST /leases/" + ownLease + "/keepalive?"} {
		method, path, _ := strings.Cut(target, " ")
		expectRefused(t, method, path+lease, "", "is not a parameter of this request", `query parameter "lease"`)
	}
	for op, field := range map[string]string{
		`{"add":{"key":"k","delta":1,"lease":"` + ownLease + `"}}`:      "then[0].add.lease",
		`{"append":{"key":"k","value":"v","lease":"` + ownLease + `"}}`: "then[0].append.lease",
		`{"touch":{"key":"k","ttl":"1s","lease":"` + ownLease + `"}}`:   "then[0].touch.lease",
		`{"persist":{"key":"k","lease":"` + ownLease + `"}}`:            "then[0].persist.lease",
		`{"delete":{"key":"k","lease":"` + ownLease + `"}}`:             "then[0].delete.lease",
		`{"get":{"key":"k","lease":"` + ownLease + `"}}`:                "then[0].get.lease",
		`{"grant":{"ttl":"1s","key":"k"}}`:                              "then[0].grant.key",
		`{"revoke":{"lease":"` + ownLease + `","ttl":"1s"}}`:            "then[0].revoke.ttl",
		`{"revoke":{}}`: "then[0].revoke.lease",
		`{"grant":{"ttl":"1s"}},{"put":{"key":"k","value":"v"}}`:                           "then[0].grant",
		`{"get":{"key":"k"}},{"revoke":{"lease":"` + ownLease + `"}}`:                      "then[1].revoke",
		`{"txn":{"then":[{"get":{"key":"k"}},{"txn":{"then":[{"grant":{"ttl":"1s"}}]}}]}}`: "then[0].txn.then[1].txn.then[0].grant",
	} {
		expectRefused(t, "POST", "/txn", `{"then":[`+op+`]}`, "", field)
	}
	expectRefused(t, "POST", "/txn", `{"if":[{"key":"k","exists":false}],"then":[{"grant":{"ttl":"1s"}}]}`, "", "then[0].grant")
	expectRefused(t, "GET", "/leases/"+ownLease+"?keys=yes", "", "must be true or false", `query parameter "keys"`)
	expectRefused(t, "GET", "/leases?limit=0", "", "must be a number, at least 1", `query parameter "limit"`)
	expectRefused(t, "GET", "/leases?limit=10001", "", "is 10001, the maximum is 10000", `query parameter "limit"`)
	for _, target := range []string{"POST /leases", "DELETE /leases/" + ownLease, "POST /leases/" + ownLease + "/keepalive", "POST /leases/keepalive"} {
		method, path, _ := strings.Cut(target, " ")
		a := mustAPI(t, nil)
		expectProblem(t, a.do(method, path, "", "If-Match", `"1"`), http.StatusBadRequest, "invalid")
		if calls := a.node.called(); len(calls) > 0 {
			t.Errorf("%s: the node was called: %q", target, calls)
		}
	}
	expectProblem(t, mustAPI(t, nil).do("POST", "/leases/"+ownLease+"/keepalive", "x"), http.StatusBadRequest, "unexpected_body")
}

// TestLease_Unsupported checks that requests about leases are not done while a member does not
// understand them.
func TestLease_Unsupported(t *testing.T) {
	for target, body := range map[string]string{
		"POST /leases": `{"ttl":"1s"}`, "DELETE /leases/" + ownLease: "", "PUT /kv/k?lease=" + ownLease: "v",
		"POST /leases/" + ownLease + "/keepalive": "", "GET /leases/" + ownLease: "", "GET /leases": "",
	} {
		a := mustAPI(t, nil)
		a.node.hook = func(context.Context, string, string) error {
			return fmt.Errorf("%w: n2 runs version 3", kv.ErrUnsupported)
		}
		method, path, _ := strings.Cut(target, " ")
		if p := expectProblem(t, a.do(method, path, body), http.StatusNotImplemented, "unsupported_version"); p.Outcome != "not_done" {
			t.Errorf("%s: got %+v", target, p)
		}
	}
}

// TestLease_BatchOrder checks that requests of a batch that name the same lease, or end one, keep
// their order, and others don't wait.
func TestLease_BatchOrder(t *testing.T) {
	a := mustServe(t, nil)
	held, leave := make(chan struct{}), make(chan struct{})
	a.node.hook = func(_ context.Context, op, key string) error {
		if op == "grant" && key == ownLease {
			close(held)
			<-leave
		}
		return nil
	}
	c := a.dial()
	body := strings.Join([]string{
		`{"grant":{"ttl":"5s","lease":"` + ownLease + `"}}`,
		`{"put":{"key":"a","value":"1","lease":"` + ownLease + `"}}`,
		`{"grant":{"ttl":"5s","lease":"` + secondLease + `"}}`,
		`{"revoke":{"lease":"` + secondLease + `"}}`,
		`{"put":{"key":"a2","value":"2"}}`,
	}, "\n")
	c.send("POST /batch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	await(t, "the first grant", held)
	poll(t, "the second grant", func() bool { return len(a.node.called()) == 2 })
	close(leave)
	if _, answer := c.answer("POST"); !strings.HasSuffix(answer, `{"end":true,"count":5}`+"\n") || strings.Contains(answer, "error") {
		t.Errorf("got %s", answer)
	}
	got := a.node.called()
	slices.Sort(got[:2]) // the grants don't wait for each other
	want := []string{"grant " + secondLease, "grant " + ownLease, "put a", "revoke " + secondLease, "put a2"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	a.expectReleased()
}
