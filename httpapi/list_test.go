package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// asLines asks for JSON lines.
var asLines = []string{"Accept", "application/x-ndjson"}

// item returns a key that was written once, at revision.
func item(key, value string, revision uint64) kv.Item {
	return kv.Item{Key: key, Value: []byte(value), CreateRevision: revision, ModRevision: revision, Version: 1}
}

// line is one line of a list as a client sees it.
type line struct {
	Key            *string `json:"key"`
	KeyB64         []byte  `json:"key_b64"`
	Value          *string `json:"value"`
	ValueB64       []byte  `json:"value_b64"`
	CreateRevision uint64  `json:"create_revision"`
	ModRevision    uint64  `json:"mod_revision"`
	Version        uint64  `json:"version"`
	ExpiresAt      string  `json:"expires_at"`
	TTL            int64   `json:"ttl_ms"`
}

func (l line) key() string {
	if l.Key != nil {
		return *l.Key
	}
	return string(l.KeyB64)
}

func (l line) value() string {
	if l.Value != nil {
		return *l.Value
	}
	return string(l.ValueB64)
}

// end is the last line of a list as a client sees it.
type end struct {
	End     bool    `json:"end"`
	Count   int     `json:"count"`
	Next    *string `json:"next"`
	NextB64 []byte  `json:"next_b64"`
	Cursor  string  `json:"cursor"`
}

func (e end) next() string {
	if e.Next != nil {
		return *e.Next
	}
	return string(e.NextB64)
}

// parseList parses a list, which must have a correct last line.
func parseList(t rapid.TB, body string) ([]line, end) {
	t.Helper()
	i := strings.LastIndex(strings.TrimSuffix(body, "\n"), "\n") + 1
	decoder := json.NewDecoder(strings.NewReader(body[i:]))
	decoder.DisallowUnknownFields()
	var e end
	if err := decoder.Decode(&e); err != nil || !e.End {
		t.Fatalf("last line %q is no end: %v", body[i:], err)
	}
	lines := parseItems(t, body[:i])
	if len(lines) != e.Count {
		t.Fatalf("%d lines, the end says %d", len(lines), e.Count)
	}
	return lines, e
}

// parseLines returns the lines of a complete list except the last.
func parseLines(t rapid.TB, body string) []line {
	t.Helper()
	lines, _ := parseList(t, body)
	return lines
}

func parseItems(t rapid.TB, body string) []line {
	t.Helper()
	var lines []line
	for s := range strings.Lines(body) {
		decoder := json.NewDecoder(strings.NewReader(s))
		decoder.DisallowUnknownFields()
		var l line
		if err := decoder.Decode(&l); err != nil {
			t.Fatalf("line %q: %v", s, err)
		}
		lines = append(lines, l)
	}
	return lines
}

func keysOf(lines []line) []string {
	var keys []string
	for _, l := range lines {
		keys = append(keys, l.key())
	}
	return keys
}

func TestList_Format(t *testing.T) {
	a := mustAPI(t, nil)
	a.node.revision = 9
	a.node.items["a\"\\\n\u2028\u0085<é"] = kv.Item{Key: "a\"\\\n\u2028\u0085<é", Value: []byte("x\x01\u2029"), CreateRevision: 1, ModRevision: 4, Version: 2}
	a.node.items["b"] = item("b", "", 6)
	a.node.items["\xff"] = item("\xff", "\x00\xff", 5)
	w := a.do("GET", "/kv/", "", asLines...)
	want := `{"key":"a\"\\\n\u2028\u0085<é","value":"x\u0001\u2029","create_revision":1,"mod_revision":4,"version":2}` + "\n" +
		`{"key":"b","value":"","create_revision":6,"mod_revision":6,"version":1}` + "\n" +
		`{"key_b64":"/w==","value_b64":"AP8=","create_revision":5,"mod_revision":5,"version":1}` + "\n" +
		`{"end":true,"count":3}` + "\n"
	if got := w.Body.String(); w.Code != http.StatusOK || got != want {
		t.Errorf("got %d\n%s\nwant 200\n%s", w.Code, got, want)
	}
	expectHeaders(t, w.Header(), "Content-Type", "application/x-ndjson", "Kvorum-Revision", "9",
		"Kvorum-Consistency", "linearizable", "Kvorum-Node", "n1", "ETag", "", "Cache-Control", "no-store")

	w = a.do("GET", "/kv/?keys_only=true&prefix=b", "", asLines...)
	want = `{"key":"b","create_revision":6,"mod_revision":6,"version":1}` + "\n" + `{"end":true,"count":1}` + "\n"
	if got := w.Body.String(); got != want {
		t.Errorf("keys only: got %s, want %s", got, want)
	}
}

