package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// page is a list in JSON as a client sees it. An entry has a prefix or a key.
type page struct {
	Revision uint64
	Items    []struct {
		Prefix    *string
		PrefixB64 []byte `json:"prefix_b64"`
		line
	}
	Count  int
	Cursor string
	End    *bool
	Error  *problem
}

// entries returns the keys and prefixes of a page; prefixes have a mark.
func (p *page) entries() []string {
	var entries []string
	for _, it := range p.Items {
		switch {
		case it.Prefix != nil:
			entries = append(entries, "prefix "+*it.Prefix)
		case it.PrefixB64 != nil:
			entries = append(entries, "prefix "+string(it.PrefixB64))
		default:
			entries = append(entries, it.key())
		}
	}
	return entries
}

// page asks for a list in JSON, which must be answered.
func (a *api) page(t rapid.TB, query url.Values) page {
	t.Helper()
	w := a.do("GET", "/kv/?"+query.Encode(), "")
	var p page
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusOK || p.End == nil {
		t.Fatalf("%v: got %d %s: %v", query, w.Code, w.Body, err)
	}
	if !query.Has("count_only") && p.Count != len(p.Items) {
		t.Fatalf("%v: got %d entries, the end says %d", query, len(p.Items), p.Count)
	}
	return p
}

func TestRange_JSON(t *testing.T) {
	a := mustAPI(t, nil)
	a.node.put(item("a/1", "x", 0), item("a/2", "\xff", 0), item("b", "", 0))
	for target, want := range map[string]string{
		"/kv/": `{"revision":3,"items":[` + "\n" +
			`{"key":"a/1","value":"x","create_revision":1,"mod_revision":1,"version":1},` + "\n" +
			`{"key":"a/2","value_b64":"/w==","create_revision":2,"mod_revision":2,"version":1},` + "\n" +
			`{"key":"b","value":"","create_revision":3,"mod_revision":3,"version":1}` + "\n" + `],"end":true,"count":3}`,
		"/kv/?prefix=c":                   `{"revision":3,"items":[],"end":true,"count":0}`,
		"/kv/?count_only=true&prefix=a/":  `{"revision":3,"end":true,"count":2}`,
		"/kv/?count_only=true&revision=1": `{"revision":1,"end":true,"count":1}`,
		"/kv/?delimiter=/&start=a&keys_only=true": `{"revision":3,"items":[` + "\n" + `{"prefix":"a/"},` + "\n" +
			`{"key":"b","create_revision":3,"mod_revision":3,"version":1}` + "\n" + `],"end":true,"count":2}`,
	} {
		w := a.do("GET", target, "", "Accept", "text/html, */*;q=0.8")
		if got := strings.TrimSuffix(w.Body.String(), "\n"); w.Code != http.StatusOK || got != want {
			t.Errorf("%s: got %d\n%s\nwant 200\n%s", target, w.Code, got, want)
		}
		expectHeaders(t, w.Header(), "Content-Type", "application/json", "Vary", "Accept")
	}
	for accept, want := range map[string]string{
		"application/x-ndjson":                         "application/x-ndjson",
		"application/json;q=0.5, Application/X-NDJSON": "application/x-ndjson",
		"application/json, application/x-ndjson;q=0.9": "application/json",
		"application/x-ndjson;q=0":                     "application/json",
		"*/*":                                          "application/json",
	} {
		expectHeaders(t, a.do("GET", "/kv/", "", "Accept", accept).Header(), "Content-Type", want)
	}
}

