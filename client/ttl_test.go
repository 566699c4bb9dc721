package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

// The deadline in the answers of these tests.
const (
	deadline     = 1_767_225_630_000
	deadlineText = "2026-01-01T00:00:30.000Z"
)

// TestTTL_Requests checks the request of each call with a time to live, and the deadline in its
// result.
func TestTTL_Requests(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Kvorum-Expires-At", deadlineText)
		w.Header().Set("Kvorum-Expires-In-Ms", "29500")
		_, _ = fmt.Fprint(w, "7")
	})
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{s.URL}})
	put, err := c.PutWith(ctx, "k", []byte("v"), client.Attributes{TTL: 90 * time.Second, Flags: 7}, client.IfAbsent())
	if err != nil || put.Deadline != deadline {
		t.Errorf("put: got %+v, %v", put, err)
	}
	touched, err := c.Touch(ctx, "k", kv.MinTTL, client.IfRevision(7))
	if err != nil || touched.Deadline != deadline {
		t.Errorf("touch: got %+v, %v", touched, err)
	}
	if _, err := c.Persist(ctx, "k", client.IfPresent()); err != nil {
		t.Errorf("persist: %v", err)
	}
	sum, err := c.AddWith(ctx, "k", -2, client.AddOptions{TTL: kv.MaxTTL})
	if err != nil || sum.Number != 7 || sum.Deadline != deadline {
		t.Errorf("add: got %+v, %v", sum, err)
	}
	read, err := c.Get(ctx, "k", client.ReadOptions{})
	if err != nil || read.Deadline != deadline || read.TTL != 29500*time.Millisecond {
		t.Errorf("get: got %+v, %v", read, err)
	}
	var got []string
	for _, r := range s.seen() {
		got = append(got, fmt.Sprint(r.Method, " ", r.URL.RequestURI(), " ", r.Header.Get("If-Match"), r.Header.Get("If-None-Match"), r.Header.Get("Kvorum-Flags")))
	}
	if want := []string{
		`PUT /kv/k?ttl=1m30s *7`, `POST /kv/k?op=touch&ttl=1ms "7"`, `POST /kv/k?op=persist *`,
		`POST /kv/k?delta=-2&op=incr&ttl=876000h0m0s `, `GET /kv/k?consistency=linearizable `,
	}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestTTL_Usage checks that a time to live that no node takes is refused before anything is sent.
func TestTTL_Usage(t *testing.T) {
	s := serve(t, ok)
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{s.URL}})
	for _, ttl := range []time.Duration{0, -1, -time.Second, 1, kv.MinTTL - 1, kv.MinTTL + 1, 1500 * time.Microsecond, kv.MaxTTL + kv.MinTTL, 1<<63 - 1, -1 << 63} {
		_, touch := c.Touch(ctx, "k", ttl)
		errs := []error{touch}
		if ttl != 0 {
			_, put := c.PutWith(ctx, "k", nil, client.Attributes{TTL: ttl})
			_, add := c.AddWith(ctx, "k", 1, client.AddOptions{TTL: ttl})
			_, do := c.Do(ctx, kv.PutTTL("k", nil, ttl))
			errs = append(errs, put, add, do)
		}
		for i, err := range errs {
			if wantError(t, err, client.NotDone, "the time to live is"); !errors.Is(err, client.ErrUsage) {
				t.Errorf("%v, call %d: got %v, want ErrUsage", ttl, i, err)
			}
		}
	}
	if n := len(s.seen()); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}

// TestTTL_BadDeadline checks that a deadline which can't be read does not count as none.
func TestTTL_BadDeadline(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Kvorum-Expires-At", "soon") })
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{s.URL}})
	_, err := c.Get(ctx, "k", client.ReadOptions{})
	wantError(t, err, client.NotDone, "soon")
	_, err = c.Touch(ctx, "k", time.Second)
	wantError(t, err, client.Done, "soon")
	_, err = c.Add(ctx, "k", 1)
	wantError(t, err, client.Done, "soon")
}

