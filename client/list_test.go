package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

// keys returns the keys of a listing, and the error that ended it.
func keys(list *client.Listing) (keys []string, err error) {
	for item, err := range list.All() {
		if err != nil {
			return keys, err
		}
		keys = append(keys, item.Key)
	}
	return keys, nil
}

// TestList_Pages shows that the pages of a list make the whole list.
func TestList_Pages(t *testing.T) {
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{endpoint}})
	want := []string{"pages/", "pages/a", "pages/b b", "pages/\xff"}
	var last client.WriteResult
	for _, key := range want {
		var err error
		if last, err = c.Put(ctx, key, []byte("v\xff")); err != nil {
			t.Fatal(err)
		}
		defer c.Delete(ctx, key)
	}
	for limit := range 6 {
		var got []string
		for start := ""; ; {
			list, err := c.List(ctx, client.ListOptions{Prefix: "pages/", Start: start, Limit: limit, KeysOnly: limit%2 == 1})
			if err != nil {
				t.Fatal(err)
			}
			if list.Revision < last.Revision {
				t.Errorf("got revision %d, want %d or later", list.Revision, last.Revision)
			}
			page, err := keys(list)
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, page...); list.Next() == "" {
				break
			}
			start = list.Next()
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: got %q, want %q", limit, got, want)
		}
	}
	list, err := c.List(ctx, client.ListOptions{Prefix: "pages/\xff", KeysOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	for item, err := range list.All() {
		want := kv.Item{Key: "pages/\xff", CreateRevision: last.Revision, ModRevision: last.Revision, Version: 1}
		if err != nil || item.Key != want.Key || item.Value != nil || item.ModRevision != want.ModRevision || item.CreateRevision != want.CreateRevision || item.Version != 1 {
			t.Errorf("got %+v, %v, want %+v", item, err, want)
		}
	}
	if _, err := c.List(ctx, client.ListOptions{Limit: -1}); !errors.Is(err, client.ErrUsage) {
		t.Errorf("a negative limit: got %v, want ErrUsage", err)
	}
}

// TestList_EndsEarly shows that a loop may be left, and that a listing may be closed
// unread and twice.
func TestList_EndsEarly(t *testing.T) {
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{endpoint}})
	for _, key := range []string{"early/a", "early/b"} {
		if _, err := c.Put(ctx, key, make([]byte, 512<<10)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		list, err := c.List(ctx, client.ListOptions{Prefix: "early/"})
		if err != nil {
			t.Fatal(err)
		}
		for item, err := range list.All() {
			if err != nil || item.Key != "early/a" {
				t.Fatalf("got %q, %v", item.Key, err)
			}
			break
		}
		list.Close()
		if list, err = c.List(ctx, client.ListOptions{Prefix: "early/"}); err != nil {
			t.Fatal(err)
		}
		list.Close()
		if _, err := keys(list); err == nil {
			t.Error("a listing that was closed: got no error")
		}
	}
}

// TestList_CutStreamIsAnError shows that an incomplete list is always an error.
func TestList_CutStreamIsAnError(t *testing.T) {
	flushed := func(w http.ResponseWriter) {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	for name, tc := range map[string]struct {
		end  func(http.ResponseWriter)
		part string
	}{
		"in a line":     {func(w http.ResponseWriter) { fmt.Fprint(w, `{"key":"b","val`); flushed(w) }, "listing broke off: unexpected EOF"},
		"between lines": {flushed, "listing broke off: unexpected EOF"},
		"in a line, then a proper end": {func(w http.ResponseWriter) { fmt.Fprint(w, `{"key":"b","value":"2"}`) },
			"listing broke off: unexpected EOF"},
		"no last line": {func(http.ResponseWriter) {}, "listing broke off: its last line is missing after 1 keys"},
		"a last line that counts more": {func(w http.ResponseWriter) { fmt.Fprintln(w, `{"end":true,"count":2}`) },
			"listing is not whole: 1 keys came, its last line says 2"},
		"a last line without a count": {func(w http.ResponseWriter) { fmt.Fprintln(w, `{"end":true}`) },
			"listing's last line does not say how many keys it has"},
		"a line after the last": {func(w http.ResponseWriter) { fmt.Fprintln(w, `{"end":true,"count":1}`+"\n"+`{"key":"b","value":"2"}`) },
			"listing continues after its last line"},
		"a bad line": {func(w http.ResponseWriter) { fmt.Fprintln(w, `{"key":"b"}`) }, "listing holds a bad line: needs exactly one of value"},
		"no JSON":    {func(w http.ResponseWriter) { fmt.Fprintln(w, `<html>`) }, "listing holds a bad line: invalid character '<'"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Kvorum-Revision", "7")
				fmt.Fprintln(w, `{"key":"a","value":"1"}`)
				tc.end(w)
			})
			list, err := mustNew(t, client.Config{Endpoints: []string{s.URL}}).List(t.Context(), client.ListOptions{})
			if err != nil || list.Revision != 7 {
				t.Fatalf("got %+v, %v", list, err)
			}
			got, err := keys(list)
			if e := wantError(t, err, client.NotDone, s.addr()+": "+tc.part); e.Endpoint != s.URL || !e.Retryable {
				t.Errorf("got %+v", e)
			}
			if !slices.Equal(got, []string{"a"}) || list.Next() != "" {
				t.Errorf("got keys %q before the error, next %q", got, list.Next())
			}
		})
	}
}

// TestList_Interrupted shows that the end of a context ends a list in progress.
func TestList_Interrupted(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"key":"a","value":"1"}`)
		_ = http.NewResponseController(w).Flush()
		hang(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	list, err := mustNew(t, client.Config{Endpoints: []string{s.URL}}).List(ctx, client.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for item, err := range list.All() {
		if item.Key == "a" {
			cancel()
			continue
		}
		wantError(t, err, client.NotDone, s.addr()+": listing broke off: interrupted")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled in it", err)
		}
	}
}
