package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/fsm/watch"
	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// watchedNode is a fakeNode with reads of keys and watches of a store of its own.
type watchedNode struct {
	*fakeNode
	store   *mvcc.Store
	hub     *watch.Hub
	options kv.WatchOptions // of the last watch
}

func (n *watchedNode) Watch(ctx context.Context, options kv.WatchOptions) (kv.Watch, error) {
	n.options = options
	if err := n.begin(ctx, "watch", ""); err != nil {
		return nil, err
	}
	return n.hub.Watch(options)
}

func (n *watchedNode) Get(ctx context.Context, key string, options kv.ReadOptions) (kv.ReadResult, error) {
	if err := n.begin(ctx, "get", key); err != nil {
		return kv.ReadResult{}, err
	}
	if options.MinRevision > n.store.Revision() {
		return kv.ReadResult{}, kv.ErrBehind
	}
	item, revision, found := n.store.Get(key)
	return kv.ReadResult{Item: item, Revision: revision, Found: found}, nil
}

// put puts keys with a value at one revision; a value of "" deletes.
func (n *watchedNode) put(pairs ...string) {
	entry := n.hub.Begin()
	tx := n.store.Begin()
	tx.NextRequest()
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			tx.Delete(pairs[i], 0)
		} else {
			tx.Put(kv.Item{Key: pairs[i], Value: []byte(pairs[i+1]), Flags: uint32(len(pairs[i]) - 1)})
		}
		entry.Changed(pairs[i], tx.Revision())
	}
	tx.Commit(nil)
	entry.Published(n.store.Revision())
}

func (n *watchedNode) compact(revision uint64) {
	tx := n.store.Begin()
	_ = tx.Compact(revision)
	tx.Commit(nil)
}

// mustWatchAPI returns a server of a watchedNode at revision 1, which is only a handler.
func mustWatchAPI(t *testing.T, change func(*httpapi.Config)) (*api, *watchedNode) {
	t.Helper()
	n := mustWatchedNode(t)
	return mustAPI(t, withNode(n, change)), n
}

// mustServeWatches returns a server of a watchedNode at revision 1.
func mustServeWatches(t *testing.T, change func(*httpapi.Config)) (*api, *watchedNode) {
	t.Helper()
	n := mustWatchedNode(t)
	return mustServe(t, withNode(n, change)), n
}

// mustWatchedNode returns a watchedNode, closed with the test.
func mustWatchedNode(t *testing.T) *watchedNode {
	n := &watchedNode{fakeNode: newFakeNode(), store: mvcc.New(mvcc.Options{})}
	tx := n.store.Begin()
	tx.KeepHistory()
	tx.Commit(nil)
	n.hub = watch.New(n.store)
	t.Cleanup(func() { _ = errors.Join(n.hub.Close(), n.store.Close()) })
	return n
}

// withNode returns a change of a configuration that also sets its node.
func withNode(n httpapi.Node, change func(*httpapi.Config)) func(*httpapi.Config) {
	return func(cfg *httpapi.Config) {
		cfg.Node = n
		if change != nil {
			change(cfg)
		}
	}
}

// stream is a watch over HTTP.
type stream struct {
	t    *testing.T
	resp *http.Response
	body *bufio.Reader
	stop context.CancelFunc
}

// watch begins a watch; headers are pairs.
func (a *api) watch(t *testing.T, query string, headers ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+a.addr+"/watch?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return &stream{t, resp, bufio.NewReader(resp.Body), cancel}
}

// want reads lines and compares them.
func (s *stream) want(lines ...string) {
	s.t.Helper()
	for _, want := range lines {
		got, err := s.body.ReadString('\n')
		if err != nil || got != want+"\n" {
			s.t.Fatalf("got %q and %v, want %q", got, err, want)
		}
	}
}

// wantEnd checks that the stream ends whole.
func (s *stream) wantEnd() {
	s.t.Helper()
	if rest, err := io.ReadAll(s.body); err != nil || len(rest) > 0 {
		s.t.Fatalf("got %q and %v, want the end", rest, err)
	}
}

