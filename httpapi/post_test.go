package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/httpapi"
)

// TestPost_Forms follows a key through every form of a write.
func TestPost_Forms(t *testing.T) {
	a := mustAPI(t, nil)
	for _, step := range []struct {
		method, target, body string
		status               int
		want                 string
		headers              []string // of the answer
	}{
		{"POST", "/kv/n?op=incr", "", 200, "1\n", []string{"ETag", `"1"`, "Kvorum-Revision", "1", "Content-Type", "application/json"}},
		{"POST", "/kv/n?op=incr&delta=41", "", 200, "42\n", []string{"ETag", `"2"`}},
		{"POST", "/kv/n?delta=-50&op=incr", "", 200, "-8\n", []string{"ETag", `"3"`}},
		{"GET", "/kv/n", "", 200, "-8", []string{"Content-Type", "application/octet-stream", "Kvorum-Version", "3", "Kvorum-Create-Revision", "1"}},
		{"POST", "/kv/log?op=append", "ab", 200, "2\n", []string{"ETag", `"4"`}},
		{"POST", "/kv/log?op=append", "c", 200, "3\n", []string{"ETag", `"5"`}},
		{"PUT", "/kv/log?op=getset", "new", 200, "abc", []string{"ETag", `"6"`, "Kvorum-Previous-Revision", "5", "Content-Security-Policy", "default-src 'none'; sandbox"}},
		{"POST", "/kv/log?op=getset", "", 200, "new", []string{"ETag", `"7"`}},
		{"PUT", "/kv/other?op=getset", "x", 201, "", []string{"ETag", `"8"`, "Kvorum-Previous-Revision", ""}},
		{"DELETE", "/kv/log?op=getdel", "", 200, "", []string{"ETag", "", "Kvorum-Revision", "9", "Kvorum-Previous-Revision", "7"}},
		{"POST", "/kv/other?op=getdel", "", 200, "x", []string{"Kvorum-Previous-Revision", "8"}},
		{"POST", "/kv/other?op=getdel", "", 404, "", []string{"Kvorum-Revision", "10"}},
		{"GET", "/kv/log?revision=5", "", 200, "abc", []string{"Kvorum-Revision", "5", "ETag", `"5"`, "Kvorum-Version", "2", "Kvorum-Create-Revision", "4"}},
		{"GET", "/kv/log?revision=3", "", 404, "", []string{"Kvorum-Revision", "3", "Kvorum-Version", ""}},
		{"GET", "/kv/log?revision=11", "", 400, "", nil},
	} {
		w := a.do(step.method, step.target, step.body)
		if w.Code != step.status || (step.status < 300 && w.Body.String() != step.want) {
			t.Fatalf("%s %s: got %d %q, want %d %q", step.method, step.target, w.Code, w.Body, step.status, step.want)
		}
		expectHeaders(t, w.Header(), step.headers...)
	}
	a.node.compact = 4
	w := a.do("GET", "/kv/log?revision=3", "")
	expectProblem(t, w, http.StatusGone, "compacted")
	if !strings.Contains(w.Body.String(), `"compact_revision":4`) {
		t.Errorf("%s does not have the compact revision", w.Body)
	}
}

// TestPost_Conditions checks that a form with a condition that does not hold changes nothing.
func TestPost_Conditions(t *testing.T) {
	for _, target := range []string{"/kv/n?op=incr", "/kv/n?op=append", "/kv/n?op=getset", "/kv/n?op=getdel"} {
		a := mustAPI(t, nil)
		a.node.put(item("n", "5", 0))
		w := a.do("POST", target, "", "If-Match", `"7"`)
		expectProblem(t, w, http.StatusPreconditionFailed, "condition_failed")
		expectHeaders(t, w.Header(), "ETag", `"1"`, "Kvorum-Revision", "1")
		if got, _ := a.node.value("n"); got != "5" {
			t.Errorf("%s: the value is now %q", target, got)
		}
		if w := a.do("POST", target, "", "If-Match", `"1"`); w.Code != http.StatusOK {
			t.Errorf("%s: got %d %s, want 200", target, w.Code, w.Body)
		}
	}
}

