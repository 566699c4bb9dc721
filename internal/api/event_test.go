package api_test

import (
	"bytes"
	"testing"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// TestEventLine_Deadlines checks the lines of a key with a deadline: of the state, of a change,
// and of its end.
func TestEventLine_Deadlines(t *testing.T) {
	item := kv.Item{Key: "k", Value: []byte("v"), CreateRevision: 3, ModRevision: 3, Version: 1, Deadline: 1_767_225_600_000}
	const members = `"key":"k","value":"v","expires_at":"2026-01-01T00:00:00.000Z","create_revision":3,"mod_revision":3,"version":1}`
	var lines bytes.Buffer
	for _, err := range []error{
		api.WriteStateLine(&lines, 7, item),
		api.WriteEventLine(&lines, 3, kv.Event{Item: item}, false),
		api.WriteEventLine(&lines, 8, kv.Event{Kind: kv.EventExpire, Item: kv.Item{Key: "k", ModRevision: 8}, Prev: &item}, true),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := `{"revision":7,"op":"state",` + members + "\n" +
		`{"revision":3,"op":"put",` + members + "\n" +
		`{"revision":8,"op":"expire","partial":true,"key":"k","mod_revision":8,"prev":{` + members + "}\n"
	if got := lines.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