func TestRange_Bounds(t *testing.T) {
	a := mustAPI(t, nil)
	for i, key := range []string{"e", "a/b/1", "a/b/2", "a/c", "a/", "a", "b/\xff/1", "c/"} {
		a.node.put(item(key, "v", 0))
		if i < 3 {
			a.node.put(item(key, "w", 0))
		}
	}
	for query, want := range map[string]string{
		"start=a/b&end=b":                            "a/b/1 a/b/2 a/c",
		"prefix=a/&end=a/c":                          "a/ a/b/1 a/b/2",
		"prefix=a/&start=a/b/2&reverse=true":         "a/c a/b/2",
		"end=a&start=b":                              "",
		"end=b&start=b":                              "",
		"prefix=zz&delimiter=/":                      "",
		"end=b&reverse=true&limit=2":                 "a/c a/b/2",
		"delimiter=/":                                "a prefix a/ prefix b/ prefix c/ e",
		"delimiter=/&reverse=true":                   "e prefix c/ prefix b/ prefix a/ a",
		"delimiter=/&prefix=a/":                      "a/ prefix a/b/ a/c",
		"delimiter=/&prefix=a/&reverse=true":         "a/c prefix a/b/ a/",
		"delimiter=/b/":                              "a a/ prefix a/b/ a/c b/\xff/1 c/ e",
		"delimiter=/&prefix=b/":                      "prefix b/\xff/",
		"delimiter=/&limit=2":                        "a prefix a/",
		"delimiter=/&start=a/c":                      "prefix a/ prefix b/ prefix c/ e",
		"sort=mod_revision&limit=3":                  "e a/b/1 a/b/2",
		"sort=create_revision&limit=2&reverse=true":  "c/ b/\xff/1",
		"sort=version&limit=9":                       "a a/ a/c b/\xff/1 c/ a/b/1 a/b/2 e",
		"sort=version&limit=4&reverse=true&prefix=a": "a/b/2 a/b/1 a/c a/",
		"sort=key&limit=1":                           "a",
		"revision=2":                                 "e",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got := a.page(t, values)
		if entries := strings.Join(got.entries(), " "); entries != want || !*got.End {
			t.Errorf("%s: got %q, want %q", query, entries, want)
		}
	}
}

// TestRange_Pages reads lists of all kinds page by page, while every page is followed by
// writes. The pages must be those of the list that was read whole before.
func TestRange_Pages(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := mustAPI(t, nil)
		key := rapid.StringOfN(rapid.SampledFrom([]rune("ab/")), 1, 6, -1)
		change := func(label string) {
			for range rapid.IntRange(0, 10).Draw(rt, label) {
				a.node.put(item(key.Draw(rt, "key"), "v", 0))
			}
		}
		change("writes before")
		query := url.Values{}
		for name, values := range map[string][]string{
			"prefix": {"", "a", "a/"}, "start": {"", "ab"}, "end": {"", "b", "b/a"}, "reverse": {"", "true"},
			"keys_only": {"", "true"}, "delimiter": {"", "/", "b/"}, "sort": {"", "key", "version", "mod_revision"},
		} {
			if value := rapid.SampledFrom(values).Draw(rt, name); value != "" {
				query.Set(name, value)
			}
		}
		if sort := query.Get("sort"); sort != "" && sort != "key" {
			query.Del("delimiter")
		}
		query.Set("limit", "1000")
		whole := a.page(rt, query)
		var got []string
		pages := 0
		for query.Set("limit", strconv.Itoa(rapid.IntRange(1, 4).Draw(rt, "limit"))); ; pages++ {
			p := a.page(rt, query)
			if got = append(got, p.entries()...); p.Revision != whole.Revision || pages > 100 {
				rt.Fatalf("page %d: got revision %d, want %d", pages, p.Revision, whole.Revision)
			}
			if p.Cursor == "" {
				break
			}
			query.Set("cursor", p.Cursor)
			change("writes between")
		}
		if !slices.Equal(got, whole.entries()) {
			rt.Errorf("%v: got %q, want %q", query, got, whole.entries())
		}
	})
}

