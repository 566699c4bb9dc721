package store

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestClock_ReadsWriteNothing shows that reads of keys that have not expired leave
// the store's clock as it is: parallel readers would else wait for each other's
// writes of that one word.
func TestClock_ReadsWriteNothing(t *testing.T) {
	for _, policy := range []EvictionPolicy{EvictionNone, EvictionLRU, EvictionLFU} {
		s, err := New(WithEvictionPolicy(policy))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.SetWithTTL("k", []byte("v"), time.Hour); err != nil {
			t.Fatal(err)
		}
		before := s.clock.Load()
		for _, key := range []string{"k", "missing"} {
			_, _ = s.Get(key)
			_, _ = s.GetEntry(key)
			_, _ = s.TTL(key)
			s.Exists(key)
		}
		if got := s.clock.Load(); got != before {
			t.Errorf("%s: reads moved the clock by %v", policy, time.Duration(got-before))
		}
	}
}

// TestClock_ExpiredStaysExpired shows that a key which one read has found expired
// is so for every later read, of each kind and on each goroutine, while the clock of
// the options goes back and forth over the deadline and nothing removes the key.
func TestClock_ExpiredStaysExpired(t *testing.T) {
	const (
		rounds, readers = 2000, 4
		deadline        = 500
	)
	reads := []func(s *Store) bool{
		func(s *Store) bool { _, err := s.Get("k"); return err == nil },
		func(s *Store) bool { _, err := s.GetEntry("k"); return err == nil },
		func(s *Store) bool { ttl, err := s.TTL("k"); return err == nil && ttl > 0 },
		func(s *Store) bool { return s.Exists("k") },
		func(s *Store) bool { return len(s.Keys("")) == 1 },
	}
	for range 20 {
		var offset atomic.Int64
		base := time.Unix(1_700_000_000, 0)
		s, err := New(WithClock(func() time.Time { return base.Add(time.Duration(offset.Load())) }))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetWithTTL("k", []byte("v"), deadline); err != nil {
			t.Fatal(err)
		}
		s.deciding.Lock() // nothing is removed
		var expired atomic.Bool
		var reading sync.WaitGroup
		for range readers {
			reading.Go(func() {
				for range rounds {
					offset.Store(rand.Int64N(2 * deadline))
					wasExpired := expired.Load()
					alive := reads[rand.IntN(len(reads))](s)
					if alive && wasExpired {
						t.Error("a key that had expired was read")
						return
					}
					if !alive {
						expired.Store(true)
					}
				}
			})
		}
		reading.Wait()
		if !expired.Load() {
			t.Error("the key has never expired")
		}
		s.deciding.Unlock()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
