package httpapi_test

import (
	"strings"
	"testing"
)

// TestIdempotencyKey shows that each kind of write is carried out once with one key, and that the
// answer to a retry is that of the first, errors included, and says so.
func TestIdempotencyKey(t *testing.T) {
	for _, tt := range []struct {
		method, target, body, header, value string
		status                              int
		want                                string // a part of the answer
	}{
		{"PUT", "/kv/new", "v", "", "", 201, ""},
		{"PUT", "/kv/text", "v", "", "", 204, ""},
		{"PUT", "/kv/text?op=getset", "v", "", "", 200, "abc"},
		{"PUT", "/kv/text", "v", "If-None-Match", "*", 412, "condition_failed"},
		{"DELETE", "/kv/text", "", "", "", 204, ""},
		{"DELETE", "/kv/none", "", "", "", 404, "key_not_found"},
		{"DELETE", "/kv/?prefix=t", "", "", "", 200, `"deleted":1`},
		{"POST", "/kv/n?op=incr", "", "", "", 200, "8"},
		{"POST", "/kv/text?op=append", "d", "", "", 200, "4"},
		{"POST", "/kv/text?op=incr", "", "", "", 409, "not_a_number"},
		{"POST", "/kv/text?op=getdel", "", "", "", 200, "abc"},
		{"POST", "/txn", `{"then":[{"add":{"key":"n","delta":1}}]}`, "", "", 200, `"number":8`},
	} {
		a := mustAPI(t, nil)
		a.do("PUT", "/kv/text", "abc")
		a.do("PUT", "/kv/n", "7")
		send := func(body string) (status int, answer, revision, replayed string) {
			w := a.do(tt.method, tt.target, body, "Idempotency-Key", "key 1", tt.header, tt.value)
			h := w.Header()
			return w.Code, w.Body.String(), h.Get("Kvorum-Revision"), h.Get("Kvorum-Replayed")
		}
		name := tt.method + " " + tt.target
		status, answer, revision, replayed := send(tt.body)
		if status != tt.status || !strings.Contains(answer, tt.want) || replayed != "" {
			t.Errorf("%s: got %d %s, replayed %q, want %d %s", name, status, answer, replayed, tt.status, tt.want)
		}
		a.do("PUT", "/kv/other", "")
		at := a.node.revision
		status, again, revision2, replayed := send(tt.body)
		if again = strings.Replace(again, `"replayed":true,`, "", 1); strings.HasPrefix(again, `{"type"`) {
			again = strings.Replace(again, `,"replayed":true`, "", 1)
		}
		if status != tt.status || again != answer || revision2 != revision || replayed != "true" || a.node.revision != at {
			t.Errorf("%s: again: got %d %s at %s, replayed %q, want %d %s at %s; revision %d, want %d", name, status, again, revision2, replayed, tt.status, answer, revision, a.node.revision, at)
		}
		if tt.method != "DELETE" {
			continue
		}
		p := expectProblem(t, a.do("PUT", "/kv/text", "another", "Idempotency-Key", "key 1"), 422, "idempotency_key_reused")
		if p.Outcome != "not_done" || p.Retryable {
			t.Errorf("another request: got %+v", p)
		}
	}
}

// TestIdempotencyKey_Batch shows that each line of a batch may have a key.
func TestIdempotencyKey_Batch(t *testing.T) {
	a := mustAPI(t, nil)
	body := strings.Join([]string{
		`{"add":{"key":"n","delta":1},"idempotency_key":"a"}`,
		`{"idempotency_key":"a","add":{"key":"n","delta":1}}`,
		`{"then":[{"add":{"key":"n","delta":1}}],"idempotency_key":"b"}`,
		`{"then":[{"add":{"key":"n","delta":1}}],"idempotency_key":"b"}`,
		`{"put":{"key":"n","value":"x"},"idempotency_key":"b"}`,
		`{"get":{"key":"n"},"idempotency_key":"c"}`,
		`{"put":{"key":"n","value":"x"},"idempotency_key":""}`,
		`{"put":{"key":"n","value":"x"},"idempotency_key":"` + strings.Repeat("k", 257) + `"}`,
		`{"then":[{"txn":{"then":[{"put":{"key":"n","value":"x"}}],"idempotency_key":"d"}}]}`,
	}, "\n")
	lines := strings.Split(a.do("POST", "/batch", body).Body.String(), "\n")
	for i, want := range []string{
		`{"revision":1,"result":{"existed":false,"mod_revision":1,"number":1}}`,
		`{"revision":1,"replayed":true,"result":{"existed":false,"mod_revision":1,"number":1}}`,
		`{"succeeded":true,"revision":2,"results":[{"existed":true,"mod_revision":2,"number":2}]}`,
		`{"succeeded":true,"revision":2,"replayed":true,"results":[{"existed":true,"mod_revision":2,"number":2}]}`,
		`"code":"idempotency_key_reused"`,
		`"field":"idempotency_key"`, `"field":"idempotency_key"`, `"field":"idempotency_key"`, `"field":"then[0].txn.idempotency_key"`,
		`{"end":true,"count":9}`,
	} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Errorf("line %d: got %v, want %s", i, lines, want)
		}
	}
	w := a.do("POST", "/txn", `{"then":[{"put":{"key":"k","value":""}}],"idempotency_key":"a"}`, "Idempotency-Key", "b")
	if expectProblem(t, w, 400, "invalid"); !strings.Contains(w.Body.String(), `"field":"Idempotency-Key"`) {
		t.Errorf("a header and a member: got %s", w.Body)
	}
}