// TestList_RoundTrip checks that any keys and values are the same after the list, whether
// they are longer or shorter than the buffer.
func TestList_RoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := mustAPI(t, nil)
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
		for key := range rapid.MapOfN(text, rapid.Bool(), 0, 8).Draw(rt, "keys") {
			a.node.items[key] = item(key, strings.Repeat(text.Draw(rt, "value"), rapid.SampledFrom([]int{1, 1, 5000}).Draw(rt, "times")), 1)
		}
		lines := parseLines(rt, a.do("GET", "/kv/", "", asLines...).Body.String())
		if len(lines) != len(a.node.items) {
			rt.Fatalf("got %d lines, want %d", len(lines), len(a.node.items))
		}
		for _, l := range lines {
			if want, ok := a.node.value(l.key()); !ok || l.value() != want {
				rt.Errorf("key %q: got %q, want %q", l.key(), l.value(), want)
			}
		}
	})
}

// TestList_Pages follows Kvorum-Next through keys of any bytes.
func TestList_Pages(t *testing.T) {
	a := mustServe(t, nil)
	keys := []string{"\x00", "a", "a b", "a%2F", "a&b=c", "c+d", "a/b//c", "é", "\xff\xfe"}
	slices.Sort(keys)
	for _, key := range keys {
		a.node.items[key] = item(key, "v", 1)
	}
	c := a.dial()
	for limit, pages := range map[string]int{"1": 9, "2": 5, "3": 3, "9": 1, "10": 1} {
		var got []string
		start, count := "", 0
		for {
			c.send("GET /kv/?limit=%s&start=%s HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n", limit, start)
			resp, body := c.answer("GET")
			lines, last := parseList(t, body)
			got = append(got, keysOf(lines)...)
			count++
			if next, _ := url.PathUnescape(resp.Trailer.Get("Kvorum-Next")); next != last.next() {
				t.Fatalf("the trailer says %q, the last line %q", next, last.next())
			}
			if start = resp.Trailer.Get("Kvorum-Next"); start == "" {
				break
			}
			if next, err := url.PathUnescape(start); err != nil || !slices.Contains(keys, next) {
				t.Fatalf("Kvorum-Next %q does not decode to a key: %v", start, err)
			}
		}
		if !slices.Equal(got, keys) || count != pages {
			t.Errorf("limit %s: got %q in %d pages, want %q in %d", limit, got, count, keys, pages)
		}
	}
}

func TestList_Parameters(t *testing.T) {
	a := mustAPI(t, nil)
	for _, key := range []string{"a", "a/1", "a/2", "a/3", "b\xff", "b c"} {
		a.node.items[key] = item(key, "v", 1)
	}
	for target, want := range map[string][]string{
		"/kv/?prefix=a/":                        {"a/1", "a/2", "a/3"},
		"/kv/?prefix=a%2F&start=a/2":            {"a/2", "a/3"},
		"/kv/?prefix=b%FF":                      {"b\xff"},
		"/kv/?prefix=b+c":                       {"b c"},
		"/kv/?prefix=b%20":                      {"b c"},
		"/kv/?start=b":                          {"b c", "b\xff"},
		"/kv/?prefix=&start=&keys_only=false":   {"a", "a/1", "a/2", "a/3", "b c", "b\xff"},
		"/kv/?limit=2&consistency=linearizable": {"a", "a/1"},
		"/kv/?prefix=zzz":                       nil,
		"/kv/?":                                 {"a", "a/1", "a/2", "a/3", "b c", "b\xff"},
	} {
		w := a.do("GET", target, "", asLines...)
		if got := keysOf(parseLines(t, w.Body.String())); w.Code != 200 || !slices.Equal(got, want) {
			t.Errorf("%s: got %d %q, want 200 %q", target, w.Code, got, want)
		}
	}
	for target, names := range map[string]string{
		"/kv/?limit=0":                   "limit",
		"/kv/?limit=-1":                  "limit",
		"/kv/?limit=x":                   "limit",
		"/kv/?limit=":                    "limit",
		"/kv/?limit=9999999999999999999": "limit",
		"/kv/?keys_only":                 "keys_only",
		"/kv/?keys_only=1":               "keys_only",
		"/kv/?recursive=true":            "recursive",
		"/kv/?prefix=a&prefix=b":         "prefix",
		"/kv/?consistency=any":           "consistency",
	} {
		p := expectProblem(t, a.do("GET", target, ""), http.StatusBadRequest, "invalid")
		if !strings.Contains(p.Detail, `"`+names+`"`) {
			t.Errorf("%s: detail %q does not name %q", target, p.Detail, names)
		}
	}
}

