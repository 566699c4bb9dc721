package httpapi_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// expectHeaders fails unless w has the headers, given as pairs; "" means absent.
func expectHeaders(t *testing.T, h http.Header, pairs ...string) {
	t.Helper()
	canonical := make(http.Header) // as a client sees them: a recorder keeps the spelling of ETag
	for name, values := range h {
		canonical[http.CanonicalHeaderKey(name)] = values
	}
	for i := 0; i < len(pairs); i += 2 {
		if got, want := canonical.Get(pairs[i]), pairs[i+1]; got != want {
			t.Errorf("%s: got %q, want %q", pairs[i], got, want)
		}
	}
}

func TestKV_LifeOfAKey(t *testing.T) {
	a := mustAPI(t, nil)

	w := a.do("PUT", "/kv/k", "v1")
	if w.Code != http.StatusCreated || w.Body.Len() != 0 {
		t.Fatalf("first put: got %d %q, want 201 and no body", w.Code, w.Body)
	}
	expectHeaders(t, w.Header(), "ETag", `"1"`, "Kvorum-Revision", "1", "Kvorum-Node", "n1",
		"Kvorum-Consistency", "", "Content-Length", "0")

	w = a.do("PUT", "/kv/k", "v2")
	if w.Code != http.StatusNoContent {
		t.Fatalf("second put: got %d, want 204", w.Code)
	}
	expectHeaders(t, w.Header(), "ETag", `"2"`, "Kvorum-Revision", "2")

	w = a.do("GET", "/kv/k", "")
	if w.Code != http.StatusOK || w.Body.String() != "v2" {
		t.Fatalf("get: got %d %q, want 200 v2", w.Code, w.Body)
	}
	expectHeaders(t, w.Header(), "ETag", `"2"`, "Kvorum-Revision", "2", "Kvorum-Node", "n1",
		"Kvorum-Consistency", "linearizable", "Content-Type", "application/octet-stream",
		"Content-Length", "2", "X-Content-Type-Options", "nosniff",
		"Content-Security-Policy", "default-src 'none'; sandbox", "Cache-Control", "no-cache")

	w = a.do("DELETE", "/kv/k", "")
	if w.Code != http.StatusNoContent {
		t.Fatalf("delete: got %d, want 204", w.Code)
	}
	expectHeaders(t, w.Header(), "ETag", "", "Kvorum-Revision", "3", "Kvorum-Node", "n1")

	w = a.do("DELETE", "/kv/k", "")
	expectProblem(t, w, http.StatusNotFound, "key_not_found")
	expectHeaders(t, w.Header(), "Kvorum-Revision", "3", "ETag", "", "Cache-Control", "no-store")

	w = a.do("GET", "/kv/k?consistency=stale", "")
	expectProblem(t, w, http.StatusNotFound, "key_not_found")
	expectHeaders(t, w.Header(), "Kvorum-Revision", "3", "Kvorum-Consistency", "stale", "ETag", "")
}

func TestKV_Head(t *testing.T) {
	a := mustServe(t, nil)
	a.node.items["k"] = item("k", "value", 7)
	c := a.dial()
	c.send("HEAD /kv/k HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, body := c.answer("HEAD")
	if resp.StatusCode != http.StatusOK || body != "" {
		t.Fatalf("got %d %q, want 200 without a body", resp.StatusCode, body)
	}
	expectHeaders(t, resp.Header, "Content-Length", "5", "ETag", `"7"`, "Kvorum-Consistency", "linearizable")

	c.send("HEAD /kv/none HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, _ := c.answer("HEAD"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("absent key: got %d, want 404", resp.StatusCode)
	}
}

func TestKV_EmptyValue(t *testing.T) {
	a := mustAPI(t, nil)
	if w := a.do("PUT", "/kv/k", ""); w.Code != http.StatusCreated {
		t.Fatalf("put: got %d, want 201", w.Code)
	}
	w := a.do("GET", "/kv/k", "")
	if w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Fatalf("get: got %d %q, want 200 and nothing", w.Code, w.Body)
	}
	expectHeaders(t, w.Header(), "Content-Length", "0")
}

