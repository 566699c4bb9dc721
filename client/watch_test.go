package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

// lines answers with the lines of a stream, and leaves it open; a line "broken" breaks it off,
// and a line "whole" ends it.
func lines(lines ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, line := range lines {
			switch line {
			case "broken":
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			case "whole":
				return
			}
			_, _ = io.WriteString(w, line+"\n")
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// change is a message with a put of key a at a revision.
func change(revision int) string {
	return fmt.Sprintf(`{"type":"changes","revision":%d,"events":[{"op":"put","key":"a","value":"v%d","create_revision":1,"mod_revision":%d,"version":%d}]}`,
		revision, revision, revision, revision)
}

// turns answers each request with the next handler.
func turns(handlers ...http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) { handlers[min(int(n.Add(1)), len(handlers))-1](w, r) }
}

// mustWatch begins a watch, closed with the test.
func mustWatch(t testing.TB, c *client.Client, o client.WatchOptions) *client.Watch {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // no result depends on it
	w, err := c.Watch(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		cancel()
	})
	return w
}

// next returns a batch in short: its kind, revision, keys and values.
func next(t testing.TB, w *client.Watch) string {
	t.Helper()
	b, err := w.Next()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint([]string{"changes", "state", "synced", "progress", "waiting"}[b.Kind], " ", b.Revision)
	if b.Partial {
		text += " partial"
	}
	for _, it := range b.Items {
		text += fmt.Sprintf(" %s=%s", it.Key, it.Value)
	}
	for _, e := range b.Events {
		text += fmt.Sprintf(" %v %s=%s", e.Kind, e.Item.Key, e.Item.Value)
		if e.Prev != nil {
			text += fmt.Sprintf(" was %s", e.Prev.Value)
		}
	}
	return text
}

