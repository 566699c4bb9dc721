package store_test

import (
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// contents is what a store holds: the value of each key.
type contents map[string]string

// contentsOf returns what s shows.
func contentsOf(s *store.Store) contents {
	c := contents{}
	for key, value := range s.All() {
		c[key] = string(value)
	}
	return c
}

// in says whether c is one of several contents.
func (c contents) in(several []contents) bool {
	for _, other := range several {
		if maps.Equal(c, other) {
			return true
		}
	}
	return false
}

// change is one call that changes a store.
type change struct {
	name  string
	call  func(s *store.Store) error
	apply func(c contents) // what it makes of a store's contents
	needs string           // a key without which it fails; empty for none
}

// after returns what the change makes of c, which stays as it is.
func (ch change) after(c contents) contents {
	c = maps.Clone(c)
	ch.apply(c)
	return c
}

func setting(key, value string) change {
	return change{
		name:  "set " + key,
		call:  func(s *store.Store) error { return s.Set(key, []byte(value)) },
		apply: func(c contents) { c[key] = value },
	}
}

func deleting(key string) change {
	return change{
		name:  "delete " + key,
		call:  func(s *store.Store) error { return s.Delete(key) },
		apply: func(c contents) { delete(c, key) },
		needs: key,
	}
}

func clearing() change {
	return change{name: "clear", call: (*store.Store).Clear, apply: func(c contents) { clear(c) }}
}

// batching sets every key to value and deletes one, if it is not empty.
func batching(value, deleted string, keys ...string) change {
	return change{
		name: fmt.Sprintf("batch of %v", keys),
		call: func(s *store.Store) error {
			return s.Batch(func(b *store.Batch) error {
				if deleted != "" {
					b.Delete(deleted)
				}
				var errs []error
				for _, key := range keys {
					errs = append(errs, b.Set(key, []byte(value)))
				}
				return errors.Join(errs...)
			})
		},
		apply: func(c contents) {
			delete(c, deleted)
			for _, key := range keys {
				c[key] = value
			}
		},
		needs: deleted,
	}
}

// long returns a value of n bytes that tells which it is.
func long(name string, n int) string { return name + strings.Repeat("-", n-len(name)) }

// setup is a mode of persistence and whether each write is synced.
type setup struct {
	mode   store.PersistenceMode
	synced bool
}

// setups are all that touch a disk.
var setups = []setup{
	{store.PersistenceWAL, true},
	{store.PersistenceWAL, false},
	{store.PersistenceFull, true},
	{store.PersistenceFull, false},
	{store.PersistenceSnapshot, false},
}

func (c setup) String() string { return fmt.Sprintf("%s,synced=%t", c.mode, c.synced) }

// logged says whether a write that returned nil survives the process.
func (c setup) logged() bool { return c.mode != store.PersistenceSnapshot }

// open opens a store whose segments are as small as they may be, and whose
// workers wait for an hour.
func (c setup) open(files wal.FS, opts ...store.Option) (*store.Store, error) {
	return store.New(append([]store.Option{
		store.WithDataDir("data"), store.WithFS(files), store.WithPersistenceMode(c.mode), store.WithSyncWrites(c.synced),
		store.WithShardCount(4), store.WithMaxSegmentSize(4 << 10),
		store.WithSyncInterval(time.Hour), store.WithSnapshotInterval(time.Hour), store.WithCleanupInterval(time.Hour),
	}, opts...)...)
}

// mustClose closes s, and checks that it left no file open.
func mustClose(t testing.TB, s *store.Store, files *crashfs.FS) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if n := files.OpenFiles(); n != 0 {
		t.Fatalf("%d files are open after Close", n)
	}
}

// lessGC collects garbage less often until the end of a test that opens a store
// thousands of times: each has large buffers, and little lives for long.
func lessGC(t testing.TB) {
	before := debug.SetGCPercent(1000)
	t.Cleanup(func() { debug.SetGCPercent(before) })
}

// mustNew opens a store and closes it with the test.
func mustNew(t testing.TB, opts ...store.Option) *store.Store {
	t.Helper()
	s, err := store.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func mustSet(t testing.TB, s *store.Store, key, value string) {
	t.Helper()
	if err := s.Set(key, []byte(value)); err != nil {
		t.Fatalf("Set %s: %v", key, err)
	}
}

// expect checks what Get says; "" is for no such key.
func expect(t testing.TB, s *store.Store, key, want string) {
	t.Helper()
	got, err := s.Get(key)
	if want == "" {
		if !store.IsNotFound(err) {
			t.Errorf("Get %s: got %q, %v, want no such key", key, got, err)
		}
	} else if err != nil || string(got) != want {
		t.Errorf("Get %s: got %q, %v, want %q", key, got, err, want)
	}
}

// fakeClock is a clock that a test moves.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func newFakeClock() *fakeClock { return &fakeClock{now: time.Unix(1_700_000_000, 0)} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// persistent are the options of a store on files, synced or not.
func persistent(files wal.FS, synced bool) []store.Option {
	return []store.Option{
		store.WithDataDir("data"), store.WithFS(files), store.WithSyncWrites(synced),
		store.WithSyncInterval(time.Hour), store.WithSnapshotInterval(time.Hour), store.WithMaxSegmentSize(4 << 10),
	}
}