func TestKV_Consistency(t *testing.T) {
	for target, want := range map[string]kv.ReadOptions{
		"/kv/k":                                  {Level: kv.Linearizable},
		"/kv/k?consistency=linearizable":         {Level: kv.Linearizable},
		"/kv/k?consistency=leader":               {Level: kv.LeaderLocal},
		"/kv/k?consistency=stale":                {Level: kv.Stale},
		"/kv/k?consistency=stale&max_stale=1.5s": {Level: kv.Stale, MaxStale: 1500 * time.Millisecond},
		"/kv/k?min_revision=7":                   {Level: kv.Linearizable, MinRevision: 7},
		"/kv/?consistency=stale&min_revision=42": {Level: kv.Stale, MinRevision: 42},
	} {
		a := mustAPI(t, nil)
		a.node.items["k"] = item("k", "v", 1)
		w := a.do("GET", target, "")
		if w.Code != http.StatusOK || a.node.read != want {
			t.Errorf("%s: got %d and options %+v, want 200 and %+v", target, w.Code, a.node.read, want)
		}
		expectHeaders(t, w.Header(), "Kvorum-Consistency", string(want.Level))
	}
}

// TestKV_Paths sends paths as raw bytes, since clients clean or encode them.
func TestKV_Paths(t *testing.T) {
	a := mustServe(t, nil)
	c := a.dial()
	for path, want := range map[string]string{
		"/kv/a":                   "a",
		"/kv/a/b//c%2Fd":          "a/b//c/d",
		"/kv//":                   "/",
		"/kv///a":                 "//a",
		"/kv/%2f":                 "/",
		"/kv/.":                   ".",
		"/kv/..":                  "..",
		"/kv/../../status":        "../../status",
		"/kv/%2e%2e/%2e":          "../.",
		"/kv/a/":                  "a/",
		"/kv/%00%ff%0a":           "\x00\xff\n",
		"/kv/%252F":               "%2F",
		"/kv/%25":                 "%",
		"/kv/a+b%20c":             "a+b c",
		"/kv/a;b=c&d=e":           "a;b=c&d=e",
		"/kv/%3Fq%23f":            "?q#f",
		"/kv/\xff\xe2":            "\xff\xe2",
		"/kv/kv/":                 "kv/",
		"http://x/kv/a//b":        "a//b",
		"/kv/{key}":               "{key}",
		"/kv/%E2%82%AC":           "€",
		"/kv/a?consistency=stale": "a",
	} {
		c.send("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		resp, body := c.answer("GET")
		checkProblem(t, resp, body, http.StatusNotFound, "key_not_found")
		calls := a.node.called()
		if got := calls[len(calls)-1]; got != "get "+want {
			t.Errorf("%s: got %q, want key %q", path, got, want)
		}
	}
}

func TestKV_NoRoute(t *testing.T) {
	a := mustServe(t, nil)
	c := a.dial()
	for _, path := range []string{"/kv", "//kv/a", "/kv%2Fa", "/%6bv/a", "/KV/a", "/x", "/status/", "/./kv/a", "/x/../kv/a", "*", "/metrics"} {
		c.send("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		resp, body := c.answer("GET")
		checkProblem(t, resp, body, http.StatusNotFound, "no_route")
	}
	if calls := a.node.called(); len(calls) > 0 {
		t.Errorf("the node was called: %q", calls)
	}
}

func TestKV_BadEscape(t *testing.T) {
	a := mustServe(t, nil)
	for _, path := range []string{"/kv/%", "/kv/%zz", "/kv/%2"} {
		c := a.dial()
		c.send("PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", path)
		if resp, _ := c.answer("PUT"); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %d, want 400", path, resp.StatusCode)
		}
	}
	if calls := a.node.called(); len(calls) > 0 {
		t.Errorf("the node was called: %q", calls)
	}
}

func TestKV_KeyLength(t *testing.T) {
	a := mustAPI(t, func(c *httpapi.Config) { c.MaxKeyBytes = 8 })
	if w := a.do("PUT", "/kv/"+strings.Repeat("%FF", 8), "v"); w.Code != http.StatusCreated {
		t.Errorf("key at the limit: got %d, want 201", w.Code)
	}
	for _, method := range []string{"PUT", "GET", "HEAD", "DELETE"} {
		w := a.do(method, "/kv/123456789", "")
		p := expectProblem(t, w, http.StatusRequestEntityTooLarge, "too_large")
		if want := "key: has 9 bytes, the limit is 8"; p.Detail != want {
			t.Errorf("%s: got detail %q, want %q", method, p.Detail, want)
		}
	}
	p := expectProblem(t, a.do("PUT", "/kv/", ""), http.StatusBadRequest, "invalid")
	if !strings.HasPrefix(p.Detail, "key: ") {
		t.Errorf("detail %q does not name the key", p.Detail)
	}
	if got := a.node.called(); len(got) != 1 {
		t.Errorf("node was called: %q, want one put", got)
	}
}

func TestKV_WriteConditions(t *testing.T) {
	for _, test := range []struct {
		method, target string
		headers        []string
		status         int
	}{
		{"PUT", "/kv/k", []string{"If-Match", `"1"`}, 204},
		{"PUT", "/kv/k", []string{"If-Match", ` "1" `}, 204},
		{"PUT", "/kv/k", []string{"If-Match", `"2"`}, 412},
		{"PUT", "/kv/k", []string{"If-Match", `"18446744073709551615"`}, 412},
		{"PUT", "/kv/k", []string{"If-Match", "*"}, 204},
		{"PUT", "/kv/none", []string{"If-Match", "*"}, 412},
		{"PUT", "/kv/none", []string{"If-Match", `"1"`}, 412},
		{"PUT", "/kv/k", []string{"If-None-Match", "*"}, 412},
		{"PUT", "/kv/none", []string{"If-None-Match", "*"}, 201},
		{"DELETE", "/kv/k", []string{"If-Match", `"1"`}, 204},
		{"DELETE", "/kv/k", []string{"If-Match", `"2"`}, 412},
		{"DELETE", "/kv/k", []string{"If-None-Match", "*"}, 412},
		{"DELETE", "/kv/none", []string{"If-None-Match", "*"}, 404},

		{"PUT", "/kv/k", []string{"If-Match", ""}, 400},
		{"PUT", "/kv/k", []string{"If-Match", "1"}, 400},
		{"PUT", "/kv/k", []string{"If-Match", `W/"1"`}, 400},
		{"PUT", "/kv/k", []string{"If-Match", `"1", "2"`}, 400},
		{"PUT", "/kv/k", []string{"If-Match", `"0"`}, 400},
		{"PUT", "/kv/k", []string{"If-Match", `"01"`}, 400},
		{"PUT", "/kv/k", []string{"If-Match", `"+1"`}, 400},
		{"PUT", "/kv/k", []string{"If-Match", `"-1"`}, 400},
		{"PUT", "/kv/k", []string{"If-Match", `""`}, 400},
		{"PUT", "/kv/k", []string{"If-Match", `"`}, 400},
		{"PUT", "/kv/k", []string{"If-Match", `"abc"`}, 400},
		{"PUT", "/kv/k", []string{"If-Match", `"18446744073709551616"`}, 400},
		{"PUT", "/kv/k", []string{"If-Match", `"1"`, "If-Match", `"1"`}, 400},
		{"PUT", "/kv/k", []string{"If-Match", `"1"`, "If-None-Match", "*"}, 400},
		{"PUT", "/kv/k", []string{"If-None-Match", `"1"`}, 400},
		{"DELETE", "/kv/k", []string{"If-None-Match", `"1"`}, 400},
		{"DELETE", "/kv/k", []string{"If-Match", `x`}, 400},
	} {
		t.Run(fmt.Sprintf("%s %s %q", test.method, test.target, test.headers), func(t *testing.T) {
			a := mustAPI(t, nil)
			a.node.items["k"], a.node.revision = item("k", "old", 1), 1
			w := a.do(test.method, test.target, "", test.headers...)
			if w.Code != test.status {
				t.Fatalf("got %d %s, want %d", w.Code, w.Body, test.status)
			}
			switch test.status {
			case 412:
				expectProblem(t, w, 412, "condition_failed")
				expectHeaders(t, w.Header(), "Kvorum-Revision", "1")
				if value, _ := a.node.value("k"); value != "old" {
					t.Errorf("the value changed to %q", value)
				}
				if test.target == "/kv/k" {
					expectHeaders(t, w.Header(), "ETag", `"1"`)
				}
			case 400:
				p := expectProblem(t, w, 400, "invalid")
				if !strings.HasPrefix(p.Detail, "If-") {
					t.Errorf("detail %q does not name the header", p.Detail)
				}
				if calls := a.node.called(); len(calls) > 0 {
					t.Errorf("the node was called: %q", calls)
				}
			}
		})
	}
}

func TestKV_ReadConditions(t *testing.T) {
	for _, test := range []struct {
		target  string
		headers []string
		status  int
	}{
		{"/kv/k", []string{"If-None-Match", `"7"`}, 304},
		{"/kv/k", []string{"If-None-Match", `W/"7"`}, 304},
		{"/kv/k", []string{"If-None-Match", `"3", "7"`}, 304},
		{"/kv/k", []string{"If-None-Match", `"3"`, "If-None-Match", `"7"`}, 304},
		{"/kv/k", []string{"If-None-Match", "*"}, 304},
		{"/kv/k", []string{"If-None-Match", `"6"`}, 200},
		{"/kv/k", []string{"If-None-Match", `"somebody else's"`}, 200},
		{"/kv/k", []string{"If-Match", `"7"`}, 200},
		{"/kv/k", []string{"If-Match", "*"}, 200},
		{"/kv/k", []string{"If-Match", `"6"`}, 412},
		{"/kv/k", []string{"If-Match", `"6"`, "If-None-Match", `"7"`}, 412},
		{"/kv/k", []string{"If-Match", `nonsense`}, 400},
		{"/kv/none", []string{"If-None-Match", "*"}, 404},
		{"/kv/none", []string{"If-Match", `"7"`}, 404},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			a := mustAPI(t, nil)
			a.node.items["k"] = item("k", "v", 7)
			w := a.do(method, test.target, "", test.headers...)
			if w.Code != test.status {
				t.Errorf("%s %s %q: got %d, want %d", method, test.target, test.headers, w.Code, test.status)
			}
			if w.Code == http.StatusNotModified {
				expectHeaders(t, w.Header(), "ETag", `"7"`, "Cache-Control", "no-cache")
				if w.Body.Len() > 0 {
					t.Errorf("304 with a body: %q", w.Body)
				}
			}
		}
	}
}

