package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func TestStore_BadInput(t *testing.T) {
	s := mustNew(t, store.WithMaxKeySize(4), store.WithMaxValueSize(8))
	mustSet(t, s, "k", "kept")
	for name, tt := range map[string]struct {
		do   func() error
		want error
	}{
		"EmptyKey":      {func() error { return s.Set("", []byte("v")) }, store.ErrEmptyKey},
		"KeyTooLarge":   {func() error { return s.Set("12345", []byte("v")) }, store.ErrKeyTooLarge},
		"NilValue":      {func() error { return s.Set("k", nil) }, store.ErrNilValue},
		"ValueTooLarge": {func() error { return s.Set("k", make([]byte, 9)) }, store.ErrValueTooLarge},
		"NegativeTTL":   {func() error { return s.SetWithTTL("k", []byte("v"), -1) }, store.ErrInvalidTTL},
		"TTLOverflow":   {func() error { return s.SetWithTTL("k", []byte("v"), math.MaxInt64) }, store.ErrInvalidTTL},
		"ExpireZero":    {func() error { return s.Expire("k", 0) }, store.ErrInvalidTTL},
		"ExpireAbsent":  {func() error { return s.Expire("x", time.Second) }, store.ErrKeyNotFound},
		"IncrText":      {func() error { _, err := s.Incr("k", 1); return err }, store.ErrNotInteger},
		"SwapAbsent":    {func() error { _, err := s.CompareAndSwap("x", nil, []byte("v")); return err }, store.ErrKeyNotFound},
		"NoDataDir":     {func() error { return s.Snapshot() }, store.ErrNotPersistent},
	} {
		if err := tt.do(); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	expect(t, s, "k", "kept")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"Set": s.Set("k", []byte("v")), "Delete": s.Delete("k"), "Clear": s.Clear(), "Close again": s.Close(),
	} {
		if name == "Close again" {
			if err != nil {
				t.Errorf("%s: got %v", name, err)
			}
		} else if !store.IsClosed(err) {
			t.Errorf("%s after Close: got %v", name, err)
		}
	}
	if _, err := s.Get("k"); !store.IsClosed(err) {
		t.Errorf("Get after Close: got %v", err)
	}
}