func TestWatch_Lines(t *testing.T) {
	a, n := mustServeWatches(t, nil)
	n.put("a", "x", "other", "x")
	s := a.watch(t, "prefix=a&prev=true")
	if got := s.resp.Header; s.resp.StatusCode != 200 || got.Get("Content-Type") != "application/x-ndjson" || got.Get("Kvorum-Node") != "n1" {
		t.Errorf("got %d %v", s.resp.StatusCode, got)
	}
	s.want(`{"type":"start","revision":2}`)
	n.put("a", "y", "other", "y", "ab", "\xff")
	n.put("other", "z")
	n.put("a", "")
	s.want(`{"type":"changes","revision":3,"events":[{"op":"put","key":"a","value":"y","create_revision":2,"mod_revision":3,"version":2,"prev":{"key":"a","value":"x","create_revision":2,"mod_revision":2,"version":1}},{"op":"put","key":"ab","value_b64":"/w==","create_revision":3,"mod_revision":3,"version":1,"flags":1}]}`,
		`{"type":"changes","revision":5,"events":[{"op":"delete","key":"a","mod_revision":5,"prev":{"key":"a","value":"y","create_revision":2,"mod_revision":3,"version":2}}]}`)
	s.stop()
	poll(t, "the watch to end", func() bool { return n.hub.Len() == 0 })
}

func TestWatch_ServerSentEvents(t *testing.T) {
	a, n := mustServeWatches(t, nil)
	n.put("a", "x")
	s := a.watch(t, "key=a&snapshot=true&progress=100ms", "Accept", "text/html, text/event-stream;q=0.9")
	if got := s.resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type %q", got)
	}
	s.want("event: state", `data: {"type":"state","revision":2,"items":[{"key":"a","value":"x","create_revision":2,"mod_revision":2,"version":1}]}`, "",
		"id: 2", "event: synced", `data: {"type":"synced","revision":2}`, "",
		"id: 2", "event: progress", `data: {"type":"progress","revision":2}`, "")
	s.stop()
	n.put("a", "y")
	n.put("b", "y")
	s = a.watch(t, "key=a&snapshot=true", "Accept", "text/event-stream", "Last-Event-ID", "2")
	s.want("id: 2", "event: start", `data: {"type":"start","revision":2}`, "",
		"id: 3", "event: changes", `data: {"type":"changes","revision":3,"events":[{"op":"put","key":"a","value":"y","create_revision":2,"mod_revision":3,"version":2}]}`, "")
}

// TestWatch_Compacted shows what a client gets that is too late: a status if it begins there,
// a message if that happens meanwhile.
func TestWatch_Compacted(t *testing.T) {
	a, n := mustServeWatches(t, nil)
	for i := range 10 {
		n.put("a", fmt.Sprint(i))
	}
	n.compact(5)
	for _, headers := range [][]string{nil, {"Accept", "text/event-stream", "Last-Event-ID", "2"}} {
		s := a.watch(t, "from_revision=3", headers...)
		var p problem
		if err := json.NewDecoder(s.body).Decode(&p); err != nil || s.resp.StatusCode != http.StatusGone || p.Code != "compacted" {
			t.Errorf("%v: got %d %+v %v", headers, s.resp.StatusCode, p, err)
		}
	}
}

