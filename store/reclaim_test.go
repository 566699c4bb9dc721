package store_test

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// expiries counts what OnExpire is told.
type expiries struct {
	mu   sync.Mutex
	told map[string]int // guarded by mu
}

func (e *expiries) option() store.Option {
	e.told = map[string]int{}
	return store.WithOnExpire(func(key string, _ []byte) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.told[key]++
	})
}

// expectTold checks that OnExpire was told of these keys once each, and of no others.
func (e *expiries) expectTold(t *testing.T, keys ...string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	want := map[string]int{}
	for _, key := range keys {
		want[key] = 1
	}
	if !maps.Equal(e.told, want) {
		t.Errorf("OnExpire was told of %v, want %v", e.told, want)
	}
}

// TestOnExpire_Clear shows that what had expired before a Clear is told of, once,
// and that what had not is not.
func TestOnExpire_Clear(t *testing.T) {
	clock, told := newFakeClock(), &expiries{}
	s := mustNew(t, store.WithClock(clock.Now), told.option())
	for key, ttl := range map[string]time.Duration{"a": time.Second, "b": time.Second, "later": time.Hour, "never": 0} {
		if err := s.SetWithTTL(key, []byte("v"), ttl); err != nil {
			t.Fatal(err)
		}
	}
	clock.step(time.Minute)
	mustSet(t, s, "a", "again") // which tells of it
	if err := s.Clear(); err != nil {
		t.Fatal(err)
	}
	told.expectTold(t, "a", "b")
	if got := s.Metrics().Expirations; got != 2 || s.Len() != 0 {
		t.Errorf("%d expirations, %d keys left", got, s.Len())
	}
}

// TestOnExpire_ClearInARound shows the same when the Clear shares a sync with
// writes before and after it.
func TestOnExpire_ClearInARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, told, files := newFakeClock(), &expiries{}, crashfs.New()
		s := mustNew(t, append(persistent(files, true), store.WithClock(clock.Now), told.option())...)
		for _, key := range []string{"a", "b", "c"} {
			if err := s.SetWithTTL(key, []byte("v"), time.Second); err != nil {
				t.Fatal(err)
			}
		}
		clock.step(time.Minute)
		gate := holdSync(files)
		for _, call := range []func() error{
			func() error { return s.Set("first", []byte("v")) }, // its own round: the rest gathers behind its sync
			func() error { return s.Set("a", []byte("v")) },
			s.Clear,
			func() error { return s.Set("b", []byte("v")) },
		} {
			go func() {
				if err := call(); err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait()
		}
		close(gate)
		synctest.Wait()
		told.expectTold(t, "a", "b", "c")
		mustHave(t, s, contents{"b": "v"})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestOnExpire_Close shows that what a store in memory still holds of keys that
// have expired is told of when it is closed; what is on disk is told of when it
// is opened again.
func TestOnExpire_Close(t *testing.T) {
	for _, opts := range [][]store.Option{nil, persistent(crashfs.New(), true)} {
		clock, told := newFakeClock(), &expiries{}
		opts = append(opts, store.WithClock(clock.Now), told.option())
		s := mustNew(t, opts...)
		if err := s.SetWithTTL("due", []byte("v"), time.Second); err != nil {
			t.Fatal(err)
		}
		if err := s.SetWithTTL("later", []byte("v"), time.Hour); err != nil {
			t.Fatal(err)
		}
		clock.step(time.Minute)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if len(opts) == 2 {
			told.expectTold(t, "due")
			continue
		}
		told.expectTold(t)
		s = mustNew(t, opts...)
		if err := s.Clear(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		told.expectTold(t, "due")
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

// TestStore_ExpiresManyOnManyShards shows that removing what has expired costs by
// its number, and not by that times the number of shards: 200,000 keys on 4,096
// shards take about a second, and took half a minute.
func TestStore_ExpiresManyOnManyShards(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures time")
	}
	const keys = 200_000
	clock, done, left := newFakeClock(), make(chan struct{}), keys // told by one goroutine, the worker's
	s := mustNew(t, store.WithShardCount(store.MaxShards), store.WithClock(clock.Now), store.WithOnExpire(func(string, []byte) {
		if left--; left == 0 {
			close(done)
		}
	}))
	for i := range keys {
		if err := s.SetWithTTL(fmt.Sprint(i), []byte("v"), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	clock.step(time.Minute)
	_, _ = s.Get("0") // wakes the worker
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		t.Errorf("%d of %d keys are not removed after 15 s", s.Len(), keys)
	}
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
