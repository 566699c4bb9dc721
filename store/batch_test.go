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

// TestBatch_RemembersErrors shows that a batch is not made if a call of it has
// failed, also where fill passes over the error.
func TestBatch_RemembersErrors(t *testing.T) {
	s := mustNew(t, store.WithMaxKeySize(4))
	err := s.Batch(func(b *store.Batch) error {
		_ = b.Set("a", []byte("v"))
		_ = b.Set("too long", []byte("v"))
		_ = b.Set("", []byte("v"))
		return b.Set("b", []byte("v"))
	})
	var named *store.KeyError
	if !errors.Is(err, store.ErrKeyTooLarge) || !errors.As(err, &named) || named.Key != "too long" {
		t.Errorf("got %v, want the first error", err)
	}
	mustHave(t, s, contents{})
	if err := s.Batch(nil); !store.IsValidation(err) {
		t.Errorf("without a function: got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Batch(func(*store.Batch) error { return nil }); !store.IsClosed(err) {
		t.Errorf("after Close: got %v", err)
	}
}

// TestBatch_TooLarge shows where a batch's limits are, and that nothing of one
// beyond them is made.
func TestBatch_TooLarge(t *testing.T) {
	s := mustNew(t, store.WithMaxValueSize(1<<20))
	value := make([]byte, 1<<20-1)
	for name, tt := range map[string]struct {
		changes int
		value   []byte
		fits    bool
	}{
		"Changes": {65536, []byte("v"), true}, "MoreChanges": {65537, []byte("v"), false},
		"Bytes": {64, value[:1<<20-5], true}, "MoreBytes": {64, value, false},
	} {
		err := s.Batch(func(b *store.Batch) error {
			for i := range tt.changes {
				_ = b.Set(fmt.Sprintf("%05d", i), tt.value)
			}
			return nil
		})
		if (err == nil) != tt.fits || err != nil && (!errors.Is(err, store.ErrBatchTooLarge) || !store.IsTooLarge(err)) {
			t.Errorf("%s: got %v", name, err)
		}
		if want := map[bool]int{true: tt.changes}[tt.fits]; s.Len() != want {
			t.Errorf("%s: %d keys, want %d", name, s.Len(), want)
		}
		if err := s.Clear(); err != nil {
			t.Fatal(err)
		}
	}
	err := s.Batch(func(b *store.Batch) error {
		for i := range 65537 {
			b.Delete(fmt.Sprint(i))
		}
		return nil
	})
	if !errors.Is(err, store.ErrBatchTooLarge) {
		t.Errorf("deletes: got %v", err)
	}
	for err, want := range map[error]bool{store.ErrKeyTooLarge: true, store.ErrValueTooLarge: true, store.ErrStoreFull: false, nil: false} {
		if store.IsTooLarge(err) != want {
			t.Errorf("IsTooLarge(%v): got %t", err, !want)
		}
	}
}
