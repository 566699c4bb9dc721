package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/httpapi"
)

// plainWriter keeps nothing of an answer but its headers.
type plainWriter http.Header

func (w plainWriter) Header() http.Header         { return http.Header(w) }
func (w plainWriter) WriteHeader(int)             {}
func (w plainWriter) Write(p []byte) (int, error) { return len(p), nil }

// quickNode answers puts without storing anything.
type quickNode struct{ *fakeNode }

func (quickNode) Put(context.Context, string, []byte, cluster.Condition) (cluster.WriteResult, error) {
	return cluster.WriteResult{Revision: 7, Current: 7}, nil
}

// TestPut_Allocations bounds what the handler of one small put allocates.
func TestPut_Allocations(t *testing.T) {
	handler := mustAPI(t, func(c *httpapi.Config) { c.Node = quickNode{newFakeNode()} }).server.Handler()
	value := strings.NewReader(strings.Repeat("v", 100))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://x/kv/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Length", "100")
	r.Body, r.ContentLength = io.NopCloser(value), value.Size()
	w := make(plainWriter, 16)
	n := testing.AllocsPerRun(1000, func() {
		clear(w)
		if _, err := value.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		handler.ServeHTTP(w, r)
	})
	if got := http.Header(w).Get("Kvorum-Revision"); got != "7" {
		t.Fatalf("got revision %q, want 7", got)
	}
	const most = 31 // 26, and what the race detector adds
	if n > most {
		t.Errorf("got %v allocations, want at most %d", n, most)
	}
}

// TestHeaders_SharedValues checks that an answer that differs from the rest in a
// header which all have changes that of no other.
func TestHeaders_SharedValues(t *testing.T) {
	a := mustAPI(t, nil)
	for range 2 {
		expectHeaders(t, a.do("PUT", "/kv/k", "v").Header(), "Cache-Control", "no-store", "Kvorum-Node", "n1")
		expectHeaders(t, a.do("GET", "/kv/k", "").Header(), "Cache-Control", "no-cache", "Kvorum-Node", "n1")
	}
}