// TestRange_Cursors uses cursors where they do not belong.
func TestRange_Cursors(t *testing.T) {
	a := mustServe(t, nil)
	a.node.put(item("a/1", "v", 0), item("a/2", "v", 0), item("a/3", "v", 0))
	c := a.dial()
	c.send("GET /kv/?prefix=a/&limit=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, body := c.answer("GET")
	var first page
	if err := json.Unmarshal([]byte(body), &first); err != nil || first.Cursor == "" {
		t.Fatalf("%s: %v", body, err)
	}
	if got := resp.Trailer.Get("Kvorum-Cursor"); got != first.Cursor {
		t.Errorf("the trailer has %q, the end %q", got, first.Cursor)
	}
	a.node.put(item("a/0", "v", 0), item("a/9", "v", 0))
	for query, want := range map[string]string{
		"prefix=a/&limit=5":                           "a/2 a/3",
		"limit=5&prefix=a/&keys_only=true&revision=3": "a/2 a/3",
		"prefix=a/&consistency=stale":                 "a/2 a/3",
	} {
		values, _ := url.ParseQuery(query + "&cursor=" + first.Cursor)
		if got := a.page(t, values); strings.Join(got.entries(), " ") != want || got.Revision != 3 {
			t.Errorf("%s: got %q at %d, want %s at 3", query, got.entries(), got.Revision, want)
		}
	}
	damaged := []byte(first.Cursor)
	damaged[len(damaged)/2] ^= 1
	for _, query := range []string{
		"cursor=" + first.Cursor, "prefix=a&cursor=" + first.Cursor, "prefix=a/&reverse=true&cursor=" + first.Cursor,
		"prefix=a/&delimiter=/&cursor=" + first.Cursor, "prefix=a/&end=b&cursor=" + first.Cursor, "prefix=a/&start=a&cursor=" + first.Cursor,
		"prefix=a/&sort=version&limit=5&cursor=" + first.Cursor, "prefix=a/&revision=2&cursor=" + first.Cursor,
		"prefix=a/&count_only=true&cursor=" + first.Cursor,
		"prefix=a/&cursor=", "prefix=a/&cursor=x", "prefix=a/&cursor=" + first.Cursor[1:], "prefix=a/&cursor=" + first.Cursor + "A",
		"prefix=a/&cursor=" + string(damaged), "prefix=a/&cursor=" + strings.Repeat("A", 4000),
	} {
		p := expectProblem(t, a.do("GET", "/kv/?"+query, ""), http.StatusBadRequest, "invalid")
		if !strings.HasPrefix(p.Detail, `query parameter "cursor": `) {
			t.Errorf("%s: got %q", query, p.Detail)
		}
	}
	a.node.compact = 4
	w := a.do("GET", "/kv/?prefix=a/&cursor="+first.Cursor, "")
	expectProblem(t, w, http.StatusGone, "compacted")
	if !strings.Contains(w.Body.String(), `"compact_revision":4`) {
		t.Errorf("%s does not have the compact revision", w.Body)
	}
}

// FuzzRange_Cursor checks that no cursor but a correct one is accepted.
func FuzzRange_Cursor(f *testing.F) {
	a := mustAPI(f, nil)
	a.node.put(item("a/1", "v", 0), item("a/2", "v", 0))
	f.Add("AQ")
	f.Add(a.page(f, url.Values{"limit": {"1"}}).Cursor)
	f.Fuzz(func(t *testing.T, cursor string) {
		here := *a
		here.t = t
		w := here.do("GET", "/kv/?limit=1&cursor="+url.QueryEscape(cursor), "")
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
			t.Errorf("%q: got %d %s", cursor, w.Code, w.Body)
		}
	})
}

func TestRange_Refuses(t *testing.T) {
	long := strings.Repeat("k", httpapi.DefaultMaxKeyBytes+1)
	for query, field := range map[string]string{
		"end=":                             "end",
		"prefix=" + long:                   "prefix",
		"start=" + long:                    "start",
		"end=" + long:                      "end",
		"delimiter=":                       "delimiter",
		"sort=":                            "sort",
		"sort=value":                       "sort",
		"sort=version":                     "limit",
		"sort=version&limit=10001":         "limit",
		"sort=version&limit=5&delimiter=/": "delimiter",
		"reverse=1":                        "reverse",
		"count_only=yes":                   "count_only",
		"count_only=true&limit=5":          "limit",
		"count_only=true&keys_only=true":   "keys_only",
		"count_only=true&reverse=false":    "reverse",
		"count_only=true&sort=key":         "sort",
		"count_only=true&delimiter=/":      "delimiter",
		"revision=0":                       "revision",
		"revision=x":                       "revision",
		"order=desc":                       "order",
		"limit=5&limit=6":                  "limit",
	} {
		a := mustAPI(t, nil)
		w := a.do("GET", "/kv/?"+query, "")
		var p problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || (w.Code != 400 && w.Code != 413) ||
			!strings.HasPrefix(p.Detail, fmt.Sprintf("query parameter %q: ", field)) {
			t.Errorf("%.80s: got %d %s, want the field %s", query, w.Code, w.Body, field)
		}
		if calls := a.node.called(); len(calls) > 0 {
			t.Errorf("%.80s: the node was called: %q", query, calls)
		}
	}
	a := mustAPI(t, nil)
	expectProblem(t, a.do("GET", "/kv/", "", "If-None-Match", `"7"`), 400, "invalid")
	expectProblem(t, a.do("GET", "/kv/?revision=5", ""), 400, "future_revision")
}

// closedView is a view that its owner closes after some items.
type closedView struct {
	modelView
	after  int
	closed *bool
}

func (v closedView) Err() error {
	if *v.closed {
		return errors.New("the view is closed")
	}
	return nil
}

func (v closedView) Ascend(span kv.Span) iter.Seq[kv.Item] {
	return func(yield func(kv.Item) bool) {
		n := 0
		for it := range v.modelView.Ascend(span) {
			if n++; n > v.after {
				*v.closed = true
				return
			}
			if !yield(it) {
				return
			}
		}
	}
}

