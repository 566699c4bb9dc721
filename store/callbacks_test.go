package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestCallbacks_UseTheStore shows that callbacks may read and write the store:
// they run under no lock, and on no goroutine that writes wait for.
func TestCallbacks_UseTheStore(t *testing.T) {
	for name, opts := range map[string][]store.Option{"Memory": nil, "Log": persistent(crashfs.New(), true)} {
		t.Run(name, func(t *testing.T) {
			stuck := time.AfterFunc(time.Minute, func() { panic("a callback and the store wait for each other") })
			defer stuck.Stop()
			clock := newFakeClock()
			var s *store.Store
			told := map[string]int{}
			use := func(what string) func(string, []byte) {
				return func(key string, value []byte) {
					told[what+key+string(value)]++
					if err := s.Delete("self"); err != nil && !store.IsNotFound(err) {
						t.Errorf("%s: Delete: %v", what, err)
					}
					mustSet(t, s, "self", what)
					expect(t, s, "self", what)
					if err := s.Snapshot(); err != nil && !errors.Is(err, store.ErrNotPersistent) {
						t.Errorf("%s: Snapshot: %v", what, err)
					}
				}
			}
			s = mustNew(t, append(opts, store.WithClock(clock.Now), store.WithMaxEntries(3), store.WithEvictionPolicy(store.EvictionTTL),
				store.WithOnEvict(use("evicted ")), store.WithOnExpire(use("expired ")))...)
			for i := range 4 {
				if err := s.SetWithTTL(fmt.Sprint(i), []byte("v"), time.Duration(i+1)*time.Second); err != nil {
					t.Fatal(err)
				}
			}
			clock.step(time.Minute)
			if err := s.Clear(); err != nil {
				t.Fatal(err)
			}
			if told["evicted 0v"] != 1 || told["expired 3v"] != 1 {
				t.Errorf("callbacks were told of %v", told)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestCallbacks_OnErrorUsesTheStore shows the same of OnError, which a failure
// calls.
func TestCallbacks_OnErrorUsesTheStore(t *testing.T) {
	stuck := time.AfterFunc(time.Minute, func() { panic("OnError and the store wait for each other") })
	defer stuck.Stop()
	files, done := crashfs.New(), make(chan struct{})
	var s *store.Store
	s = mustNew(t, append(persistent(files, true), store.WithOnError(func(error) {
		expect(t, s, "k", "v")
		if err := s.Set("k", []byte("w")); !errors.Is(err, store.ErrStoreFailed) {
			t.Errorf("Set: got %v", err)
		}
		close(done)
	}))...)
	mustSet(t, s, "k", "v")
	_ = breakSyncs(files)
	_ = s.Set("k", []byte("w"))
	<-done
	_ = s.Close() // fails as the store did
}
