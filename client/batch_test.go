package client_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"reflect"
	"slices"
	"testing"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// TestClient_Do carries out all kinds of operations on a real node.
func TestClient_Do(t *testing.T) {
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{endpoint}})
	first, err := c.Do(ctx, kv.Request{
		If: []kv.Compare{kv.Absent("do/a"), {Span: kv.Prefix("do/"), Target: kv.TargetLease, Relation: kv.Equal}},
		Then: []kv.Op{
			{Kind: kv.OpPut, Key: "do/a", Value: []byte("\xff"), Flags: 7, ContentType: "a/b", WantPrev: true},
			{Kind: kv.OpAdd, Key: "do/n", Delta: -3},
			{Kind: kv.OpAppend, Key: "do/log", Value: []byte("line")},
		},
	})
	if err != nil || !first.Succeeded || first.Revision == 0 || len(first.Results) != 3 {
		t.Fatalf("got %+v, %v", first, err)
	}
	if put, add, app := first.Results[0], first.Results[1], first.Results[2]; put.Existed || put.Prev != nil || put.ModRevision != first.Revision || add.Number != -3 || app.Number != 4 {
		t.Errorf("got %+v", first.Results)
	}
	nested := kv.Request{
		If:   []kv.Compare{{Span: kv.One("do/a"), Target: kv.TargetValue, Relation: kv.Equal, Value: []byte("\xff")}, kv.ModRevision("do/a", first.Revision)},
		Then: []kv.Op{{Kind: kv.OpDelete, Span: kv.Span{Start: "do/a", End: "do/b"}, WantPrev: true}, {Kind: kv.OpDelete, Span: kv.One("do/n")}},
	}
	second, err := c.Do(ctx, kv.Request{Then: []kv.Op{
		{Kind: kv.OpRange, Span: kv.Prefix("do/"), Range: &kv.RangeOptions{Limit: 2, KeysOnly: true}},
		{Kind: kv.OpRange, Span: kv.All(), Range: &kv.RangeOptions{CountOnly: true, Revision: first.Revision}},
		{Kind: kv.OpAdd, Key: "do/n2", Delta: 1, WantPrev: true},
		{Kind: kv.OpRequest, Nested: &nested},
	}})
	if err != nil || len(second.Results) != 4 {
		t.Fatalf("got %+v, %v", second, err)
	}
	if r := second.Results[0]; len(r.Items) != 2 || r.Count != 3 || !r.More || r.Items[0].Key != "do/a" || r.Items[0].Value != nil || r.Items[0].Flags != 7 || r.Items[0].ContentType != "a/b" {
		t.Errorf("got %+v", r)
	}
	if r := second.Results[1]; r.Count < 3 || r.Items != nil {
		t.Errorf("got %+v", r)
	}
	in := second.Results[3].Nested
	if in == nil || !in.Succeeded || in.Results[0].Deleted != 1 || string(in.Results[0].Items[0].Value) != "\xff" || !in.Results[1].Existed {
		t.Errorf("got %+v", in)
	}
	other, err := c.Do(ctx, kv.Request{If: []kv.Compare{kv.Present("do/a")}, Then: []kv.Op{{Kind: kv.OpAdd, Key: "do/n"}}, Else: []kv.Op{{Kind: kv.OpRange, Span: kv.One("do/log")}}})
	if err != nil || other.Succeeded || len(other.Results) != 1 || string(other.Results[0].Items[0].Value) != "line" {
		t.Errorf("got %+v, %v", other, err)
	}
	_, err = c.Do(ctx, kv.Request{Then: []kv.Op{{Kind: kv.OpAdd, Key: "do/log", Delta: 1}}})
	if e := wantError(t, err, client.NotDone); e.Code != kv.ErrNotNumber.Code {
		t.Errorf("got %+v", e)
	}
	for _, bad := range []kv.Request{{Then: []kv.Op{{Kind: 99}}}, {If: []kv.Compare{{Span: kv.One("a")}}}} {
		if _, err := c.Do(ctx, bad); !errors.Is(err, client.ErrUsage) {
			t.Errorf("got %v, want ErrUsage", err)
		}
	}
}

// puts yields n puts.
func puts(n int) iter.Seq[kv.Request] {
	return func(yield func(kv.Request) bool) {
		for i := range n {
			if !yield(kv.Put(fmt.Sprintf("batch/%d", i), []byte("x"))) {
				return
			}
		}
	}
}

// outcomes returns the outcome of each request of a batch.
func outcomes(results iter.Seq2[kv.Response, error]) (got []string) {
	for response, err := range results {
		failed := (*client.Error)(nil)
		switch {
		case err == nil && response.Succeeded:
			got = append(got, "ok")
		case errors.As(err, &failed):
			got = append(got, failed.Outcome.String())
		default:
			got = append(got, fmt.Sprint(response, err))
		}
	}
	return got
}

