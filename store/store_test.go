package store_test

import (
	"errors"
	"math"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kvorum/kvorum/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore_SetGetDelete(t *testing.T) {
	s := mustNew(t)
	expect(t, s, "k", "")
	value := []byte("v1")
	if err := s.Set("k", value); err != nil {
		t.Fatal(err)
	}
	value[1] = 'X' // the store has its own copy
	expect(t, s, "k", "v1")
	got, _ := s.Get("k")
	got[0] = 'X' // and so has the caller
	expect(t, s, "k", "v1")
	mustSet(t, s, "k", "")
	if got, err := s.Get("k"); err != nil || got == nil || len(got) != 0 {
		t.Errorf("empty value: got %v, %v", got, err)
	}
	if err := s.Delete("k"); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete("k"); !store.IsNotFound(err) {
		t.Errorf("second Delete: got %v", err)
	}
	if s.Len() != 0 || s.Size() != 0 {
		t.Errorf("empty store has %d keys of %d bytes", s.Len(), s.Size())
	}
}

func TestStore_Conditional(t *testing.T) {
	s := mustNew(t)
	if ok, err := s.SetNX("k", []byte("1"), time.Hour); !ok || err != nil {
		t.Errorf("SetNX of a new key: got %t, %v", ok, err)
	}
	if ok, err := s.SetNX("k", []byte("2"), 0); ok || err != nil {
		t.Errorf("SetNX of an old key: got %t, %v", ok, err)
	}
	if ok, err := s.CompareAndSwap("k", []byte("0"), []byte("2")); ok || err != nil {
		t.Errorf("CompareAndSwap of another value: got %t, %v", ok, err)
	}
	if ok, err := s.CompareAndSwap("k", []byte("1"), []byte("5")); !ok || err != nil {
		t.Errorf("CompareAndSwap: got %t, %v", ok, err)
	}
	if n, err := s.Incr("k", 37); n != 42 || err != nil {
		t.Errorf("Incr: got %d, %v", n, err)
	}
	if ttl, err := s.TTL("k"); err != nil || ttl <= 0 || ttl > time.Hour {
		t.Errorf("TTL after changes that keep it: got %v, %v", ttl, err)
	}
	if _, err := s.Incr("k", math.MaxInt64); !errors.Is(err, store.ErrOverflow) {
		t.Errorf("Incr over the top: got %v", err)
	}
	if err := s.Persist("k"); err != nil {
		t.Fatal(err)
	}
	if ttl, err := s.TTL("k"); err != nil || ttl != store.NoTTL {
		t.Errorf("TTL after Persist: got %v, %v", ttl, err)
	}
	e, err := s.GetEntry("k")
	if err != nil || string(e.Value) != "42" || e.Metadata.Version != 4 || e.Verify() != nil {
		t.Errorf("GetEntry: got %+v, %v", e, err)
	}
}

// TestStore_IncrConcurrent shows that conditional writes see every write before them.
func TestStore_IncrConcurrent(t *testing.T) {
	s := mustNew(t)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 200 {
				if _, err := s.Incr("n", 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	expect(t, s, "n", "3200")
}
