package client_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

// TestClient_Txn adds, carries out a transaction and reads the past of a real node.
func TestClient_Txn(t *testing.T) {
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{endpoint}})
	first, err := c.Add(ctx, "txn/n", 40)
	if err != nil || first.Number != 40 || first.Revision == 0 {
		t.Fatalf("got %+v, %v", first, err)
	}
	if sum, err := c.Add(ctx, "txn/n", 2, client.IfRevision(first.Revision)); err != nil || sum.Number != 42 {
		t.Fatalf("got %+v, %v, want 42", sum, err)
	}
	_, err = c.Add(ctx, "txn/n", 1, client.IfRevision(first.Revision))
	if e := wantError(t, err, client.NotDone); e.Code != "condition_failed" {
		t.Errorf("got %+v", e)
	}
	raw, err := c.Txn(ctx, json.RawMessage(`{"if":[{"key":"txn/n","value":"42"}],"then":[{"put":{"key":"txn/text","value":"x"}},{"count":{"prefix":"txn/"}}]}`))
	var results struct {
		Succeeded bool
		Results   []struct{ Count int }
	}
	if err != nil || json.Unmarshal(raw, &results) != nil || !results.Succeeded || len(results.Results) != 2 || results.Results[1].Count != 2 {
		t.Errorf("got %s, %v", raw, err)
	}
	_, err = c.Txn(ctx, json.RawMessage(`{"then":[{"add":{"key":"txn/text","delta":1}}]}`))
	if e := wantError(t, err, client.NotDone); e.Code != "not_a_number" || e.Retryable {
		t.Errorf("got %+v", e)
	}
	read, err := c.Get(ctx, "txn/n", client.ReadOptions{Revision: first.Revision})
	if err != nil || string(read.Value) != "40" || read.Version != 1 || read.CreateRevision != first.Revision {
		t.Errorf("got %+v, %v, want the first version", read, err)
	}
	_, err = c.Get(ctx, "txn/n", client.ReadOptions{Revision: first.Revision + 1_000_000})
	if e := wantError(t, err, client.NotDone); e.Code != "future_revision" {
		t.Errorf("got %+v", e)
	}
	done, err := c.Compact(ctx, first.Revision+1)
	if err != nil || done.CompactRevision != first.Revision+1 || done.Revision < done.CompactRevision {
		t.Fatalf("got %+v, %v", done, err)
	}
	_, err = c.Get(ctx, "txn/n", client.ReadOptions{Revision: first.Revision})
	if e := wantError(t, err, client.NotDone); e.Code != "compacted" || e.CompactRevision != first.Revision+1 {
		t.Errorf("got %+v", e)
	}
}

// TestClient_DoTakesWhatPutTakes puts values of the maximum length whose text JSON would escape.
func TestClient_DoTakesWhatPutTakes(t *testing.T) {
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{endpoint}})
	for _, character := range []string{"\x00", "<", "\"", "\n", "\xff"} {
		value := bytes.Repeat([]byte(character), 1<<20)
		if _, err := c.Put(ctx, "txn/long", value); err != nil {
			t.Fatalf("put %q: %v", character, err)
		}
		put := kv.Put("txn/long", value)
		put.Then[0].WantPrev = true
		done, err := c.Do(ctx, put)
		if err != nil || done.Results[0].Prev == nil || !bytes.Equal(done.Results[0].Prev.Value, value) {
			t.Errorf("%q: got %v, or another value", character, err)
		}
	}
}

// TestList_Cursor reads pages of one revision from a real node, with a write between them.
func TestList_Cursor(t *testing.T) {
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{endpoint}})
	for _, key := range []string{"cursor/a", "cursor/b", "cursor/c"} {
		if _, err := c.Put(ctx, key, []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	var got string
	options := client.ListOptions{Prefix: "cursor/", Limit: 2, Reverse: true}
	for page := 0; page == 0 || options.Cursor != ""; page++ {
		list, err := c.List(ctx, options)
		if err != nil {
			t.Fatal(err)
		}
		for item, err := range list.All() {
			if err != nil {
				t.Fatal(err)
			}
			got += item.Key + "=" + string(item.Value) + " "
		}
		options.Cursor = list.Cursor()
		if _, err := c.Put(ctx, "cursor/a", []byte("later")); err != nil {
			t.Fatal(err)
		}
	}
	if want := "cursor/c=v cursor/b=v cursor/a=v "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