// TestTTL_Listing checks what is left of items by the clock of the listing's state.
func TestTTL_Listing(t *testing.T) {
	s := serve(t, turns(
		lines(`{"key":"a","value":"x"}`, `{"key":"b","value":"y","expires_at":"`+deadlineText+`","ttl_ms":29500}`, `{"end":true,"count":2}`, "whole"),
		lines(`{"key":"b","value":"y","expires_at":"`+deadlineText+`"}`, `{"end":true,"count":1}`, "whole"),
	))
	c := mustNew(t, client.Config{Endpoints: []string{s.URL}})
	var got []string
	for range 2 {
		list, err := c.List(t.Context(), client.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for it, err := range list.All() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(it.Key, " ", it.Deadline, " ", list.TTL(it)))
		}
	}
	if want := []string{"a 0 0s", "b 1767225630000 29.5s", "b 1767225630000 0s"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestTTL_Node follows keys with a time to live through a real node, from each call to the
// events of a watch.
func TestTTL_Node(t *testing.T) {
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{endpoint}})
	const short, long = "ttl/short", "ttl/long"
	w := mustWatch(t, c, client.WatchOptions{Span: kv.One(short), PrevItems: true})
	put, err := c.PutWith(ctx, short, []byte("v"), client.Attributes{TTL: 300 * time.Millisecond})
	if err != nil || put.Deadline == 0 {
		t.Fatalf("put: got %+v, %v", put, err)
	}
	done, err := c.Do(ctx, kv.Request{Then: []kv.Op{
		{Kind: kv.OpAdd, Key: long, Delta: 1, TTL: time.Hour},
		{Kind: kv.OpRange, Span: kv.One(long)},
	}})
	if err != nil || done.Results[0].Deadline == 0 || done.Results[1].Items[0].Deadline != done.Results[0].Deadline {
		t.Fatalf("do: got %+v, %v", done, err)
	}
	b, err := w.Next()
	if err != nil || b.Events[0].Item.Deadline != put.Deadline || b.Revision != put.Revision {
		t.Fatalf("watch: got %+v, %v", b, err)
	}
	b, err = w.Next()
	if err != nil || b.Events[0].Kind != kv.EventExpire || b.Events[0].Item.Key != short || b.Events[0].Prev.Deadline != put.Deadline {
		t.Fatalf("watch: got %+v, %v, want the key's end", b, err)
	}
	if _, err := c.Get(ctx, short, client.ReadOptions{}); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("get of the expired key: got %v", err)
	}
	past, err := c.Get(ctx, short, client.ReadOptions{Revision: b.Revision - 1})
	if err != nil || past.Deadline != put.Deadline || past.TTL != 0 {
		t.Errorf("get of the past: got %+v, %v", past, err)
	}
	if _, err := c.Touch(ctx, short, time.Hour); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("touch of the expired key: got %v", err)
	}
	checkLong(ctx, t, c, long)
}

// checkLong changes the deadline of a key that is the number 1 and has a time to live of an hour.
func checkLong(ctx context.Context, t *testing.T, c *client.Client, key string) {
	t.Helper()
	near := func(what string, left, most time.Duration) {
		t.Helper()
		if left <= most-time.Minute || left > most {
			t.Errorf("%s: %v are left, want at most %v", what, left, most)
		}
	}
	read, err := c.Get(ctx, key, client.ReadOptions{})
	if near("made", read.TTL, time.Hour); err != nil {
		t.Fatal(err)
	}
	kept, err := c.AddWith(ctx, key, 1, client.AddOptions{TTL: time.Second})
	if err != nil || kept.Number != 2 || kept.Deadline != read.Deadline {
		t.Errorf("add: got %+v, %v, want the deadline %d", kept, err, read.Deadline)
	}
	once := client.WithIdempotencyKey(ctx, "touch of "+key)
	touched, err := c.Touch(once, key, 5*time.Hour, client.IfRevision(kept.Revision))
	if err != nil || touched.Revision != kept.Revision+1 || touched.Deadline < read.Deadline+3*time.Hour.Milliseconds() {
		t.Errorf("touch: got %+v, %v", touched, err)
	}
	if again, err := c.Touch(once, key, 5*time.Hour, client.IfRevision(kept.Revision)); err != nil || !again.Replayed || again.Deadline != touched.Deadline {
		t.Errorf("the same touch again: got %+v, %v, want the deadline %d", again, err, touched.Deadline)
	}
	list, err := c.List(ctx, client.ListOptions{Prefix: key})
	if err != nil {
		t.Fatal(err)
	}
	for it, err := range list.All() {
		if near("listed", list.TTL(it), 5*time.Hour); err != nil || it.Deadline != touched.Deadline {
			t.Errorf("list: got %+v, %v", it, err)
		}
	}
	persisted, err := c.Persist(ctx, key)
	if err != nil || persisted.Deadline != 0 || persisted.Revision != touched.Revision+1 {
		t.Errorf("persist: got %+v, %v", persisted, err)
	}
	again, err := c.Persist(ctx, key)
	if err != nil || again.Revision < persisted.Revision {
		t.Errorf("persist again: got %+v, %v", again, err)
	}
	if read, err := c.Get(ctx, key, client.ReadOptions{}); err != nil || read.Deadline != 0 || read.TTL != 0 || string(read.Value) != "2" || read.ModRevision != persisted.Revision {
		t.Errorf("get: got %+v, %v", read, err)
	}
}
