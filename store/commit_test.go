package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// holdSync makes syncs of the log wait for what is sent on the channel, and
// return it.
func holdSync(files *crashfs.FS) chan error {
	gate := make(chan error)
	files.SetHook(func(op crashfs.Op, name string) error {
		if op == crashfs.OpSync && strings.Contains(name, "wal-") {
			return <-gate
		}
		return nil
	})
	return gate
}

// TestStore_RoundFails shows that no write of a round is answered before the
// append that decides about it: a SetNX that lost against a write which then
// fails does not say so, and a Delete of a key that is not there, because it was
// only just deleted, does not either.
func TestStore_RoundFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := crashfs.New()
		s := mustNew(t, persistent(files, true)...)
		mustSet(t, s, "old", "v")
		gate := holdSync(files)
		results := make(map[string]error)
		var mu sync.Mutex
		var calls sync.WaitGroup
		call := func(name string, f func() error) {
			calls.Go(func() {
				err := f()
				mu.Lock()
				defer mu.Unlock()
				results[name] = err
			})
			synctest.Wait() // it waits in the queue, behind those before it
		}
		call("first", func() error { return s.Set("first", []byte("v")) })
		call("set", func() error { return s.Set("k", []byte("v")) })
		call("setnx", func() error { _, err := s.SetNX("k", []byte("w"), 0); return err })
		call("delete", func() error { return s.Delete("old") })
		call("delete again", func() error { return s.Delete("old") })
		gate <- nil // the first's own round
		synctest.Wait()
		mu.Lock()
		if err, ok := results["first"]; len(results) != 1 || !ok || err != nil {
			t.Errorf("before the second sync: got answers %v, want only first's", results)
		}
		mu.Unlock()
		broken := errors.New("disk is broken")
		gate <- broken
		calls.Wait()
		for _, name := range []string{"set", "setnx", "delete", "delete again"} {
			if err := results[name]; !errors.Is(err, store.ErrStoreFailed) || !errors.Is(err, broken) {
				t.Errorf("%s: got %v, want ErrStoreFailed of %v", name, err, broken)
			}
		}
		expect(t, s, "old", "v")
		files.SetHook(nil)
		_ = s.Close() // fails as the store did
	})
}

// TestStore_RefusedWriteInARound shows that a write which is refused takes back
// what it had planned, and nothing else, whatever else is in its round.
func TestStore_RefusedWriteInARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := crashfs.New()
		s := mustNew(t, append(persistent(files, true), store.WithMaxEntries(40))...)
		gate := holdSync(files)
		var calls sync.WaitGroup
		call := func(want error, f func() error) {
			calls.Go(func() {
				if err := f(); !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			})
			synctest.Wait()
		}
		call(nil, func() error { return s.Set("first", []byte("v")) })
		sets := func(value string, n int, last error) func() error {
			return func() error {
				return s.Batch(func(b *store.Batch) error {
					for i := range n {
						if err := b.Set(fmt.Sprintf("k%02d", i), []byte(value)); err != nil {
							return err
						}
					}
					if last != nil {
						b.Delete("nobody")
					}
					return nil
				})
			}
		}
		call(nil, sets("kept", 20, nil))
		call(store.ErrKeyNotFound, sets("refused", 30, store.ErrKeyNotFound))
		call(store.ErrStoreFull, sets("too many", 40, nil))
		call(nil, func() error { _, err := s.CompareAndSwap("k07", []byte("kept"), []byte("swapped")); return err })
		call(store.ErrKeyNotFound, func() error { return s.Delete("k25") })
		close(gate)
		calls.Wait()
		if got := s.Len(); got != 21 {
			t.Errorf("Len: got %d, want 21", got)
		}
		for i := range 20 {
			want := "kept"
			if i == 7 {
				want = "swapped"
			}
			expect(t, s, fmt.Sprintf("k%02d", i), want)
		}
		files.SetHook(nil)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestStore_CallersBuffers shows that a caller may use its buffer again once its