// want checks the next batches of a watch.
func want(t testing.TB, w *client.Watch, batches ...string) {
	t.Helper()
	for _, want := range batches {
		if got := next(t, w); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// TestWatch_ResumesElsewhere breaks off the streams of two endpoints, in all ways in which a
// stream ends. Each change is returned once, in order, and the watch continues after the last one.
func TestWatch_ResumesElsewhere(t *testing.T) {
	first := serve(t, turns(
		lines(`{"type":"start","revision":5}`, change(6), `{"type":"cha`, "broken"),
		lines(`{"type":"start","revision":7}`, change(8), change(8)), // twice: not believed
		lines(`{"type":"start","revision":9}`, `{"type":"compacted","revision":9,"compact_revision":40}`, "whole"),
	))
	second := serve(t, turns(
		lines(`{"type":"start","revision":6}`, change(7), `{"type":"end","revision":7,"code":"shutting_down","detail":"this node is shutting down"}`, "whole"),
		lines(`{"type":"start","revision":8}`, `{"type":"new","revision":99}`, change(9), "whole"),
	))
	var reasons []string
	w := mustWatch(t, mustNew(t, client.Config{Endpoints: []string{first.URL, second.URL}}), client.WatchOptions{
		Span: kv.Prefix("a"), PrevItems: true, MinRevision: 3, Interrupted: func(err error) { reasons = append(reasons, err.Error()) },
	})
	if w.Revision() != 5 {
		t.Errorf("got revision %d before the first change", w.Revision())
	}
	want(t, w, "changes 6 put a=v6", "changes 7 put a=v7", "changes 8 put a=v8", "changes 9 put a=v9")
	_, err := w.Next()
	e := wantError(t, err, client.NotDone, "compacted")
	compacted := (*kv.CompactedError)(nil)
	if !errors.As(err, &compacted) || *compacted != (kv.CompactedError{Revision: 10, CompactRevision: 40}) || !errors.Is(err, kv.ErrCompacted) ||
		e.Code != "compacted" || e.CompactRevision != 40 || w.Revision() != 9 {
		t.Errorf("got %+v at %d", e, w.Revision())
	}
	if _, again := w.Next(); !errors.Is(again, err) {
		t.Errorf("after the end: got %v", again)
	}
	var queries []string
	for i := range 3 {
		queries = append(queries, first.seen()[i].URL.RawQuery)
		if i < 2 {
			queries = append(queries, second.seen()[i].URL.RawQuery)
		}
	}
	begin := "consistency=linearizable&end=b&min_revision=3&prev=true&progress=15s&start=a"
	if wanted := []string{begin, resumed(7), resumed(8), resumed(9), resumed(10)}; !slices.Equal(queries, wanted) {
		t.Errorf("got queries\n%s\nwant\n%s", strings.Join(queries, "\n"), strings.Join(wanted, "\n"))
	}
	for i, part := range []string{"bad message", "this node is shutting down", "changes of revision 8 follow those of 8", "it broke off"} {
		if i >= len(reasons) || !strings.Contains(reasons[i], part) {
			t.Fatalf("got reasons %q, want %q in that of number %d", reasons, part, i)
		}
	}
}

// resumed is the query of a watch of prefix a that continues.
func resumed(from int) string {
	return fmt.Sprintf("end=b&from_revision=%d&prev=true&progress=15s&start=a", from)
}

// part is a message with puts of some keys at revision 6.
func part(partial bool, keys ...string) string {
	var events []string
	for _, key := range keys {
		events = append(events, fmt.Sprintf(`{"op":"put","key":%q,"value":"x","mod_revision":6}`, key))
	}
	return fmt.Sprintf(`{"type":"changes","revision":6,"partial":%t,"events":[%s]}`, partial, strings.Join(events, ","))
}

// TestWatch_ResumesWithinARevision breaks off the parts of a revision, twice. Another node cuts
// the revision into other parts; each change is still returned once.
func TestWatch_ResumesWithinARevision(t *testing.T) {
	const start = `{"type":"start","revision":5}`
	s := serve(t, turns(
		lines(start, part(true, "a", "b"), "broken"),
		lines(start, part(true, "a"), part(true, "b", "c"), "broken"),
		lines(start, part(true, "a", "b", "c"), `{"type":"end","revision":5,"code":"behind","retryable":true,"detail":"behind"}`, "whole"),
		lines(start, part(true, "a", "b", "c", "d"), change(7)), // not whole: not believed
		lines(start, part(true, "a", "b"), part(false, "c", "d", "e"), change(7)),
	))
	w := mustWatch(t, mustNew(t, client.Config{Endpoints: []string{s.URL}}), client.WatchOptions{})
	want(t, w, "changes 6 partial put a=x put b=x", "changes 6 partial put c=x")
	if w.Revision() != 5 {
		t.Errorf("got revision %d within revision 6", w.Revision())
	}
	want(t, w, "changes 6 partial put d=x", "changes 6 put e=x", "changes 7 put a=v7")
	for i, r := range s.seen()[1:] {
		if r.URL.RawQuery != "from_revision=6&progress=15s" {
			t.Errorf("request %d: got %s", i+1, r.URL.RawQuery)
		}
	}
}

// TestWatch_StateBeginsAgain breaks off the state of a snapshot.
func TestWatch_StateBeginsAgain(t *testing.T) {
	s := serve(t, turns(
		lines(`{"type":"state","revision":5,"items":[{"key":"a","value":"x","create_revision":1,"mod_revision":5,"version":2}]}`, "broken"),
		noLeader,
		lines(`{"type":"state","revision":7,"items":[{"key_b64":"/w==","value_b64":"/w==","create_revision":7,"mod_revision":7,"version":1}]}`,
			`{"type":"synced","revision":7}`, "broken"),
		lines(`{"type":"start","revision":7}`, `{"type":"changes","revision":8,"events":[{"op":"delete","key_b64":"/w==","mod_revision":8,"prev":{"key_b64":"/w==","value":"x","mod_revision":7}}]}`),
	))
	w := mustWatch(t, mustNew(t, client.Config{Endpoints: []string{s.URL}}), client.WatchOptions{Snapshot: true})
	want(t, w, "state 5 a=x")
	if w.Revision() != 0 {
		t.Errorf("got revision %d before the state is whole", w.Revision())
	}
	want(t, w, "state 7 \xff=\xff", "synced 7", "changes 8 delete \xff= was x")
	const again = "consistency=linearizable&progress=15s&snapshot=true"
	for i, query := range []string{again, again, again, "from_revision=8&progress=15s"} {
		if got := s.seen()[i].URL.RawQuery; got != query {
			t.Errorf("request %d: got %s, want %s", i, got, query)
		}
	}
}

// TestWatch_EndsForGood shows the errors after which a watch is not continued.
func TestWatch_EndsForGood(t *testing.T) {
	refused := problem(http.StatusGone, "compacted", "Revision compacted", "revision 6", "not_done", false)
	s := serve(t, turns(lines(`{"type":"start","revision":5}`, "broken"), refused))
	c := mustNew(t, client.Config{Endpoints: []string{s.URL}})
	w := mustWatch(t, c, client.WatchOptions{})
	_, err := w.Next()
	compacted := (*kv.CompactedError)(nil)
	if wantError(t, err, client.NotDone, "Revision compacted"); !errors.As(err, &compacted) || compacted.Revision != 6 {
		t.Errorf("got %v, want the compacted revision", err)
	}
	if _, err := c.Watch(t.Context(), client.WatchOptions{From: 6}); !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("got %v, want ErrCompacted", err)
	}
	if _, err := mustNew(t, client.Config{Endpoints: []string{unreachable(t)}}).Watch(t.Context(), client.WatchOptions{}); err == nil {
		t.Error("a watch of an endpoint that does not answer: got no error")
	}
	for _, o := range []client.WatchOptions{
		{From: 1, Snapshot: true}, {From: 1, MinRevision: 1}, {From: 1, Level: client.Stale}, {Span: kv.Span{Start: "b", End: "a"}}, {Progress: 1}, {Level: "none"},
	} {
		if _, err := c.Watch(t.Context(), o); !errors.Is(err, client.ErrUsage) {
			t.Errorf("%+v: got %v, want ErrUsage", o, err)
		}
	}
}

// TestWatch_EndKeepsTheEndpoint shows that a watch that ends for good does not make other calls
// begin at another endpoint.
func TestWatch_EndKeepsTheEndpoint(t *testing.T) {
	for name, last := range map[string]string{
		"its context ends": "", "compacted": `{"type":"compacted","revision":5,"compact_revision":40}`,
	} {
		first, second := serve(t, turns(lines(`{"type":"start","revision":5}`, last), ok)), serve(t, ok)
		c := mustNew(t, client.Config{Endpoints: []string{first.URL, second.URL}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w, err := c.Watch(ctx, client.WatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if last == "" {
			cancel()
		}
		if b, err := w.Next(); err == nil {
			t.Fatalf("%s: got %+v, want an error", name, b)
		}
		if _, err := c.Get(t.Context(), "a", client.ReadOptions{}); err != nil {
			t.Fatal(err)
		}
		if n := len(second.seen()); n != 0 {
			t.Errorf("%s: the other endpoint got %d requests", name, n)
		}
	}
}

// TestWatch_EndpointThatRefuses shows that one endpoint that refuses a watch, because its build is
// older for example, does not end one that another endpoint has begun. If all refuse it, or the
// rights of the caller have ended, it ends.
func TestWatch_EndpointThatRefuses(t *testing.T) {
	begun := lines(`{"type":"start","revision":5}`, "broken")
	older := problem(http.StatusNotImplemented, "unsupported_version", "Not supported", "", "not_done", false)
	forbidden := problem(http.StatusForbidden, "forbidden", "Forbidden", "", "not_done", false)
	for _, second := range []http.HandlerFunc{older, status(http.StatusNotFound)} {
		a, b := serve(t, turns(begun, noLeader, lines(`{"type":"start","revision":5}`, change(6)))), serve(t, second)
		w := mustWatch(t, mustNew(t, client.Config{Endpoints: []string{a.URL, b.URL}}), client.WatchOptions{})
		want(t, w, "changes 6 put a=v6")
		if len(b.seen()) == 0 {
			t.Error("the endpoint that refuses was not asked")
		}
	}
	for _, tc := range []struct {
		first, second http.HandlerFunc
		asked         int // requests at the first endpoint
	}{{older, older, 2}, {older, status(http.StatusNotFound), 2}, {noLeader, forbidden, 1}} {
		a, b := serve(t, turns(begun, tc.first)), serve(t, tc.second)
		w := mustWatch(t, mustNew(t, client.Config{Endpoints: []string{a.URL, b.URL}}), client.WatchOptions{})
		_, err := w.Next()
		wantError(t, err, client.NotDone)
		if n := len(a.seen()); n != tc.asked || len(b.seen()) != 1 {
			t.Errorf("%v: the endpoints got %d and %d requests, want %d and 1", err, n, len(b.seen()), tc.asked)
		}
	}
}

// TestWatch_ContextEnds shows that the end of the context ends a watch that waits, for a change
// or for an endpoint.
func TestWatch_ContextEnds(t *testing.T) {
	waits := serve(t, lines(`{"type":"start","revision":5}`))
	gone := serve(t, turns(lines(`{"type":"start","revision":5}`, "broken"), noLeader))
	for name, s := range map[string]*server{"for a change": waits, "for an endpoint": gone} {
		ctx, cancel := context.WithCancel(t.Context())
		attempts := 0
		w, err := mustNew(t, client.Config{Endpoints: []string{s.URL}}).Watch(ctx, client.WatchOptions{Interrupted: func(error) {
			if attempts++; attempts == 3 {
				cancel()
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if s == waits {
			go cancel()
		}
		for _, err := range w.All() {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
}

// TestWatch_Progress shows that progress is returned only if it was asked for, and moves the
// revision in any case.
func TestWatch_Progress(t *testing.T) {
	messages := lines(`{"type":"start","revision":5}`, `{"type":"waiting","revision":4}`, `{"type":"progress","revision":7}`, change(9), `{"type":"progress","revision":12}`, change(13))
	s := serve(t, messages)
	c := mustNew(t, client.Config{Endpoints: []string{s.URL}})
	w := mustWatch(t, c, client.WatchOptions{})
	want(t, w, "changes 9 put a=v9", "changes 13 put a=v13")
	w = mustWatch(t, c, client.WatchOptions{Progress: time.Second, Kinds: kv.Kinds(kv.EventPut, kv.EventExpire), Span: kv.One("\x00")})
	want(t, w, "waiting 4", "progress 7", "changes 9 put a=v9", "progress 12")
	if w.Revision() != 12 {
		t.Errorf("got revision %d", w.Revision())
	}
	w = mustWatch(t, c, client.WatchOptions{Progress: time.Hour})
	want(t, w, "changes 9 put a=v9", "changes 13 put a=v13")
	for i, query := range []string{"consistency=linearizable&progress=15s", "consistency=linearizable&key=%00&ops=put%2Cexpire&progress=1s", "consistency=linearizable&progress=15s"} {
		if got := s.seen()[i].URL.RawQuery; got != query {
			t.Errorf("got %s, want %s", got, query)
		}
	}
}

// TestWatch_SilentEndpoint shows that an endpoint that sends nothing for too long is left.
func TestWatch_SilentEndpoint(t *testing.T) {
	silent, other := serve(t, lines(`{"type":"start","revision":5}`)), serve(t, lines(`{"type":"start","revision":5}`, change(6)))
	c := mustNew(t, client.Config{Endpoints: []string{silent.URL, other.URL}, Timeout: 100 * time.Millisecond})
	w := mustWatch(t, c, client.WatchOptions{From: 6, Progress: kv.MinWatchProgress})
	want(t, w, "changes 6 put a=v6")
}

// TestWatch_RealNode watches a real node.
func TestWatch_RealNode(t *testing.T) {
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{endpoint}})
	old, err := c.Put(ctx, "watch/a", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	now := mustWatch(t, c, client.WatchOptions{Span: kv.Prefix("watch/"), PrevItems: true})
	state := mustWatch(t, c, client.WatchOptions{Span: kv.One("watch/a"), Snapshot: true, Kinds: kv.Kinds(kv.EventDelete)})
	past := mustWatch(t, c, client.WatchOptions{Span: kv.Prefix("watch/"), From: old.Revision})
	put, err := c.Put(ctx, "watch/a", []byte("2"))
	if err != nil {
		t.Fatal(err)
	}
	del, err := c.Delete(ctx, "watch/a")
	if err != nil {
		t.Fatal(err)
	}
	want(t, now, fmt.Sprintf("changes %d put watch/a=2 was 1", put.Revision), fmt.Sprintf("changes %d delete watch/a= was 2", del.Revision))
	want(t, past, fmt.Sprintf("changes %d put watch/a=1", old.Revision), fmt.Sprintf("changes %d put watch/a=2", put.Revision), fmt.Sprintf("changes %d delete watch/a=", del.Revision))
	if got := next(t, state); !strings.HasPrefix(got, "state ") || !strings.HasSuffix(got, " watch/a=1") {
		t.Errorf("got %q", got)
	}
	if got := next(t, state); !strings.HasPrefix(got, "synced ") {
		t.Errorf("got %q", got)
	}
	want(t, state, fmt.Sprintf("changes %d delete watch/a=", del.Revision))
}
