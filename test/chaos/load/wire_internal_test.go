package load

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/kvorum/kvorum/test/chaos/fake"
	"github.com/kvorum/kvorum/test/chaos/record"
	"github.com/kvorum/kvorum/test/history"
)

// TestWire_Outcomes shows the outcome that the clients derive from each answer.
func TestWire_Outcomes(t *testing.T) {
	get, put := request{method: http.MethodGet, key: "k"}, request{method: http.MethodPut, key: "k", value: "v"}
	del := request{method: http.MethodDelete, key: "k"}
	problem := func(status int, code, outcome string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Kvorum-Revision", "3")
			fake.Problem(w, status, code, outcome)
		}
	}
	plain := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Kvorum-Revision", "3")
			w.WriteHeader(status)
		}
	}
	broken := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Kvorum-Revision", "3")
		w.Header().Set("Content-Length", "10")
		panic(http.ErrAbortHandler)
	}
	hangs := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only after this the server notices that the client disconnects
		<-r.Context().Done()
	}
	for name, tt := range map[string]struct {
		request request
		handler http.HandlerFunc
		want    history.Fate
		strange bool // the API has no such answer
	}{
		"Created":             {put, plain(201), history.Acknowledged, false},
		"Replaced":            {put, plain(204), history.Acknowledged, false},
		"Read":                {get, plain(200), history.Acknowledged, false},
		"Deleted":             {del, plain(204), history.Acknowledged, false},
		"NothingToDelete":     {del, problem(404, "key_not_found", "not_done"), history.Acknowledged, false},
		"NothingToRead":       {get, problem(404, "key_not_found", "not_done"), history.Acknowledged, false},
		"ConditionFailed":     {put, problem(412, "condition_failed", "not_done"), history.Acknowledged, false},
		"Unavailable":         {put, problem(503, "no_leader", "not_done"), history.NotDone, false},
		"Overloaded":          {put, problem(429, "overloaded", "not_done"), history.NotDone, false},
		"DiskFull":            {put, problem(507, "disk_full", "not_done"), history.NotDone, false},
		"UnknownOutcome":      {put, problem(504, "unknown_outcome", "unknown"), history.Unknown, false},
		"Internal":            {put, problem(500, "internal", "unknown"), history.Unknown, false},
		"Hangs":               {put, hangs, history.Unknown, false},
		"Breaks":              {put, broken, history.Unknown, false},
		"ReadBreaks":          {get, broken, history.Unknown, false},
		"NoSuchPath":          {get, problem(404, "no_route", "not_done"), history.NotDone, false},
		"PlainError":          {put, plain(500), history.Unknown, true},
		"NoOutcome":           {put, problem(500, "internal", ""), history.Unknown, true},
		"UnavailableAndKnown": {put, problem(503, "x", "unknown"), history.Unknown, true},
		"NoRevision":          {put, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201) }, history.Acknowledged, true},
		"Redirects":           {put, plain(307), history.Unknown, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(tt.handler)
			defer server.Close()
			defer server.CloseClientConnections()
			w := newWire(server.URL)
			defer w.close()
			a := w.do(tt.request, time.Second)
			if a.fate != tt.want || errors.Is(a.err, errAnswer) != tt.strange {
				t.Errorf("got %+v, want fate %d and strange %t", a, tt.want, tt.strange)
			}
		})
	}
	t.Run("RefusesConnections", func(t *testing.T) {
		server := httptest.NewServer(plain(201))
		w := newWire(server.URL)
		defer w.close()
		if a := w.do(put, time.Second); a.fate != history.Acknowledged {
			t.Errorf("before: got %+v", a)
		}
		server.Close()
		for range 2 { // the first may find the old connection broken, and then is not sent
			if a := w.do(put, time.Second); a.fate == history.Acknowledged {
				t.Errorf("got %+v", a)
			}
		}
		if a := w.do(put, time.Second); a.fate != history.NotDone {
			t.Errorf("got %+v, want not done", a)
		}
	})
}

// TestWire_NewConnection shows that the floor of a connection is forgotten with it, and not
// before, also if the first answer of the next one is to a write.
func TestWire_NewConnection(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Kvorum-Revision", "3")
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusCreated)
		}
	}))
	defer server.Close()
	w := newWire(server.URL)
	defer w.close()
	get, put := request{method: http.MethodGet, key: "k"}, request{method: http.MethodPut, key: "k", value: "v"}
	if a := w.do(get, time.Second); a.fate != history.Acknowledged {
		t.Fatalf("got %+v", a)
	}
	w.floor = 7
	if a := w.do(put, time.Second); a.fate != history.Acknowledged || w.floor != 7 {
		t.Errorf("on the same connection: got %+v, floor %d", a, w.floor)
	}
	w.close()
	if a := w.do(put, time.Second); a.fate != history.Acknowledged || w.floor != 0 {
		t.Errorf("on the next one: got %+v, floor %d", a, w.floor)
	}
}

// TestTally shows that seconds, gaps and percentiles are those of the added results.
func TestTally(t *testing.T) {
	began := time.Now().Add(-10 * time.Second)
	l := tally{began: began, kinds: map[string]*record.Operation{}}
	for i := range 100 {
		l.add("put", true, history.Acknowledged, time.Duration(i+1)*time.Millisecond)
	}
	l.add("put", true, history.NotDone, 0)
	l.add("put", true, history.Unknown, 0)
	l.add("get", false, history.Unknown, 0)
	l.add("get", false, history.Acknowledged, 0)
	l.stop()
	seconds := l.all()
	if len(seconds) < 11 || seconds[0].Acknowledged != 0 {
		t.Fatalf("got %d seconds, the first %+v", len(seconds), seconds[0])
	}
	sum, p50, p99 := seconds[10], 0.0, 0.0
	for _, s := range seconds[11:] { // on a slow machine
		sum.Acknowledged, sum.Reads = sum.Acknowledged+s.Acknowledged, sum.Reads+s.Reads
		sum.Refused, sum.Unknown = sum.Refused+s.Refused, sum.Unknown+s.Unknown
	}
	if p50, p99 = seconds[10].P50, seconds[10].P99; len(seconds) == 11 && (p50 != 51 || p99 != 100) {
		t.Errorf("got %v and %v ms", p50, p99)
	}
	if sum.Acknowledged != 100 || sum.Refused != 1 || sum.Unknown != 1 || sum.Reads != 1 {
		t.Errorf("got %+v", sum)
	}
	if at, ok := l.acknowledged(began); !ok || at.Sub(began) < 10*time.Second {
		t.Errorf("the first write was acknowledged at %v, %t", at, ok)
	}
	if _, ok := l.acknowledged(time.Now().Add(time.Second)); ok {
		t.Error("a write was acknowledged in time to come")
	}
	if gap := l.longestGap(began, began.Add(time.Minute)); gap < 40*time.Second || gap > 50*time.Second {
		t.Errorf("the longest gap is %v", gap)
	}
	want := []record.Operation{{Kind: "get", Answered: 1, Unknown: 1}, {Kind: "put", Answered: 100, Refused: 1, Unknown: 1}}
	if kinds := l.operations(); !slices.Equal(kinds, want) {
		t.Errorf("got %v", kinds)
	}
}