// TestRange_EndsEarly closes the view under a list. The list must say so, and its cursor must
// continue it.
func TestRange_EndsEarly(t *testing.T) {
	a := mustAPI(t, nil)
	a.node.put(item("a", "v", 0), item("b", "v", 0), item("c", "v", 0))
	whole := sorted(a.node.items, kv.All())
	for _, query := range []string{"", "limit=3", "sort=version&limit=3"} {
		a.node.list = func() kv.View { return closedView{modelView{revision: 3, items: whole}, 2, new(bool)} }
		values, _ := url.ParseQuery(query)
		p := a.page(t, values)
		if *p.End || p.Error == nil || p.Error.Code != "view_ended" || p.Error.Status != 503 || !p.Error.Retryable {
			t.Fatalf("%q: got %+v, want an end that says why", query, p)
		}
		lines := strings.Split(strings.TrimSpace(a.do("GET", "/kv/?"+query, "", asLines...).Body.String()), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, `{"end":false,"count":`) || !strings.Contains(last, `"code":"view_ended"`) {
			t.Errorf("%q: the last line is %s", query, last)
		}
		a.node.list = nil
		got := p.entries()
		if p.Cursor != "" {
			values.Set("cursor", p.Cursor)
			rest := a.page(t, values)
			got = append(got, rest.entries()...)
		}
		if want := "a b c"; p.Cursor != "" && strings.Join(got, " ") != want || p.Cursor == "" && len(got) > 0 {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
}

// TestRange_Lifetime reads a list slowly for longer than ListTimeout. The last line must be
// there, and say why.
func TestRange_Lifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, client, stop := piped(t, func(c *httpapi.Config) { c.ListTimeout = 2 * time.Minute })
		defer stop()
		done := make(chan struct{})
		a.node.list = func() kv.View { return endless(strings.Repeat("v", 10_000), done) }
		if _, err := fmt.Fprint(client, "GET /kv/ HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		last := lastLine(t, client, time.Second)
		<-done
		if !strings.HasPrefix(last, `{"end":false,"count":`) || !strings.Contains(last, `"cursor":"`) {
			t.Errorf("the last line is %.200q", last)
		}
	})
}

func TestDeleteRange(t *testing.T) {
	a := mustAPI(t, nil)
	for _, key := range []string{"a/1", "a/2", "a/3", "b", "c", "d"} {
		a.node.put(item(key, "v", 0))
	}
	for _, step := range []struct{ query, want, left string }{
		{"prefix=x", `{"deleted":0,"revision":6}`, "a/1 a/2 a/3 b c d"},
		{"prefix=a/&start=a/2", `{"deleted":2,"revision":7}`, "a/1 b c d"},
		{"start=b&end=d", `{"deleted":2,"revision":8}`, "a/1 d"},
		{"end=b", `{"deleted":1,"revision":9}`, "d"},
		{"all=true", `{"deleted":1,"revision":10}`, ""},
	} {
		w := a.do("DELETE", "/kv/?"+step.query, "")
		if got := strings.TrimSpace(w.Body.String()); w.Code != http.StatusOK || got != step.want {
			t.Errorf("%s: got %d %s, want 200 %s", step.query, w.Code, got, step.want)
		}
		p := a.page(t, nil)
		if left := strings.Join(p.entries(), " "); left != step.left {
			t.Errorf("%s: %q are left, want %q", step.query, left, step.left)
		}
	}
	expectHeaders(t, a.do("DELETE", "/kv/?prefix=a", "").Header(), "Kvorum-Revision", "10", "Content-Type", "application/json")
	for query, field := range map[string]string{
		"": "prefix", "prefix=": "prefix", "start=": "prefix", "end=": "end", "all=yes": "all", "all=true&prefix=a": "all",
		"prefix=a&limit=5": "limit", "recurse=true": "recurse", "all=false": "prefix",
	} {
		a := mustAPI(t, nil)
		p := expectProblem(t, a.do("DELETE", "/kv/?"+query, ""), http.StatusBadRequest, "invalid")
		if !strings.HasPrefix(p.Detail, fmt.Sprintf("query parameter %q: ", field)) {
			t.Errorf("%s: got %q, want the field %s", query, p.Detail, field)
		}
		if calls := a.node.called(); len(calls) > 0 {
			t.Errorf("%s: the node was called: %q", query, calls)
		}
	}
	expectProblem(t, a.do("DELETE", "/kv/?prefix=a", "", "If-Match", "*"), http.StatusBadRequest, "invalid")
}
