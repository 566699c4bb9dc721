package httpapi_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

func TestAdmin_Compact(t *testing.T) {
	a := mustAPI(t, nil)
	a.node.put(item("a", "1", 0), item("a", "2", 0), item("a", "3", 0))
	if w := a.do("POST", "/admin/compact", `{"revision":2}`); w.Code != http.StatusOK || w.Body.String() != `{"revision":3,"compact_revision":2}`+"\n" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	expectProblem(t, a.do("POST", "/admin/compact", `{"revision":2}`), http.StatusGone, "compacted")
	expectProblem(t, a.do("POST", "/admin/compact", `{"revision":4}`), http.StatusBadRequest, "future_revision")
	for body, field := range map[string]string{
		``: "body", `{}`: "revision", `{"revision":0}`: "revision", `{"revision":"2"}`: "revision", `{"revision":-1}`: "revision", `{"physical":true}`: "physical",
	} {
		a := mustAPI(t, nil)
		p := expectProblem(t, a.do("POST", "/admin/compact", body), http.StatusBadRequest, "invalid")
		if !strings.HasPrefix(p.Detail, field+": ") || len(a.node.called()) > 0 {
			t.Errorf("%s: got %q, want the field %s", body, p.Detail, field)
		}
	}
}

func TestAdmin_Settings(t *testing.T) {
	a := mustAPI(t, nil)
	defaults := `{"history":{}}` + "\n"
	if w := a.do("GET", "/admin/settings", ""); w.Code != http.StatusOK || w.Body.String() != defaults {
		t.Errorf("got %d %s, want 200 %s", w.Code, w.Body, defaults)
	}
	const one = `{"history":{"max_age":"1h0m0s"}}`
	if w := a.do("PUT", "/admin/settings", one); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != one || a.node.settings.History.MaxBytes != 0 {
		t.Errorf("got %d %s, want 200 %s", w.Code, w.Body, one)
	}
	const changed = `{"history":{"max_age":"1h0m0s","max_revisions":1000,"max_bytes":1048576},"max_key_bytes":100,"max_value_bytes":2000,"max_request_ops":64,"quota":{"max_keys":10,"max_bytes":20,"eviction":"lru","protected_prefixes":["a/","b"]}}`
	for range 2 { // what GET answers can be put again
		if w := a.do("PUT", "/admin/settings", changed); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != changed {
			t.Errorf("got %d %s, want 200 %s", w.Code, w.Body, changed)
		}
	}
	want := kv.Settings{
		History: kv.Retention{MaxAge: time.Hour, MaxRevisions: 1000, MaxBytes: 1 << 20}, MaxKeyBytes: 100, MaxValueBytes: 2000, MaxRequestOps: 64,
		Quota: kv.Quota{MaxKeys: 10, MaxBytes: 20, Eviction: kv.EvictionLRU, ProtectedPrefixes: []string{"a/", "b"}},
	}
	if !reflect.DeepEqual(a.node.settings, want) {
		t.Errorf("got %+v, want %+v", a.node.settings, want)
	}
	for body, field := range map[string]string{
		``: "body", `[]`: "body", `{"history":{"max_age":60}}`: "history.max_age", `{"history":{"max_age":"10"}}`: "history.max_age",
		`{"history":{"max_age":"1ms"}}`: "history.max_age", `{"history":{"max_bytes":5}}`: "history.max_bytes", `{"history":{"age":1}}`: "history.age",
		`{"max_key_bytes":0}`: "max_key_bytes", `{"max_key_bytes":99999}`: "max_key_bytes", `{"max_request_ops":5000}`: "max_request_ops",
		`{"quota":{"max_keys":0}}`: "quota.max_keys", `{"quota":{"bytes":1}}`: "quota.bytes", `{"quota":{"max_keys":1,"eviction":"all"}}`: "quota.eviction",
		`{"quota":{"eviction":"lru"}}`: "quota.eviction", `{"quota":{"max_keys":1,"protected_prefixes":["a"]}}`: "quota.protected_prefixes",
		`{"quota":{"max_keys":1,"eviction":"lru","protected_prefixes":[""]}}`: "quota.protected_prefixes",
		`{"max_value_bytes":1e3}`: "max_value_bytes", `{"max_ttl":1}`: "max_ttl", `{"max_key_bytes":9,"max_key_bytes":9}`: "max_key_bytes",
	} {
		a := mustAPI(t, nil)
		var p struct{ Field, Code string }
		w := a.do("PUT", "/admin/settings", body)
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusBadRequest || p.Field != field || len(a.node.called()) > 0 {
			t.Errorf("%s: got %d %s, want the field %s", body, w.Code, w.Body, field)
		}
	}
}

// TestSettings_Limits shows that the limits of the cluster apply to requests, below and above
// those that the server is configured with, to appends too.
func TestSettings_Limits(t *testing.T) {
	const most = 2 * httpapi.DefaultMaxKeyBytes
	a := mustAPI(t, func(c *httpapi.Config) { c.MaxValueBytes = 10 })
	a.node.settings = kv.Settings{MaxKeyBytes: most, MaxValueBytes: 20}
	key := "/kv/" + strings.Repeat("k", most)
	long := strings.Repeat("v", 20)
	for _, request := range [][2]string{{"PUT", key}, {"GET", key}, {"GET", "/kv/?prefix=" + key[4:]}, {"DELETE", key}, {"POST", key + "?op=append"}} {
		body := long
		if request[0] == "GET" || request[0] == "DELETE" {
			body = ""
		}
		if w := a.do(request[0], request[1], body); w.Code/100 != 2 {
			t.Errorf("%s at the limit: got %d %s", request[0], w.Code, w.Body)
		}
		expectProblem(t, a.do(request[0], strings.Replace(request[1], key[4:], key[4:]+"k", 1), body), http.StatusRequestEntityTooLarge, "too_large")
	}
	expectProblem(t, a.do("POST", key+"?op=append", "v"), http.StatusRequestEntityTooLarge, "value_limit")
	expectProblem(t, a.do("PUT", "/kv/k", long+"v"), http.StatusRequestEntityTooLarge, "too_large")
	txn := func(value string) string { return `{"then":[{"append":{"key":"k","value":"` + value + `"}}]}` }
	if w := a.do("POST", "/txn", txn(long)); w.Code != http.StatusOK {
		t.Errorf("append in a transaction: got %d %s", w.Code, w.Body)
	}
	expectProblem(t, a.do("POST", "/txn", txn("v")), http.StatusRequestEntityTooLarge, "value_limit")
}