func TestList_Head(t *testing.T) {
	a := mustServe(t, nil)
	a.node.items["a"], a.node.revision = item("a", "v", 3), 3
	c := a.dial()
	for range 2 { // the second answer shows that the first had no body
		c.send("HEAD /kv/ HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, _ := c.answer("HEAD")
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("got %d, want 200", resp.StatusCode)
		}
		expectHeaders(t, resp.Header, "Kvorum-Revision", "3", "Content-Type", "application/json")
	}
}

// endless returns a listing without an end, which closes done when its iteration is
// stopped.
func endless(value string, done chan<- struct{}) kv.View {
	return fakeView{1, func(kv.Span) iter.Seq[kv.Item] {
		return func(yield func(kv.Item) bool) {
			defer close(done)
			for yield(item("k", value, 1)) {
			}
		}
	}}
}

func TestList_StalledClientIsCutOff(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.StallTimeout = 50 * time.Millisecond })
	done := make(chan struct{})
	a.node.list = func() kv.View { return endless(strings.Repeat("v", 10_000), done) }
	c := a.dial()
	c.send("GET /kv/ HTTP/1.1\r\nHost: x\r\n\r\n")
	await(t, "the stream given up", done)
	a.expectReleased()
}

func TestList_HungUpClientEndsTheStream(t *testing.T) {
	a := mustServe(t, nil)
	done := make(chan struct{})
	a.node.list = func() kv.View { return endless("v", done) }
	c := a.dial()
	c.send("GET /kv/ HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := c.r.ReadByte(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	await(t, "the stream given up", done)
	a.expectReleased()
}

// TestList_BrokenStreamIsNotWhole breaks streams at different places; a client
// must get an error, not an end.
func TestList_BrokenStreamIsNotWhole(t *testing.T) {
	for name, value := range map[string]string{
		"nothing sent":   "v",
		"something sent": strings.Repeat("v", 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			a := mustServe(t, nil)
			a.node.list = func() kv.View {
				return fakeView{1, func(kv.Span) iter.Seq[kv.Item] {
					return func(yield func(kv.Item) bool) {
						yield(item("k", value, 1))
						panic("the view is broken")
					}
				}}
			}
			c := a.dial()
			c.send("GET /kv/ HTTP/1.1\r\nHost: x\r\n\r\n")
			resp, err := http.ReadResponse(c.r, nil)
			if err == nil {
				defer resp.Body.Close()
				_, err = io.Copy(io.Discard, resp.Body)
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("got %v, want %v", err, io.ErrUnexpectedEOF)
			}
			a.expectReleased()
		})
	}
}

// drainList asks for all keys and reads the answer's body to its end in the
// background. The channel receives the error with which the body ends.
func (a *api) drainList() <-chan error {
	a.t.Helper()
	c := a.dial()
	c.send("GET /kv/ HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		a.t.Fatalf("read answer: %v", err)
	}
	drained := make(chan error, 1)
	go func() {
		defer resp.Body.Close()
		_, err := io.Copy(io.Discard, resp.Body)
		drained <- err
	}()
	return drained
}

func TestList_ForcedShutdownBreaksTheStream(t *testing.T) {
	a := mustServe(t, nil)
	done := make(chan struct{})
	a.node.list = func() kv.View { return endless("v", done) }
	drained := a.drainList()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := a.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: got %v, want %v", err, context.Canceled)
	}
	await(t, "the stream given up", done)
	if err := await(t, "the client's end", drained); err == nil {
		t.Error("the client took a broken stream for a whole one")
	}
}

// TestList_HalfClosedClient ends a stream by its context alone: the connection
// would still carry an end.
func TestList_HalfClosedClient(t *testing.T) {
	a := mustServe(t, nil)
	done := make(chan struct{})
	a.node.list = func() kv.View { return endless("v", done) }
	c := a.dial()
	c.send("GET /kv/ HTTP/1.1\r\nHost: x\r\n\r\n")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err == nil {
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want %v", err, io.ErrUnexpectedEOF)
	}
	await(t, "the stream given up", done)
}

func TestList_ErrorBeforeTheStream(t *testing.T) {
	a := mustAPI(t, nil)
	a.node.hook = func(context.Context, string, string) error { return kv.ErrBehind }
	expectProblem(t, a.do("GET", "/kv/", ""), http.StatusServiceUnavailable, "behind")
}
