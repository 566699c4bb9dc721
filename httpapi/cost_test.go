package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// plainWriter keeps only the headers of an answer. It accepts deadlines, because refusing
// them would allocate.
type plainWriter http.Header

func (w plainWriter) Header() http.Header              { return http.Header(w) }
func (w plainWriter) WriteHeader(int)                  {}
func (w plainWriter) Write(p []byte) (int, error)      { return len(p), nil }
func (w plainWriter) SetReadDeadline(time.Time) error  { return nil }
func (w plainWriter) SetWriteDeadline(time.Time) error { return nil }

// quickNode answers puts and reads without storing anything, and allocates nothing.
type quickNode struct{ *fakeNode }

var quickResults = []kv.Result{{Existed: true, ModRevision: 1007}}

func (quickNode) Do(context.Context, kv.Request) (kv.Response, error) {
	return kv.Response{Succeeded: true, Revision: 1007, Results: quickResults}, nil
}

func (quickNode) Get(_ context.Context, key string, _ kv.ReadOptions) (kv.ReadResult, error) {
	return kv.ReadResult{Item: kv.Item{Key: key, ModRevision: 1005}, Found: true, Revision: 1007}, nil
}

// TestPut_Allocations limits the allocations of the handler for one small put.
func TestPut_Allocations(t *testing.T) {
	value := strings.NewReader(strings.Repeat("v", 100))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://x/kv/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Length", "100")
	r.Body, r.ContentLength = io.NopCloser(value), value.Size()
	expectAllocations(t, r, 20, func() { // 18, and more with the race detector
		if _, err := value.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
	})
}

// TestGet_Allocations limits the allocations of the handler for one read.
func TestGet_Allocations(t *testing.T) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/kv/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	expectAllocations(t, r, 15, func() {}) // 12, and more with the race detector
}

// expectAllocations fails if the handler allocates more than most objects for a request to
// key k. It calls begin before each request.
func expectAllocations(t *testing.T, r *http.Request, most float64, begin func()) {
	t.Helper()
	handler := mustAPI(t, func(c *httpapi.Config) { c.Node = quickNode{newFakeNode()} }).server.Handler()
	w := make(plainWriter, 16)
	n := testing.AllocsPerRun(1000, func() {
		clear(w)
		begin()
		handler.ServeHTTP(w, r)
	})
	if got := http.Header(w).Get("Kvorum-Revision"); got != "1007" {
		t.Fatalf("got revision %q, want 1007", got)
	}
	if n > most {
		t.Errorf("got %v allocations, want at most %v", n, most)
	}
}

// TestHeaders_SharedValues checks that an answer with another value of a header that all
// answers have does not change the header of others.
func TestHeaders_SharedValues(t *testing.T) {
	a := mustAPI(t, nil)
	for range 2 {
		expectHeaders(t, a.do("PUT", "/kv/k", "v").Header(), "Cache-Control", "no-store", "Kvorum-Node", "n1")
		expectHeaders(t, a.do("GET", "/kv/k", "").Header(), "Cache-Control", "no-cache", "Kvorum-Node", "n1")
	}
}