// write has returned, whatever else was in the round: what is stored, logged and
// shown to callbacks is the store's own copy.
func TestStore_CallersBuffers(t *testing.T) {
	uniform := func(value []byte) bool {
		return len(value) == 64 && strings.Count(string(value), string(value[:1])) == len(value)
	}
	files := crashfs.New()
	opts := append(persistent(files, false),
		store.WithMaxEntries(4), store.WithEvictionPolicy(store.EvictionRandom),
		store.WithOnEvict(func(key string, value []byte) {
			if !uniform(value) {
				t.Errorf("OnEvict(%s): value is mixed: %q", key, value)
			}
		}))
	s := mustNew(t, opts...)
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			buf := make([]byte, 64)
			for i := range 200 {
				for j := range buf {
					buf[j] = byte('a' + (w+i)%26)
				}
				if err := s.Set(fmt.Sprint("k", (w*i)%16), buf); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	check := func(s *store.Store) {
		for key, value := range s.All() {
			if !uniform(value) {
				t.Errorf("%s: value is mixed: %q", key, value)
			}
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustNew(t, opts...)
	check(s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestStore_GroupCommit shows that writers who wait share a sync: those that
// come while one is under way need one more, or one and another for those that
// were not decided when it ended.
func TestStore_GroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := crashfs.New()
		s := mustNew(t, persistent(files, true)...)
		mustSet(t, s, "first", "v")
		gate := make(chan struct{})
		files.SetHook(func(op crashfs.Op, name string) error {
			if op == crashfs.OpSync && strings.Contains(name, "wal-") {
				<-gate
			}
			return nil
		})
		before := s.Metrics().WALSyncs
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() { mustSet(t, s, fmt.Sprintf("k%d", i), "v") })
			if i == 0 {
				synctest.Wait() // its sync is under way; the others gather meanwhile
			}
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		if syncs := s.Metrics().WALSyncs - before; syncs < 2 || syncs > 3 {
			t.Errorf("64 writes took %d syncs, want 2 or 3", syncs)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestStore_UnchangedBehindFailure shows that writes which change nothing, as an
// append makes it so that then fails, are not told of success.
func TestStore_UnchangedBehindFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := crashfs.New()
		s := mustNew(t, persistent(files, true)...)
		mustSet(t, s, "there", "v")
		gate := make(chan struct{})
		files.SetHook(func(op crashfs.Op, name string) error {
			if op == crashfs.OpSync && strings.Contains(name, "wal-") {
				<-gate
				return errors.New("disk is broken")
			}
			return nil
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			err := s.Batch(func(b *store.Batch) error {
				b.Delete("there")
				return b.Set("new", []byte("x"))
			})
			if !errors.Is(err, store.ErrStoreFailed) {
				t.Errorf("Batch: got %v", err)
			}
		})
		synctest.Wait() // its sync is under way; what follows is decided by its changes
		for name, write := range map[string]func() error{
			"SetNX":          func() error { _, err := s.SetNX("new", []byte("y"), 0); return err },
			"CompareAndSwap": func() error { _, err := s.CompareAndSwap("new", []byte("y"), []byte("z")); return err },
			"Persist":        func() error { return s.Persist("new") },
			"Delete":         func() error { return s.Delete("there") },
		} {
			for range 16 { // together enough to be decided at once
				wg.Go(func() {
					if err := write(); !errors.Is(err, store.ErrStoreFailed) {
						t.Errorf("%s: got %v", name, err)
					}
				})
			}
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		if !s.Exists("there") || s.Exists("new") {
			t.Error("memory shows what failed")
		}
		if err := s.Close(); !errors.Is(err, store.ErrStoreFailed) {
			t.Errorf("Close: got %v", err)
		}
	})
}

// TestStore_FailureAmidWrites fails a sync while many write: nobody succeeds behind
// it, what failed is not in memory, and what was acknowledged survives a power loss.
func TestStore_FailureAmidWrites(t *testing.T) {
	for after := range 20 {
		files := crashfs.New()
		s := mustNew(t, persistent(files, true)...)
		var syncs atomic.Int64
		files.SetHook(func(op crashfs.Op, _ string) error {
			if op == crashfs.OpSync && syncs.Add(1) > int64(5+after) {
				return errors.New("disk is broken")
			}
			return nil
		})
		var wg sync.WaitGroup
		var acknowledged sync.Map
		for writer := range 40 {
			wg.Go(func() {
				for i := 0; ; i++ {
					k := fmt.Sprintf("%d-%d", writer, i)
					if writer == 0 && i%7 == 6 {
						_ = s.Snapshot() // fails in its time, too
					}
					if err := s.Set(k, []byte("v")); err != nil {
						if s.Exists(k) {
							t.Errorf("key %s, whose Set failed, is there", k)
						}
						return
					}
					acknowledged.Store(k, true)
				}
			})
		}
		wg.Wait()
		if err := s.Set("k", []byte("v")); !errors.Is(err, store.ErrStoreFailed) {
			t.Errorf("after the failure: got %v", err)
		}
		_ = s.Close() // says that it failed
		files.SetHook(nil)
		s = mustNew(t, persistent(files.Crash(crashfs.CrashOptions{}), true)...)
		for k := range acknowledged.Range {
			if !s.Exists(k.(string)) {
				t.Errorf("acknowledged key %v is lost", k)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
