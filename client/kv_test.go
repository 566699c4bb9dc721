package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

// TestClient_KeysSurvive shows that a key of any bytes reaches a node unchanged.
func TestClient_KeysSurvive(t *testing.T) {
	c := mustNew(t, client.Config{Endpoints: []string{endpoint}})
	roundTrip := func(t interface{ Fatalf(string, ...any) }, key string) {
		ctx, want := context.Background(), fmt.Sprintf("value of %q", key)
		written, err := c.Put(ctx, key, []byte(want))
		if err != nil {
			t.Fatalf("put %q: %v", key, err)
		}
		got, err := c.Get(ctx, key, client.ReadOptions{})
		if err != nil || string(got.Value) != want || got.ModRevision != written.Revision {
			t.Fatalf("get %q: got %q, %+v, %v, want %q of %+v", key, got.Value, got, err, want, written)
		}
		list, err := c.List(ctx, client.ListOptions{Prefix: key, Limit: 1})
		if err != nil {
			t.Fatalf("list %q: %v", key, err)
		}
		for item, err := range list.All() {
			if err != nil || item.Key != key || string(item.Value) != want || item.ModRevision != written.Revision {
				t.Fatalf("list %q: got %q, %v", key, item.Key, err)
			}
		}
		if _, err := c.Delete(ctx, key); err != nil {
			t.Fatalf("delete %q: %v", key, err)
		}
	}
	for _, key := range []string{
		".", "..", "/", "//", "a//b", "/a", "a/", "a/./b", "a/../b", "../../etc", "...", ".a", "a.b",
		"%2F", "%", "a b", "a+b", "a?b=c", "a#b", "\x00", "\xff\xfe", "ü", "a\nb", "\\", ":", "a;b", "*",
	} {
		roundTrip(t, key)
	}
	rapid.Check(t, func(t *rapid.T) {
		roundTrip(t, rapid.OneOf(
			rapid.StringOfN(rapid.RuneFrom([]rune("./%+a ")), 1, 12, -1),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 40), func(b []byte) string { return string(b) }),
		).Draw(t, "key"))
	})
}

// TestClient_EmptyKey shows that every call refuses the empty key, whose path is that of a
// list.
func TestClient_EmptyKey(t *testing.T) {
	s := serve(t, ok)
	c := mustNew(t, client.Config{Endpoints: []string{s.URL}})
	_, get := c.Get(t.Context(), "", client.ReadOptions{})
	_, put := c.Put(t.Context(), "", nil)
	_, del := c.Delete(t.Context(), "")
	_, touch := c.Touch(t.Context(), "", time.Second)
	_, persist := c.Persist(t.Context(), "")
	_, add := c.Add(t.Context(), "", 1)
	for _, err := range []error{get, put, del, touch, persist, add} {
		if wantError(t, err, client.NotDone, "the key is empty"); !errors.Is(err, client.ErrUsage) {
			t.Errorf("got %v, want ErrUsage", err)
		}
	}
	if n := len(s.seen()); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}

// TestClient_ContentTypes shows that a content type is stored as it is, or is refused before
// anything is sent.
func TestClient_ContentTypes(t *testing.T) {
	c := mustNew(t, client.Config{Endpoints: []string{endpoint}})
	for _, contentType := range []string{"text/html; charset=\"x\"", "Application/X-WWW-Form-Urlencoded", "a", strings.Repeat("a", kv.MaxContentTypeBytes)} {
		if _, err := c.PutWith(t.Context(), "type", nil, client.Attributes{ContentType: contentType}); err != nil {
			t.Fatalf("%q: %v", contentType, err)
		}
		if got, err := c.Get(t.Context(), "type", client.ReadOptions{}); err != nil || got.ContentType != contentType {
			t.Errorf("got %q, %v, want %q", got.ContentType, err, contentType)
		}
	}
	s := serve(t, ok)
	c = mustNew(t, client.Config{Endpoints: []string{s.URL}})
	for _, contentType := range []string{" a/b", "a/b ", "a\x00b", "a\nb", "é", "application/x-www-form-urlencoded", strings.Repeat("a", kv.MaxContentTypeBytes+1)} {
		_, err := c.PutWith(t.Context(), "type", nil, client.Attributes{ContentType: contentType})
		if e := wantError(t, err, client.NotDone, "content type"); e.Retryable || !errors.Is(err, client.ErrUsage) {
			t.Errorf("%q: got %v, want ErrUsage", contentType, err)
		}
	}
	if n := len(s.seen()); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}