func TestKV_RefusesQueries(t *testing.T) {
	for _, test := range []struct{ method, target, names string }{
		{"GET", "/kv/k?ttl=5s", "ttl"},
		{"PUT", "/kv/k?consistency=stale", "consistency"},
		{"DELETE", "/kv/k?recurse", "recurse"},
		{"GET", "/kv/k?raw", "raw"},
		{"GET", "/kv/k?consistency=strong", "consistency"},
		{"GET", "/kv/k?consistency=", "consistency"},
		{"GET", "/kv/k?consistency=stale&max_stale=5", "max_stale"},
		{"GET", "/kv/k?consistency=stale&max_stale=-5s", "max_stale"},
		{"GET", "/kv/k?max_stale=5s", "max_stale"},
		{"GET", "/kv/k?min_revision=-1", "min_revision"},
		{"GET", "/kv/?min_revision=x", "min_revision"},
		{"GET", "/kv/k?consistency=stale&consistency=stale", "consistency"},
		{"GET", "/kv/k?consistency=%zz", "consistency"},
		{"GET", "/kv/k?%zz=1", "%zz"},
		{"GET", "/kv/k?consistency=stale;x=1", "consistency"},
		{"POST", "/admin/join?id=n4", "id"},
	} {
		a := mustAPI(t, nil)
		p := expectProblem(t, a.do(test.method, test.target, ""), http.StatusBadRequest, "invalid")
		if !strings.Contains(p.Detail, `"`+test.names+`"`) {
			t.Errorf("%s %s: detail %q does not name %q", test.method, test.target, p.Detail, test.names)
		}
		if calls := a.node.called(); len(calls) > 0 {
			t.Errorf("%s %s: the node was called: %q", test.method, test.target, calls)
		}
	}
}

