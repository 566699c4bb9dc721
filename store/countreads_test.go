package store_test

import (
	"testing"

	"github.com/kvorum/kvorum/store"
)

// TestOptions_CountReads leaves reads uncounted, and nothing else.
func TestOptions_CountReads(t *testing.T) {
	s, err := store.New(store.WithCountReads(false))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Set("k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get("k"); err != nil || string(v) != "v" {
		t.Errorf("got %q, %v", v, err)
	}
	if _, err := s.Get("missing"); !store.IsNotFound(err) {
		t.Errorf("got %v, want not found", err)
	}
	if m := s.Metrics(); m.Gets != 0 || m.Hits != 0 || m.Misses != 0 || m.Sets != 1 {
		t.Errorf("got %+v", m)
	}
}
