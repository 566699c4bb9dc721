package store_test

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

func TestStore_Expiry(t *testing.T) {
	clock := newFakeClock()
	var mu sync.Mutex
	expired := map[string]int{}
	told := make(chan struct{}, 100)
	s := mustNew(t, store.WithClock(clock.Now), store.WithOnExpire(func(key string, value []byte) {
		mu.Lock()
		expired[key+"="+string(value)]++
		mu.Unlock()
		told <- struct{}{}
	}))
	for i := range 10 {
		if err := s.SetWithTTL(fmt.Sprintf("k%d", i), []byte("v"), time.Duration(i+1)*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	clock.step(5 * time.Second)
	if _, err := s.Get("k4"); !store.IsExpired(err) && !store.IsNotFound(err) { // exactly at its deadline
		t.Errorf("at the deadline: got %v", err)
	}
	for range 5 { // that read has woken the worker
		<-told
	}
	clock.step(-time.Hour) // a clock that goes back brings nothing back
	expect(t, s, "k4", "")
	expect(t, s, "k5", "v")
	clock.step(time.Hour + 30*time.Second)
	mustSet(t, s, "k9", "new") // replaces one that has expired
	_, _ = s.Get("k5")
	for range 5 {
		<-told
	}
	expect(t, s, "k9", "new")
	mu.Lock()
	defer mu.Unlock()
	for i := range 10 {
		if n := expired[fmt.Sprintf("k%d=v", i)]; n != 1 {
			t.Errorf("k%d expired %d times, want once", i, n)
		}
	}
	if got := s.Metrics().Expirations; got != 10 || s.Len() != 1 {
		t.Errorf("got %d expirations, %d keys left", got, s.Len())
	}
}

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

// TestStore_CleanupInterval shows that what has expired is removed, and told of,
// at each interval if nobody reads it.
func TestStore_CleanupInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := &expiries{}
		s := mustNew(t, store.WithCleanupInterval(time.Minute), told.option())
		for _, key := range []string{"a", "b"} {
			if err := s.SetWithTTL(key, []byte("v"), map[string]time.Duration{"a": 30 * time.Second, "b": 90 * time.Second}[key]); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(59 * time.Second)
		told.expectTold(t)
		time.Sleep(2 * time.Second)
		told.expectTold(t, "a")
		time.Sleep(time.Minute)
		told.expectTold(t, "a", "b")
		if err := s.Close(); err != nil || s.Len() != 0 {
			t.Errorf("Close: got %v, %d keys left", err, s.Len())
		}
	})
}
