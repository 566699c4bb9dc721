package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	shapes "github.com/kvorum/kvorum/internal/api"
)

// TestShapes_ListsAreRead shows that package api can read the lines of a list, which are
// written without encoding/json.
func TestShapes_ListsAreRead(t *testing.T) {
	a := mustAPI(t, nil)
	for _, key := range []string{"a", "b%FF", "c%0A%22"} {
		if w := a.do("PUT", "/kv/"+key, "v\xff of "+key); w.Code != http.StatusCreated {
			t.Fatalf("put %s: got %d %s", key, w.Code, w.Body)
		}
	}
	lines := shapes.NewLines(strings.NewReader(a.do("GET", "/kv/?limit=2", "", asLines...).Body.String()))
	for i, want := range []string{"a", "b\xff"} {
		line, err := lines.Next()
		if err != nil {
			t.Fatal(err)
		}
		item, end, err := shapes.ParseListLine(line, false)
		if err != nil || end != nil || item.Key != want || !strings.HasPrefix(string(item.Value), "v\xff of ") ||
			item.CreateRevision != uint64(i)+1 || item.ModRevision != uint64(i)+1 || item.Version != 1 {
			t.Errorf("%s: got %+v, %+v, %v", line, item, end, err)
		}
	}
	line, err := lines.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, end, err := shapes.ParseListLine(line, false); err != nil || end == nil || end.Count == nil || *end.Count != 2 || end.Next != "c\n\"" {
		t.Errorf("%s: got %+v, %v", line, end, err)
	}
}
