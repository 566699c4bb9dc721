package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/store"
)

// TestStore_BatchIsolated shows that no reader sees part of a batch.
func TestStore_BatchIsolated(t *testing.T) {
	s := mustNew(t)
	both := func(v string) error {
		return s.Batch(func(b *store.Batch) error {
			return errors.Join(b.Set("left", []byte(v)), b.Set("right", []byte(v)))
		})
	}
	if err := both("0"); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 500 {
			if err := both(fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		}
		close(stop)
	})
	for done := false; !done; {
		select {
		case <-stop:
			done = true
		default:
		}
		seen := maps.Collect(s.All())
		if !bytes.Equal(seen["left"], seen["right"]) {
			t.Fatalf("half a batch: %q and %q", seen["left"], seen["right"])
		}
	}
	wg.Wait()
	failed := errors.New("failed")
	if err := s.Batch(func(b *store.Batch) error { _ = b.Set("left", []byte("x")); return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	err := s.Batch(func(b *store.Batch) error { b.Delete("nobody"); return b.Set("left", []byte("x")) })
	if !store.IsNotFound(err) {
		t.Errorf("delete of an absent key in a batch: got %v", err)
	}
	expect(t, s, "left", "499")
}