func TestPost_Refuses(t *testing.T) {
	for _, test := range []struct {
		method, target, body string
		header               []string
		status               int
		code, field          string
	}{
		{"POST", "/kv/k", "v", nil, 400, "invalid", `query parameter "op"`},
		{"POST", "/kv/k?op=put", "v", nil, 400, "invalid", `query parameter "op"`},
		{"POST", "/kv/k?op=incr&op=append", "", nil, 400, "invalid", `query parameter "op"`},
		{"PUT", "/kv/k?op=incr", "", nil, 400, "invalid", `query parameter "op"`},
		{"PUT", "/kv/k?op=", "", nil, 400, "invalid", `query parameter "op"`},
		{"DELETE", "/kv/k?op=getset", "", nil, 400, "invalid", `query parameter "op"`},
		{"GET", "/kv/k?op=getdel", "", nil, 400, "invalid", `query parameter "op"`},
		{"POST", "/kv/k?op=append&delta=1", "v", nil, 400, "invalid", `query parameter "delta"`},
		{"POST", "/kv/k?op=incr&delta=", "", nil, 400, "invalid", `query parameter "delta"`},
		{"POST", "/kv/k?op=incr&delta=1.5", "", nil, 400, "invalid", `query parameter "delta"`},
		{"POST", "/kv/k?op=incr&delta=9223372036854775808", "", nil, 400, "invalid", `query parameter "delta"`},
		{"POST", "/kv/k?op=incr&by=1", "", nil, 400, "invalid", `query parameter "by"`},
		{"GET", "/kv/k?revision=0", "", nil, 400, "invalid", `query parameter "revision"`},
		{"GET", "/kv/k?revision=-1", "", nil, 400, "invalid", `query parameter "revision"`},
		{"GET", "/kv/k?revision=9223372036854775808", "", nil, 400, "invalid", `query parameter "revision"`},
		{"PUT", "/kv/k?revision=7", "", nil, 400, "invalid", `query parameter "revision"`},
		{"POST", "/kv/k?op=incr", "5", nil, 400, "unexpected_body", ""},
		{"POST", "/kv/k?op=getdel", "5", nil, 400, "unexpected_body", ""},
		{"POST", "/kv/k?op=incr", "", []string{"Kvorum-Flags", "7"}, 400, "invalid", "Kvorum-Flags"},
		{"POST", "/kv/k?op=append", "v", []string{"Kvorum-Flags", "7"}, 400, "invalid", "Kvorum-Flags"},
		{"POST", "/kv/k?op=append", "v", []string{"Content-Range", "bytes 0-1/10"}, 400, "invalid", "Content-Range"},
		{"PUT", "/kv/k", "v", []string{"Kvorum-Flags", "4294967296"}, 400, "invalid", "Kvorum-Flags"},
		{"PUT", "/kv/k", "v", []string{"Kvorum-Flags", "-1"}, 400, "invalid", "Kvorum-Flags"},
		{"PUT", "/kv/k", "v", []string{"Kvorum-Flags", "1", "Kvorum-Flags", "1"}, 400, "invalid", "Kvorum-Flags"},
		{"PUT", "/kv/k", "v", []string{"Content-Type", "text/" + strings.Repeat("x", 251)}, 400, "invalid", "Content-Type"},
		{"PUT", "/kv/k", "v", []string{"Content-Type", "text/\xff"}, 400, "invalid", "Content-Type"},
		{"PUT", "/kv/k", "v", []string{"Content-Type", "a/b", "Content-Type", "a/b"}, 400, "invalid", "Content-Type"},
		{"POST", "/kv/k?op=incr", "", []string{"Origin", "https://evil.example"}, 403, "cross_origin", ""},
		{"POST", "/kv/?op=incr", "", nil, 405, "method_not_allowed", ""},
	} {
		a := mustAPI(t, nil)
		w := a.do(test.method, test.target, test.body, test.header...)
		p := expectProblem(t, w, test.status, test.code)
		if test.field != "" && !strings.HasPrefix(p.Detail, test.field+": ") {
			t.Errorf("%s %s %q: detail %q does not name %s", test.method, test.target, test.header, p.Detail, test.field)
		}
		if calls := a.node.called(); len(calls) > 0 {
			t.Errorf("%s %s: the node was called: %q", test.method, test.target, calls)
		}
	}
	a := mustAPI(t, func(c *httpapi.Config) { c.MaxValueBytes = 4 })
	expectProblem(t, a.do("POST", "/kv/k?op=append", "12345"), http.StatusRequestEntityTooLarge, "too_large")
	a.do("POST", "/kv/k?op=append", "123")
	expectProblem(t, a.do("POST", "/kv/k?op=append", "45"), http.StatusRequestEntityTooLarge, "value_limit")
}

// TestPut_Attributes checks that the content type and the flags of a value are kept.
func TestPut_Attributes(t *testing.T) {
	a := mustAPI(t, nil)
	for sent, want := range map[string]string{
		"":                                  "application/octet-stream",
		"application/octet-stream":          "application/octet-stream",
		"application/x-www-form-urlencoded": "application/octet-stream",
		"text/html; charset=utf-8":          "text/html; charset=utf-8",
		"image/png":                         "image/png",
	} {
		headers := []string{"Kvorum-Flags", "4294967295"}
		if sent != "" {
			headers = append(headers, "Content-Type", sent)
		}
		a.do("PUT", "/kv/k", "v", headers...)
		w := a.do("GET", "/kv/k", "")
		expectHeaders(t, w.Header(), "Content-Type", want, "Kvorum-Flags", "4294967295",
			"X-Content-Type-Options", "nosniff", "Content-Security-Policy", "default-src 'none'; sandbox")
	}
	a.do("PUT", "/kv/k", "v", "Content-Type", "text/plain", "Kvorum-Flags", "5")
	a.do("POST", "/kv/k?op=append", "w", "Content-Type", "image/png")
	expectHeaders(t, a.do("HEAD", "/kv/k", "").Header(), "Content-Type", "text/plain", "Kvorum-Flags", "5")
	a.do("PUT", "/kv/k", "v")
	expectHeaders(t, a.do("GET", "/kv/k", "").Header(), "Content-Type", "application/octet-stream", "Kvorum-Flags", "")

	bad := item("bad", "v", 0)
	bad.ContentType = "text/html\r\nSet-Cookie: a=b"
	a.node.put(bad)
	expectHeaders(t, a.do("GET", "/kv/bad", "").Header(), "Content-Type", "application/octet-stream", "Set-Cookie", "")
}
