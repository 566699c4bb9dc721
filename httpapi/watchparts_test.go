package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/fsm/watch"
	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// partKeys is a number of keys whose changes at one revision come in three parts.
const partKeys = 2*kv.MaxWatchEvents + 10

// putMany puts partKeys keys at one revision.
func (n *watchedNode) putMany(value string) {
	var pairs []string
	for i := range partKeys {
		pairs = append(pairs, fmt.Sprintf("k%05d", i), value)
	}
	n.put(pairs...)
}

// watchLine is a message of a watch, and the id of its event.
type watchLine struct {
	id       string
	Type     string
	Revision uint64
	Partial  bool
	Events   []struct{ Key string }
	Code     string
	Retry    bool `json:"retryable"`
	Detail   string
}

// message reads the next message, of lines or of events.
func (s *stream) message() (m watchLine) {
	s.t.Helper()
	for {
		line, err := s.body.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		if id, isID := strings.CutPrefix(line, "id: "); isID {
			m.id = strings.TrimSpace(id)
		}
		if line = strings.TrimPrefix(line, "data: "); line[0] != '{' {
			continue
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			s.t.Fatal(err)
		}
		return m
	}
}

// TestWatch_RevisionInParts shows how clients know that a revision is whole: only its last part
// is not partial, and is the only one with an id to continue after.
func TestWatch_RevisionInParts(t *testing.T) {
	for _, accept := range []string{"application/x-ndjson", "text/event-stream"} {
		a, n := mustServeWatches(t, nil)
		n.putMany("x")
		n.putMany("y")
		headers := []string{"Accept", accept, "Last-Event-ID", "1"}
		for range 2 { // the second one continues after a part
			s := a.watch(t, "from_revision=2", headers...)
			s.message()
			for got := 0; got < 2*partKeys; {
				m := s.message()
				for _, e := range m.Events {
					if want := fmt.Sprintf("k%05d", got%partKeys); e.Key != want {
						t.Fatalf("got %q, want %q", e.Key, want)
					}
					got++
				}
				wantID := ""
				if accept == "text/event-stream" && got%partKeys == 0 {
					wantID = fmt.Sprint(m.Revision)
				}
				if m.Type != "changes" || m.Revision != uint64(2+(got-1)/partKeys) || m.Partial != (got%partKeys != 0) || m.id != wantID {
					t.Fatalf("after %d events: got %s %d, partial is %v, id %q", got, m.Type, m.Revision, m.Partial, m.id)
				}
			}
			s.stop()
		}
	}
}

// TestWatch_FutureRevisionHasHeartbeats shows that a watch which waits for its first revision
// is not silent, and that what it sends is nothing to continue after.
func TestWatch_FutureRevisionHasHeartbeats(t *testing.T) {
	a, n := mustServeWatches(t, nil)
	s := a.watch(t, "from_revision=4&progress=100ms")
	s.want(`{"type":"start","revision":3}`, `{"type":"waiting","revision":1}`, `{"type":"waiting","revision":1}`)
	events := a.watch(t, "progress=100ms", "Accept", "text/event-stream", "Last-Event-ID", "3")
	events.want("id: 3", "event: start", `data: {"type":"start","revision":3}`, "",
		"event: waiting", `data: {"type":"waiting","revision":1}`, "")
	n.put("a", "2")
	n.put("a", "3")
	n.put("a", "4")
	for m := s.message(); m.Type != "changes" || m.Revision != 4; m = s.message() {
		if m.Type == "changes" || m.Type == "progress" && m.Revision < 3 {
			t.Fatalf("got %s %d", m.Type, m.Revision)
		}
	}
}

// pipedWatches is piped with a watchedNode, whose state is large.
func pipedWatches(t *testing.T, change func(*httpapi.Config)) (n *watchedNode, client net.Conn, stop func()) {
	t.Helper()
	n = &watchedNode{fakeNode: newFakeNode(), store: mvcc.New(mvcc.Options{})}
	tx := n.store.Begin()
	tx.KeepHistory()
	tx.Commit(nil)
	n.hub = watch.New(n.store)
	value := strings.Repeat("v", 64<<10)
	for i := range 512 {
		n.put(fmt.Sprintf("k%d", i), value)
	}
	_, client, end := piped(t, func(c *httpapi.Config) {
		if c.Node = n; change != nil {
			change(c)
		}
	})
	return n, client, func() {
		end()
		if err := errors.Join(n.hub.Close(), n.store.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestWatch_StateLifetime takes the state of a watch for longer than ListTimeout. The stream
// must end with a message that says so, and let go of its view.
func TestWatch_StateLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, client, stop := pipedWatches(t, func(c *httpapi.Config) { c.ListTimeout = 2 * time.Minute })
		defer stop()
		if _, err := fmt.Fprint(client, "GET /watch?snapshot=true HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		last := lastLine(t, client, time.Second)
		if !strings.HasPrefix(last, `{"type":"end","revision":0,"code":"view_ended","retryable":true,"detail":"`) {
			t.Errorf("the last line is %.200q", last)
		}
		if took := time.Since(began); took < 2*time.Minute || took > 3*time.Minute {
			t.Errorf("the state took %v", took)
		}
		synctest.Wait()
		if views := n.store.Stats().Views; views != 0 {
			t.Errorf("%d views are open", views)
		}
	})
}

// TestWatch_StateOfAReplacedStore replaces the store by one without the state that is being
// sent. The stream must end with a message that says what to do.
func TestWatch_StateOfAReplacedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, client, stop := pipedWatches(t, nil)
		defer stop()
		if _, err := fmt.Fprint(client, "GET /watch?snapshot=true HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the client takes nothing yet
		replaced := n.store
		n.hub.Suspend()
		n.store = mvcc.New(mvcc.Options{})
		tx := n.store.Begin()
		tx.KeepHistory()
		tx.Commit(nil)
		n.hub.Replace(n.store)
		last := lastLine(t, client, 0)
		if !strings.HasPrefix(last, `{"type":"end","revision":0,"code":"behind","retryable":true,"detail":"`) || !strings.Contains(last, "begin the watch again") {
			t.Errorf("the last line is %.300q", last)
		}
		if err := replaced.Close(); err != nil {
			t.Error(err)
		}
	})
}