// TestClient_Conditions shows which writes each condition allows.
func TestClient_Conditions(t *testing.T) {
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{endpoint}})
	const key = "conditions"
	refused := func(what string, err error, current uint64) {
		t.Helper()
		if !errors.Is(err, client.ErrConditionFailed) {
			t.Fatalf("%s: got %v, want ErrConditionFailed", what, err)
		}
		e := wantError(t, err, client.NotDone, "Condition failed")
		if e.Code != "condition_failed" || e.Status != http.StatusPreconditionFailed || e.Retryable || e.ModRevision != current || e.Revision < current {
			t.Errorf("%s: got %+v, want the key's revision %d", what, e, current)
		}
	}
	_, err := c.Put(ctx, key, nil, client.IfPresent())
	refused("present, absent", err, 0)
	first, err := c.Put(ctx, key, nil, client.IfAbsent())
	if err != nil || !first.Created {
		t.Fatalf("absent: got %+v, %v", first, err)
	}
	_, err = c.Put(ctx, key, []byte("x"), client.IfAbsent())
	refused("absent, present", err, first.Revision)
	second, err := c.Put(ctx, key, []byte("x"), client.IfRevision(first.Revision))
	if err != nil || second.Created || second.Revision <= first.Revision {
		t.Fatalf("revision: got %+v, %v", second, err)
	}
	_, err = c.Delete(ctx, key, client.IfRevision(first.Revision))
	refused("old revision", err, second.Revision)
	if _, err := c.Put(ctx, key, nil, client.IfAbsent(), client.IfPresent()); !errors.Is(err, client.ErrUsage) {
		t.Errorf("two conditions: got %v, want ErrUsage", err)
	}
	if _, err := c.Put(ctx, key, []byte("y"), client.Condition{}); err != nil {
		t.Errorf("the zero condition: %v", err)
	}
	gone, err := c.Delete(ctx, key, client.IfPresent())
	if err != nil || gone.Revision <= second.Revision {
		t.Errorf("delete: got %+v, %v", gone, err)
	}
	_, err = c.Delete(ctx, key)
	if !errors.Is(err, client.ErrNotFound) {
		t.Errorf("delete again: got %v, want ErrNotFound", err)
	}
	_, err = c.Get(ctx, key, client.ReadOptions{})
	e := wantError(t, err, client.NotDone, "Key not found: there is no such key")
	if !errors.Is(err, client.ErrNotFound) || e.Revision < gone.Revision || e.Endpoint != "http://"+endpoint {
		t.Errorf("get: got %+v, want ErrNotFound at revision %d or later", e, gone.Revision)
	}
}

// TestClient_ReadOptions shows the request of each read option.
func TestClient_ReadOptions(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/kv/" {
			_, _ = io.WriteString(w, `{"end":true,"count":0}`+"\n")
		}
	})
	c := mustNew(t, client.Config{Endpoints: []string{s.URL}})
	for _, tc := range []struct {
		options client.ReadOptions
		want    string // "" is a refusal
	}{
		{client.ReadOptions{}, "consistency=linearizable"},
		{client.ReadOptions{Level: client.Linearizable, MinRevision: 7}, "consistency=linearizable&min_revision=7"},
		{client.ReadOptions{Level: client.LeaderLocal}, "consistency=leader"},
		{client.ReadOptions{Level: client.Stale, MaxStale: 1500 * time.Millisecond}, "consistency=stale&max_stale=1.5s"},
		{client.ReadOptions{Level: "eventual"}, ""},
		{client.ReadOptions{MaxStale: time.Second}, ""},
		{client.ReadOptions{Level: client.Stale, MaxStale: -1}, ""},
	} {
		before := len(s.seen())
		_, get := c.Get(t.Context(), "k", tc.options)
		list, err := c.List(t.Context(), client.ListOptions{ReadOptions: tc.options})
		if tc.want == "" {
			if !errors.Is(get, client.ErrUsage) || !errors.Is(err, client.ErrUsage) || !errors.Is(tc.options.Validate(), client.ErrUsage) || len(s.seen()) != before {
				t.Errorf("%+v: got %v and %v, want ErrUsage", tc.options, get, err)
			}
			continue
		}
		if get != nil || err != nil || tc.options.Validate() != nil {
			t.Fatalf("%+v: got %v and %v", tc.options, get, err)
		}
		list.Close()
		if got := s.seen()[before].URL.RawQuery; got != tc.want {
			t.Errorf("get: got %q, want %q", got, tc.want)
		}
		if got, want := s.seen()[before+1].URL.RawQuery, tc.want+"&prefix="; got != want {
			t.Errorf("list: got %q, want %q", got, want)
		}
	}
	// A node accepts each of them.
	real := mustNew(t, client.Config{Endpoints: []string{endpoint}})
	w, err := real.Put(t.Context(), "read-options", []byte("v"))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []client.ReadOptions{{}, {Level: client.LeaderLocal}, {Level: client.Stale, MaxStale: time.Minute, MinRevision: w.Revision}} {
		if got, err := real.Get(t.Context(), "read-options", o); err != nil || string(got.Value) != "v" || got.Revision < w.Revision {
			t.Errorf("%+v: got %+v, %v", o, got, err)
		}
	}
}

// TestPut_LargeValuesAwaitConsent shows that a refusal comes before a large value is sent.
func TestPut_LargeValuesAwaitConsent(t *testing.T) {
	refuse := problem(http.StatusRequestEntityTooLarge, "too_large", "Too large", "value: limit 3 bytes", "not_done", false)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 4 {
			refuse(w, r)
		}
	})
	c := mustNew(t, client.Config{Endpoints: []string{s.URL}})
	if _, err := c.Put(t.Context(), "k", []byte("tiny")); err != nil {
		t.Error(err)
	}
	_, err := c.Put(t.Context(), "k", make([]byte, 2<<20))
	wantError(t, err, client.NotDone, "Too large: value: limit 3 bytes")
	for i, want := range []string{"", "100-continue"} {
		if got := s.seen()[i].Header.Get("Expect"); got != want {
			t.Errorf("request %d: got Expect %q, want %q", i, got, want)
		}
	}
}

// TestClient_ValueIsReturned refuses a put before its body has arrived. The caller may then
// use the value's memory again; the race detector finds out if the client still reads it.
func TestClient_ValueIsReturned(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		problem(http.StatusTooManyRequests, "overloaded", "Too many", "", "not_done", true)(w, r)
	})
	c := mustNew(t, client.Config{Endpoints: []string{s.URL}})
	value := make([]byte, 1<<20)
	for i := range 20 {
		_, err := c.Put(t.Context(), "k", value)
		for k := range value {
			value[k] = byte(i)
		}
		wantError(t, err, client.NotDone, "Too many")
	}
}