// TestClient_Batch carries out a batch on a real node: requests that fail do not stop others, and
// those of one key are carried out in order.
func TestClient_Batch(t *testing.T) {
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{unreachable(t), endpoint}})
	const n = 1000
	results := 0
	for response, err := range c.Batch(ctx, func(yield func(kv.Request) bool) {
		for i := range n {
			request := kv.Request{Then: []kv.Op{{Kind: kv.OpAdd, Key: "batch/n", Delta: 1}}}
			if i%100 == 50 {
				request.Then[0].Kind = 99 // not sent
			}
			if i%100 == 60 {
				request.Then[0].Key = "" // refused
			}
			if !yield(request) {
				return
			}
		}
	}) {
		switch results % 100 {
		case 50:
			if !errors.Is(err, client.ErrUsage) {
				t.Fatalf("request %d: got %v, want ErrUsage", results, err)
			}
		case 60:
			if e := wantError(t, err, client.NotDone); e.Code != kv.CodeInvalid {
				t.Fatalf("request %d: got %v", results, err)
			}
		default:
			done := results - results/100*2
			if at := results % 100; at > 60 {
				done -= 2
			} else if at > 50 {
				done--
			}
			if err != nil || response.Results[0].Number != int64(done+1) {
				t.Fatalf("request %d: got %+v, %v, want %d", results, response, err, done+1)
			}
		}
		results++
	}
	if results != n {
		t.Errorf("got %d results", results)
	}
	if got := outcomes(c.Batch(ctx, puts(0))); len(got) != 0 {
		t.Errorf("an empty batch: got %v", got)
	}
	for range c.Batch(ctx, puts(n)) {
		break // the loop may be left
	}
}

// TestClient_BatchAnswersWhileItSends takes each request only after the answer to the one before.
func TestClient_BatchAnswersWhileItSends(t *testing.T) {
	c := mustNew(t, client.Config{Endpoints: []string{endpoint}})
	answered := make(chan struct{}, 1)
	answered <- struct{}{}
	n := 0
	for _, err := range c.Batch(t.Context(), func(yield func(kv.Request) bool) {
		for range 5 {
			<-answered
			if !yield(kv.Delete("batch/none")) {
				return
			}
		}
	}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		answered <- struct{}{}
	}
	if n != 5 {
		t.Errorf("got %d results", n)
	}
}

// answerBatch answers the first requests of a batch, and then with end.
func answerBatch(n int, end func(w http.ResponseWriter)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		lines := bufio.NewScanner(r.Body)
		for range n {
			lines.Scan()
			_, _ = io.WriteString(w, `{"succeeded":true,"revision":8,"results":[{"existed":false,"mod_revision":8}]}`+"\n")
		}
		_ = http.NewResponseController(w).Flush()
		end(w)
	}
}

// TestClient_BatchBreaksOff shows the outcome of each request of a batch that a node does not
// answer whole: no result is missing.
func TestClient_BatchBreaksOff(t *testing.T) {
	abort := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	s := serve(t, answerBatch(2, abort))
	c := mustNew(t, client.Config{Endpoints: []string{s.URL}})
	got := outcomes(c.Batch(t.Context(), puts(5)))
	if len(got) < 3 || got[0] != "ok" || got[1] != "ok" || !slices.Contains([]string{"unknown", "not_done"}, got[2]) {
		t.Errorf("got %v", got)
	}
	stopped := func(w http.ResponseWriter) {
		fmt.Fprintf(w, `{"end":false,"count":2,"error":{"title":"Shutting down","code":"shutting_down","status":503,"outcome":"not_done","retryable":true}}`+"\n")
	}
	s = serve(t, answerBatch(2, stopped))
	c = mustNew(t, client.Config{Endpoints: []string{s.URL}})
	if got := outcomes(c.Batch(t.Context(), puts(3))); !slices.Equal(got, []string{"ok", "ok", "not_done"}) {
		t.Errorf("a node that stops: got %v", got)
	}
	refuses := serve(t, problem(429, "overloaded", "Too many", "", "not_done", true))
	other := serve(t, answerBatch(1, func(w http.ResponseWriter) { fmt.Fprintln(w, `{"end":true,"count":1}`) }))
	c = mustNew(t, client.Config{Endpoints: []string{refuses.URL, other.URL}})
	if got := outcomes(c.Batch(t.Context(), puts(1))); !slices.Equal(got, []string{"ok"}) {
		t.Errorf("a node that refuses: got %v", got)
	}
	c = mustNew(t, client.Config{Endpoints: []string{refuses.URL}})
	if got := outcomes(c.Batch(t.Context(), puts(9))); len(got) != 1 || got[0] != "not_done" {
		t.Errorf("no node that takes it: got %v", got)
	}
}

// TestClient_Settings changes the settings of a real node.
func TestClient_Settings(t *testing.T) {
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{endpoint}})
	defaults, err := c.Settings(ctx)
	if err != nil || !reflect.DeepEqual(defaults, kv.Settings{}) {
		t.Fatalf("got %+v, %v", defaults, err)
	}
	set := kv.Settings{History: kv.Retention{MaxAge: 3_600_500_000_000, MaxRevisions: 1 << 40}, MaxRequestOps: 256}
	now, err := c.SetSettings(ctx, set)
	if err != nil || !reflect.DeepEqual(now, set) {
		t.Fatalf("got %+v, %v, want %+v", now, err, set)
	}
	if now, err = c.Settings(ctx); err != nil || !reflect.DeepEqual(now, set) {
		t.Errorf("got %+v, %v, want %+v", now, err, set)
	}
	_, err = c.SetSettings(ctx, kv.Settings{MaxKeyBytes: 1 << 40})
	if e := wantError(t, err, client.NotDone, "max_key_bytes"); e.Code != kv.CodeInvalid {
		t.Errorf("got %+v", e)
	}
	if _, err := c.SetSettings(ctx, kv.Settings{}); err != nil {
		t.Error(err)
	}
	var unknown api.Settings
	unknown.History.MaxAge = "long"
	if _, err := unknown.Settings(); err == nil {
		t.Error("an age that is no duration: got no error")
	}
}
