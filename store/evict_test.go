package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

func TestStore_Full(t *testing.T) {
	s := mustNew(t, store.WithMaxEntries(2), store.WithMaxBytes(20))
	mustSet(t, s, "a", "1")
	mustSet(t, s, "b", "2")
	if err := s.Set("c", []byte("3")); !store.IsFull(err) {
		t.Errorf("third key: got %v", err)
	}
	if err := s.Set("b", make([]byte, 30)); !store.IsFull(err) {
		t.Errorf("too many bytes: got %v", err)
	}
	mustSet(t, s, "b", "22") // replacing needs no room
	expect(t, s, "a", "1")
	expect(t, s, "b", "22")
	expect(t, s, "c", "")
}

// TestStore_Evict shows each policy's choice where it is not a matter of luck.
func TestStore_Evict(t *testing.T) {
	for _, tt := range []struct {
		policy store.EvictionPolicy
		victim string // empty: any
	}{
		{store.EvictionLRU, "b"}, {store.EvictionLFU, "c"}, {store.EvictionTTL, "d"}, {store.EvictionRandom, ""},
	} {
		t.Run(tt.policy.String(), func(t *testing.T) {
			clock := newFakeClock()
			var evicted []string
			s := mustNew(t, store.WithClock(clock.Now), store.WithMaxEntries(4), store.WithShardCount(1),
				store.WithEvictionPolicy(tt.policy), store.WithOnEvict(func(key string, _ []byte) { evicted = append(evicted, key) }))
			for i, key := range []string{"a", "b", "c", "d"} {
				clock.step(time.Second)
				if err := s.SetWithTTL(key, []byte("v"), time.Duration(100-i)*time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			for key, reads := range map[string]int{"a": 9, "b": 9, "d": 9} {
				for range reads {
					expect(t, s, key, "v")
				}
			}
			clock.step(time.Second)
			expect(t, s, "c", "v") // the latest, but only once
			clock.step(time.Second)
			for _, key := range []string{"a", "d"} {
				expect(t, s, key, "v")
			}
			mustSet(t, s, "new", "v")
			if len(evicted) != 1 || (tt.victim != "" && evicted[0] != tt.victim) {
				t.Errorf("evicted %v, want [%s]", evicted, tt.victim)
			}
			if s.Len() != 4 || s.Metrics().Evictions != 1 {
				t.Errorf("got %d keys, %d evictions", s.Len(), s.Metrics().Evictions)
			}
		})
	}
}

// TestStore_ExpiredMakeRoom shows that a key which has expired is evicted before any other
// one, also when nothing had expired the last time that room was needed, whether
// the key was there then or came with that write.
func TestStore_ExpiredMakeRoom(t *testing.T) {
	for _, policy := range []store.EvictionPolicy{store.EvictionNone, store.EvictionLRU} {
		clock, told := newFakeClock(), &expiries{}
		s := mustNew(t, store.WithClock(clock.Now), store.WithMaxEntries(1), store.WithEvictionPolicy(policy), told.option(),
			store.WithOnEvict(func(key string, _ []byte) {
				if key != "first" {
					t.Errorf("%s: %s was evicted, which has expired", policy, key)
				}
			}))
		mustSet(t, s, "first", "v")
		if policy == store.EvictionNone {
			if err := s.Expire("first", time.Second); err != nil {
				t.Fatal(err)
			}
		}
		err := s.SetWithTTL("second", []byte("v"), time.Second)
		if store.IsFull(err) != (policy == store.EvictionNone) {
			t.Errorf("%s: got %v", policy, err)
		}
		clock.step(time.Second)
		mustSet(t, s, "third", "v")
		told.expectTold(t, map[store.EvictionPolicy]string{store.EvictionNone: "first", store.EvictionLRU: "second"}[policy])
	}
}

// TestStore_FullNamesTheKey shows that ErrStoreFull says of which key.
func TestStore_FullNamesTheKey(t *testing.T) {
	s := mustNew(t, store.WithMaxEntries(1))
	mustSet(t, s, "a", "1")
	for call, err := range map[string]error{
		"Set": s.Set("b", []byte("v")), "Batch": batching("v", "", "b", "c").call(s),
	} {
		var named *store.KeyError
		if !store.IsFull(err) || !errors.As(err, &named) || named.Key != "b" {
			t.Errorf("%s: got %v, want ErrStoreFull of b", call, err)
		}
	}
}

// TestTrial_F11_LimitNamesItsOption shows that an error of a limit says which
// option raises it.
func TestTrial_F11_LimitNamesItsOption(t *testing.T) {
	for option, call := range map[string]func(s *store.Store) error{
		"WithMaxEntries":   func(s *store.Store) error { return s.Set("fourth", []byte("v")) },
		"WithMaxBytes":     func(s *store.Store) error { return s.Set("k1", []byte(strings.Repeat("v", 30))) },
		"WithMaxKeySize":   func(s *store.Store) error { return s.Set(strings.Repeat("k", 9), []byte("v")) },
		"WithMaxValueSize": func(s *store.Store) error { return s.Set("k1", []byte(strings.Repeat("v", 41))) },
	} {
		s := mustNew(t, store.WithMaxEntries(3), store.WithMaxBytes(30), store.WithMaxKeySize(8), store.WithMaxValueSize(40))
		for _, key := range []string{"k1", "k2", "k3"} {
			mustSet(t, s, key, "v")
		}
		if err := call(s); err == nil || !strings.Contains(err.Error(), option) {
			t.Errorf("got %v, want it to name %s", err, option)
		}
	}
	testkit.Outcome(t, "F11", "the embedded store's errors of keys, bytes, key and value size name WithMaxEntries, WithMaxBytes, WithMaxKeySize and WithMaxValueSize")
}

// TestStore_ReopenedSmaller shows that a store which has room for only a few of
// its keys when it is opened again comes down to them with the first write.
func TestStore_ReopenedSmaller(t *testing.T) {
	const keys, room = 10_000, 100
	for _, policy := range []store.EvictionPolicy{store.EvictionLRU, store.EvictionLFU, store.EvictionRandom, store.EvictionTTL} {
		for name, limit := range map[string]store.Option{"entries": store.WithMaxEntries(room), "bytes": store.WithMaxBytes(room * 10)} {
			t.Run(policy.String()+"/"+name, func(t *testing.T) {
				files := crashfs.New()
				opts := append(persistent(files, false), store.WithPersistenceMode(store.PersistenceSnapshot), store.WithEvictionPolicy(policy))
				s := mustNew(t, opts...)
				for i := range keys {
					if err := s.SetWithTTL(fmt.Sprintf("%08d", i), []byte("v"), time.Hour+time.Duration(i)); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = mustNew(t, append(opts, limit)...)
				mustSet(t, s, "new", "v")
				expect(t, s, "new", "v")
				if got := s.Len(); got > room+12 || got < room-1 { // the keys are of 9 bytes with their values
					t.Errorf("%d keys are left, there is room for %d", got, room)
				}
				if policy == store.EvictionTTL {
					expect(t, s, fmt.Sprintf("%08d", keys-1), "v") // the last to expire
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// TestStore_ReopenedSmallerWithLongKeys shows the same with a log, a record of which
// does not take all of the keys that have to go.
func TestStore_ReopenedSmallerWithLongKeys(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("writes 140 MiB")
	}
	const keys, size, room = 2200, 64 << 10, 10 // together longer than wal.MaxPayload
	opts := []store.Option{
		store.WithDataDir(t.TempDir()), store.WithPersistenceMode(store.PersistenceWAL), store.WithMaxKeySize(size),
		store.WithEvictionPolicy(store.EvictionRandom), store.WithCompactionThreshold(10 * keys),
	}
	s := mustNew(t, opts...)
	for i := range keys {
		mustSet(t, s, long(fmt.Sprint(i), size), "v")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustNew(t, append(opts, store.WithMaxEntries(room))...)
	for i, left := 0, keys; s.Len() > room; i++ {
		mustSet(t, s, fmt.Sprint("new", i), "v")
		if s.Len() >= left {
			t.Fatalf("write %d leaves %d keys, before it were %d", i, s.Len(), left)
		}
		left = s.Len()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestEviction_Concurrent shows, with many writers whose writes share rounds, that
// a store is never seen above its limits, and that each key that was set is either
// there or was reported evicted, once.
func TestEviction_Concurrent(t *testing.T) {
	for _, policy := range []store.EvictionPolicy{store.EvictionNone, store.EvictionLRU, store.EvictionLFU, store.EvictionRandom, store.EvictionTTL} {
		t.Run(policy.String(), func(t *testing.T) {
			const maxEntries, maxBytes = 100, 1500
			var evicted, set sync.Map
			files := crashfs.New()
			s := mustNew(t, append(persistent(files, true), store.WithMaxEntries(maxEntries), store.WithMaxBytes(maxBytes),
				store.WithEvictionPolicy(policy), store.WithOnEvict(func(key string, _ []byte) {
					if _, twice := evicted.LoadOrStore(key, true); twice {
						t.Errorf("key %s was evicted twice", key)
					}
				}))...)
			var wg sync.WaitGroup
			for writer := range 40 {
				wg.Go(func() {
					for i := range 50 {
						k := fmt.Sprintf("%02d-%02d", writer, i)
						switch err := s.SetWithTTL(k, make([]byte, 1+i%20), time.Duration(i%3)*time.Hour); {
						case err == nil:
							set.Store(k, true)
						case policy != store.EvictionNone || !errors.Is(err, store.ErrStoreFull):
							t.Error(err)
						}
						entries, bytes := 0, 0
						for key, value := range s.All() {
							entries, bytes = entries+1, bytes+len(key)+len(value)
						}
						if entries > maxEntries || bytes > maxBytes {
							t.Errorf("saw %d keys of %d bytes", entries, bytes)
						}
					}
				})
			}
			wg.Wait()
			for k := range set.Range {
				_, gone := evicted.Load(k)
				if there := s.Exists(k.(string)); there == gone {
					t.Errorf("key %v: there %t, evicted %t", k, there, gone)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