func TestKV_RefusesHeaders(t *testing.T) {
	for _, test := range []struct {
		method, name, value string
		status              int
		code                string
	}{
		{"PUT", "Idempotency-Key", "", 400, "invalid"},
		{"DELETE", "Idempotency-Key", strings.Repeat("x", 257), 400, "invalid"},
		{"GET", "Idempotency-Key", "x", 400, "invalid"},
		{"PUT", "Content-Encoding", "gzip", 415, "content_encoding"},
		{"PUT", "Content-Encoding", "identity, gzip", 415, "content_encoding"},
		{"PUT", "Content-Range", "bytes 0-1/10", 400, "invalid"},
		{"PUT", "Sec-Fetch-Site", "cross-site", 403, "cross_origin"},
		{"PUT", "Origin", "https://evil.example", 403, "cross_origin"},
		{"DELETE", "Sec-Fetch-Site", "same-site", 403, "cross_origin"},
	} {
		a := mustAPI(t, nil)
		expectProblem(t, a.do(test.method, "/kv/k", "", test.name, test.value), test.status, test.code)
		if calls := a.node.called(); len(calls) > 0 {
			t.Errorf("%s with %s: the node was called: %q", test.method, test.name, calls)
		}
	}
	a := mustAPI(t, nil)
	if w := a.do("PUT", "/kv/k", "v", "Content-Encoding", "Identity", "Sec-Fetch-Site", "same-origin"); w.Code != http.StatusCreated {
		t.Errorf("put without an encoding from the same origin: got %d, want 201", w.Code)
	}
	if w := a.do("GET", "/kv/k", "", "Sec-Fetch-Site", "cross-site"); w.Code != http.StatusOK {
		t.Errorf("get from another origin: got %d, want 200", w.Code)
	}
}