// TestOptions_Invalid shows that New names the field that is wrong.
func TestOptions_Invalid(t *testing.T) {
	for field, opt := range map[string]store.Option{
		"MaxKeySize":          store.WithMaxKeySize(0),
		"MaxValueSize":        store.WithMaxValueSize(-1),
		"MaxEntries":          store.WithMaxEntries(0),
		"MaxBytes":            store.WithMaxBytes(-1),
		"ShardCount":          store.WithShardCount(1 << 20),
		"SyncInterval":        store.WithSyncInterval(0),
		"SnapshotInterval":    store.WithSnapshotInterval(-time.Second),
		"CleanupInterval":     store.WithCleanupInterval(0),
		"MaxSegmentSize":      store.WithMaxSegmentSize(1),
		"CompactionThreshold": store.WithCompactionThreshold(0),
		"EvictionPolicy":      store.WithEvictionPolicy(42),
		"PersistenceMode":     store.WithPersistenceMode(42),
		"DataDir":             store.WithPersistenceMode(store.PersistenceWAL),
	} {
		var invalid *store.ValidationError
		if _, err := store.New(opt); !errors.As(err, &invalid) || invalid.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
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

func TestStore_Range(t *testing.T) {
	s := mustNew(t)
	for _, key := range []string{"b/2", "a", "b/1", "c", "b/3"} {
		mustSet(t, s, key, key+"!")
	}
	var got []string
	for key, value := range s.Range("b/", "b/2") {
		got = append(got, key+string(value))
		if err := s.Delete(key); err != nil { // a loop sees the store as it began
			t.Fatal(err)
		}
	}
	if want := []string{"b/2b/2!", "b/3b/3!"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := s.Keys(""), []string{"a", "b/1", "c"}; !slices.Equal(got, want) {
		t.Errorf("Keys: got %v, want %v", got, want)
	}
	if err := s.Clear(); err != nil {
		t.Fatal(err)
	}
	if got := maps.Collect(s.All()); len(got) != 0 {
		t.Errorf("after Clear: got %v", got)
	}
}

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

// persistent are the options of a store on files, synced or not.
func persistent(files wal.FS, synced bool) []store.Option {
	return []store.Option{
		store.WithDataDir("data"), store.WithFS(files), store.WithSyncWrites(synced),
		store.WithSyncInterval(time.Hour), store.WithSnapshotInterval(time.Hour), store.WithMaxSegmentSize(4 << 10),
	}
}

// TestStore_Reopen shows what each mode keeps over a close, and over the death
// of the process.
func TestStore_Reopen(t *testing.T) {
	for _, tt := range []struct {
		mode              store.PersistenceMode
		afterKill, closed string
	}{
		{store.PersistenceWAL, "v", "v"}, {store.PersistenceFull, "v", "v"}, {store.PersistenceSnapshot, "", "v"},
	} {
		t.Run(tt.mode.String(), func(t *testing.T) {
			files := crashfs.New()
			opts := append(persistent(files, false), store.WithPersistenceMode(tt.mode))
			s := mustNew(t, opts...)
			mustSet(t, s, "gone", "x")
			mustSet(t, s, "k", "v")
			if err := s.Delete("gone"); err != nil {
				t.Fatal(err)
			}
			if err := s.SetWithTTL("ttl", []byte("t"), time.Hour); err != nil {
				t.Fatal(err)
			}
			killed := mustNew(t, append(persistent(files.Clone(), false), store.WithPersistenceMode(tt.mode))...)
			expect(t, killed, "k", tt.afterKill)
			expect(t, killed, "gone", "")
			before, err := s.GetEntry("k")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			again := mustNew(t, opts...)
			expect(t, again, "k", tt.closed)
			expect(t, again, "gone", "")
			after, err := again.GetEntry("k")
			if err != nil || !after.Metadata.CreatedAt.Equal(before.Metadata.CreatedAt) || after.Metadata.Version != before.Metadata.Version {
				t.Errorf("metadata: got %+v, %v, want %+v", after.Metadata, err, before.Metadata)
			}
			if ttl, err := again.TTL("ttl"); err != nil || ttl <= 0 || ttl > time.Hour {
				t.Errorf("TTL: got %v, %v", ttl, err)
			}
		})
	}
}

// TestStore_GroupCommit shows that writers who wait share a sync: those that
// come while one is under way need one more, all together.
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
		if syncs := s.Metrics().WALSyncs - before; syncs != 2 {
			t.Errorf("64 writes took %d syncs, want 2", syncs)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestStore_PowerLoss crashes a synced store at every operation of its
// filesystem: what was acknowledged is there when it is opened again, and each
// key has a value that was written to it.
func TestStore_PowerLoss(t *testing.T) {
	for at := 1; ; at++ {
		files := crashfs.New()
		n := 0
		files.SetHook(func(op crashfs.Op, _ string) error {
			if op.Mutates() {
				if n++; n == at {
					files.Halt()
				}
			}
			return nil
		})
		acked := script(files)
		done := n < at
		after := files.Crash(crashfs.CrashOptions{})
		s, err := store.New(persistent(after, true)...)
		if err != nil {
			t.Fatalf("crash at operation %d: %v", at, err)
		}
		for key, want := range acked {
			got, err := s.Get(key)
			if want == "" {
				if !store.IsNotFound(err) {
					t.Fatalf("crash at operation %d: deleted %s is back: %q, %v", at, key, got, err)
				}
			} else if err != nil || string(got) != want {
				t.Fatalf("crash at operation %d: %s: got %q, %v, want %q", at, key, got, err, want)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if done {
			t.Logf("%d operations", n)
			return
		}
	}
}

// script writes, snapshots and closes, and returns what was acknowledged; a key
// whose last write was not is left out.
func script(files wal.FS) map[string]string {
	acked := map[string]string{}
	s, err := store.New(persistent(files, true)...)
	if err != nil {
		return acked
	}
	defer func() { _ = s.Close() }()
	for i := range 12 {
		key, value := fmt.Sprintf("k%d", i%4), fmt.Sprint(i)
		delete(acked, key)
		if i%5 == 4 {
			if s.Delete(key) == nil {
				acked[key] = ""
			}
		} else if s.Set(key, []byte(value)) == nil {
			acked[key] = value
		}
		if i == 6 {
			_ = s.Snapshot()
		}
	}
	return acked
}

// TestStore_WriteFails shows that a failed write is final: the caller, OnError
// and every later write are told, and reads go on.
func TestStore_WriteFails(t *testing.T) {
	files := crashfs.New()
	told := make(chan error, 10)
	s := mustNew(t, append(persistent(files, true), store.WithOnError(func(err error) { told <- err }))...)
	mustSet(t, s, "k", "v")
	broken := errors.New("disk is broken")
	files.SetHook(func(op crashfs.Op, _ string) error {
		if op == crashfs.OpSync {
			return broken
		}
		return nil
	})
	if err := s.Set("k", []byte("w")); !errors.Is(err, store.ErrStoreFailed) || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	files.SetHook(nil)
	if err := s.Set("k", []byte("x")); !errors.Is(err, store.ErrStoreFailed) {
		t.Errorf("after the failure: got %v", err)
	}
	if err := <-told; !errors.Is(err, broken) {
		t.Errorf("OnError: got %v", err)
	}
	expect(t, s, "k", "v")
}

// TestStore_Damaged shows that every flipped byte of a snapshot, and of the log,
// is found when the store is opened, with the file's name.
func TestStore_Damaged(t *testing.T) {
	files := crashfs.New()
	s := mustNew(t, persistent(files, true)...)
	mustSet(t, s, "a", "1")
	if err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	mustSet(t, s, "b", "2")
	mustSet(t, s, "c", "3")
	whole := files.Clone()
	names, err := whole.ReadDir("data/snapshots")
	if err != nil || len(names) != 1 {
		t.Fatalf("snapshots: %v, %v", names, err)
	}
	path := "data/snapshots/" + names[0]
	info, err := whole.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for off := range info.Size() {
		flipped := whole.Clone()
		if err := flipped.FlipBit(path, off, uint(off%8)); err != nil {
			t.Fatal(err)
		}
		_, err := store.New(persistent(flipped, true)...)
		var version *wal.VersionError
		if !errors.Is(err, wal.ErrCorrupt) && !errors.As(err, &version) {
			t.Errorf("bit flipped at %d of the snapshot: got %v", off, err)
		} else if !strings.Contains(err.Error(), names[0]) {
			t.Errorf("%v does not name %s", err, names[0])
		}
	}
	missing := whole.Clone()
	if err := missing.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := store.New(persistent(missing, true)...); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("snapshot missing: got %v", err)
	}
}

// TestStore_CloseWhileSaving shows that a Close waits for a Snapshot that is
// under way, and that one which comes too late is told so.
func TestStore_CloseWhileSaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := crashfs.New()
		told := make(chan error, 10)
		s := mustNew(t, append(persistent(files, false), store.WithPersistenceMode(store.PersistenceWAL),
			store.WithOnError(func(err error) { told <- err }))...)
		mustSet(t, s, "k", "v")
		gate := make(chan struct{})
		files.SetHook(func(op crashfs.Op, name string) error {
			if op == crashfs.OpSync && strings.HasSuffix(name, ".tmp") {
				<-gate
			}
			return nil
		})
		saved, closed := make(chan error, 1), make(chan error, 1)
		go func() { saved <- s.Snapshot() }()
		synctest.Wait()
		go func() { closed <- s.Close() }()
		synctest.Wait()
		select {
		case err := <-closed:
			t.Errorf("Close did not wait: %v", err)
		default:
		}
		close(gate)
		if err := <-saved; err != nil {
			t.Errorf("Snapshot: %v", err)
		}
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := s.Snapshot(); !store.IsClosed(err) {
			t.Errorf("Snapshot after Close: got %v", err)
		}
		if len(told) > 0 {
			t.Errorf("OnError: %v", <-told)
		}
	})
}

// TestStore_InUse shows that two stores don't share a directory.
func TestStore_InUse(t *testing.T) {
	dir := t.TempDir()
	mustNew(t, store.WithDataDir(dir))
	if _, err := store.New(store.WithDataDir(dir)); !errors.Is(err, store.ErrDataDirInUse) {
		t.Errorf("got %v", err)
	}
}

// TestStore_Compaction shows that overwrites don't make the log grow for ever.
func TestStore_Compaction(t *testing.T) {
	files := crashfs.New()
	s := mustNew(t, append(persistent(files, false), store.WithCompactionThreshold(50))...)
	for i := range 2000 {
		mustSet(t, s, "k", fmt.Sprint(i))
	}
	deadline := time.Now().Add(10 * time.Second)
	for s.Metrics().Snapshots == 0 && time.Now().Before(deadline) {
		mustSet(t, s, "k", "more")
	}
	if s.Metrics().Snapshots == 0 {
		t.Error("no snapshot after 2,000 overwrites with a threshold of 50")
	}
}