// TestWatch_Overtaken compacts the history that a client has not read, because it reads
// nothing.
func TestWatch_Overtaken(t *testing.T) {
	// The client reads nothing for as long as the puts take.
	a, n := mustServeWatches(t, func(cfg *httpapi.Config) { cfg.StallTimeout = time.Hour })
	s := a.watch(t, "key=a")
	s.want(`{"type":"start","revision":1}`)
	value := strings.Repeat("v", 1<<20)
	for i := range 64 { // more than the buffers of the network
		n.put("a", fmt.Sprint(i, value))
	}
	n.compact(65)
	var last string
	revision := uint64(1)
	for {
		line, err := s.body.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		var m struct {
			Type     string `json:"type"`
			Revision uint64 `json:"revision"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if last = m.Type; last == "changes" {
			if revision++; m.Revision != revision {
				t.Fatalf("revision %d after %d", m.Revision, revision-1)
			}
		} else if line != fmt.Sprintf(`{"type":"compacted","revision":%d,"compact_revision":65}`+"\n", revision) {
			t.Errorf("last line %q after revision %d", line, revision)
		}
	}
	if last != "compacted" {
		t.Errorf("the last message is of type %q", last)
	}
}

// TestWatch_ServerStops shows that watches end whole when the server stops or the node is
// closed.
func TestWatch_ServerStops(t *testing.T) {
	for name, stop := range map[string]func(*api, *watchedNode) error{
		"server": func(a *api, _ *watchedNode) error { return a.server.Shutdown(context.Background()) },
		"node":   func(_ *api, n *watchedNode) error { return n.hub.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			a, n := mustServeWatches(t, nil)
			s := a.watch(t, "from_revision=1", "Accept", "text/event-stream")
			s.want("id: 0", "event: start", `data: {"type":"start","revision":0}`, "")
			stopped := make(chan error, 1)
			go func() { stopped <- stop(a, n) }()
			s.want("event: end", `data: {"type":"end","revision":1,"code":"shutting_down","retryable":true,"detail":"this node is shutting down"}`, "")
			s.wantEnd()
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWatch_StopsBeforeTheRestOfItsState shows that a watch with more to send than its client
// has taken ends with its next message when the server stops.
func TestWatch_StopsBeforeTheRestOfItsState(t *testing.T) {
	a, n := mustServeWatches(t, nil)
	value := strings.Repeat("v", 64<<10)
	for i := range 512 { // more than a connection holds
		n.put(fmt.Sprintf("k%d", i), value)
	}
	s := a.watch(t, "snapshot=true")
	if first, err := s.body.ReadString('\n'); err != nil || !strings.HasPrefix(first, `{"type":"state"`) {
		t.Fatalf("got %.100q, %v", first, err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- a.server.Shutdown(context.Background()) }()
	poll(t, "the server to stop", func() bool {
		c, err := net.Dial("tcp", a.addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	rest, err := io.ReadAll(s.body)
	if err != nil || !bytes.Contains(rest, []byte(`{"type":"end",`)) || bytes.Contains(rest, []byte(`{"type":"synced"`)) {
		t.Errorf("the stream ends with %.200q, %v, want an end before its whole state", rest[max(0, len(rest)-200):], err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestWatch_StreamsHaveTheirOwnLimit shows that watches do not count as requests in flight,
// and that their number has a limit.
func TestWatch_StreamsHaveTheirOwnLimit(t *testing.T) {
	a, n := mustServeWatches(t, func(cfg *httpapi.Config) { cfg.MaxStreams, cfg.MaxInflightRequests = 2, 1 })
	first := a.watch(t, "")
	first.want(`{"type":"start","revision":1}`)
	a.watch(t, "").want(`{"type":"start","revision":1}`)
	if got := a.watch(t, "").resp.StatusCode; got != http.StatusTooManyRequests {
		t.Errorf("one more watch: got %d", got)
	}
	if got := a.do("PUT", "/kv/a", "x").Code; got != http.StatusCreated {
		t.Errorf("a put: got %d", got)
	}
	first.stop()
	poll(t, "the watch to end", func() bool { return n.hub.Len() == 1 })
	poll(t, "another watch", func() bool { return a.watch(t, "").resp.StatusCode == http.StatusOK })
}

func TestWatch_Parameters(t *testing.T) {
	a, n := mustServeWatches(t, nil)
	for query, want := range map[string]kv.WatchOptions{
		"":                                 {Progress: 15 * time.Second, Level: kv.Linearizable},
		"start=a&end=b&ops=put":            {Span: kv.Span{Start: "a", End: "b"}, Kinds: kv.Kinds(kv.EventPut), Progress: 15 * time.Second, Level: kv.Linearizable},
		"prefix=a&from_revision=1":         {Span: kv.Prefix("a"), From: 1, Progress: 15 * time.Second, Level: kv.Linearizable},
		"key=%00&ops=delete,expire":        {Span: kv.One("\x00"), Kinds: kv.Kinds(kv.EventDelete, kv.EventExpire), Progress: 15 * time.Second, Level: kv.Linearizable},
		"progress=1s&prev=true":            {Progress: time.Second, PrevItems: true, Level: kv.Linearizable},
		"consistency=stale&min_revision=1": {Progress: 15 * time.Second, Level: kv.Stale, MinRevision: 1},
	} {
		s := a.watch(t, query)
		s.want(fmt.Sprintf(`{"type":"start","revision":%d}`, 1-want.From))
		if n.options != want {
			t.Errorf("%q: got %+v, want %+v", query, n.options, want)
		}
		s.stop()
	}
	for _, query := range []string{
		"key=a&prefix=a", "key=", "key=a&start=b", "end=", "prefix=a&start=b", "start=b&end=a", "from_revision=0", "from_revision=-1", "from_revision=x",
		"from_revision=9223372036854775808", "from_revision=2&snapshot=true", "snapshot=yes", "ops=", "ops=put,,delete", "ops=all", "progress=1ms", "progress=2h",
		"progress=10", "limit=1", "key=a&key=b", "max_stale=1s", "consistency=none",
		"from_revision=1&min_revision=1", "from_revision=1&consistency=stale",
	} {
		expectProblem(t, a.do("GET", "/watch?"+query, ""), http.StatusBadRequest, "invalid")
	}
	expectProblem(t, a.do("GET", "/watch?key="+strings.Repeat("k", 1025), ""), http.StatusRequestEntityTooLarge, "too_large")
	expectProblem(t, a.do("GET", "/watch", "", "Accept", "text/event-stream", "Last-Event-ID", "x"), http.StatusBadRequest, "invalid")
	expectProblem(t, a.do("POST", "/watch", ""), http.StatusMethodNotAllowed, "method_not_allowed")
}