func TestRoutes_Methods(t *testing.T) {
	a := mustAPI(t, func(c *httpapi.Config) { c.Metrics = http.NotFoundHandler() })
	for target, allow := range map[string]string{
		"/":            "GET, HEAD",
		"/kv/k":        "DELETE, GET, HEAD, POST, PUT",
		"/txn":         "POST",
		"/batch":       "POST",
		"/watch":       "GET, HEAD",
		"/kv/":         "DELETE, GET, HEAD, PUT",
		"/admin/join":  "POST",
		"/admin/leave": "POST",
		"/status":      "GET, HEAD",
		"/livez":       "GET, HEAD",
		"/readyz":      "GET, HEAD",
		"/metrics":     "GET, HEAD",
	} {
		allowed := strings.Split(allow, ", ")
		for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"} {
			if slices.Contains(allowed, method) {
				continue
			}
			w := a.do(method, target, "")
			expectProblem(t, w, http.StatusMethodNotAllowed, "method_not_allowed")
			expectHeaders(t, w.Header(), "Allow", allow)
		}
	}
	if calls := a.node.called(); len(calls) > 0 {
		t.Errorf("the node was called: %q", calls)
	}
}

// FuzzKV_KeyRoundTrip checks that every key has a path, in every spelling.
func FuzzKV_KeyRoundTrip(f *testing.F) {
	for _, key := range []string{"a", "/", "//", "..", "../x", "%", "%2F", "\x00", "\xff", "a b", "a+b", "?", "#", ";", "a/b//c/d"} {
		f.Add(key)
	}
	a := mustAPI(f, nil)
	f.Fuzz(func(t *testing.T, key string) {
		if key == "" || len(key) > httpapi.DefaultMaxKeyBytes {
			t.Skip("no path is for such a key: tested by hand")
		}
		var hex strings.Builder
		for _, b := range []byte(key) {
			fmt.Fprintf(&hex, "%%%02x", b)
		}
		for _, path := range []string{
			hex.String(),
			url.PathEscape(key),
			strings.ReplaceAll(url.PathEscape(key), "%2F", "/"),
			strings.ReplaceAll(url.QueryEscape(key), "+", "%20"),
		} {
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /kv/" + path + " HTTP/1.1\r\nHost: x\r\n\r\n")))
			if err != nil {
				t.Fatalf("path %q: %v", path, err)
			}
			w := httptest.NewRecorder()
			a.server.Handler().ServeHTTP(w, r)
			expectProblem(t, w, http.StatusNotFound, "key_not_found")
			calls := a.node.called()
			if got := calls[len(calls)-1]; got != "get "+key {
				t.Errorf("path %q: got %q, want key %q", path, got, key)
			}
			a.node.mu.Lock()
			a.node.calls = nil
			a.node.mu.Unlock()
		}
	})
}
