package store_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// writers are all calls that store a value under a key.
var writers = map[string]func(s *store.Store, key string, value []byte, ttl time.Duration) error{
	"SetWithTTL": func(s *store.Store, key string, value []byte, ttl time.Duration) error {
		return s.SetWithTTL(key, value, ttl)
	},
	"CompareAndSwap": func(s *store.Store, key string, value []byte, ttl time.Duration) error {
		if ttl != 0 { // which it has none of
			return s.SetWithTTL(key, value, ttl)
		}
		_, err := s.CompareAndSwap(key, nil, value)
		return err
	},
	"SetNX": func(s *store.Store, key string, value []byte, ttl time.Duration) error {
		_, err := s.SetNX(key, value, ttl)
		return err
	},
	"Batch": func(s *store.Store, key string, value []byte, ttl time.Duration) error {
		return s.Batch(func(b *store.Batch) error {
			return errors.Join(b.Set("other", []byte("x")), b.SetWithTTL(key, value, ttl))
		})
	},
}

// TestBadInput_Set shows that what cannot be stored is refused by every call
// with an error that names the key and its cause, and changes nothing: not in
// memory, and not in the log.
func TestBadInput_Set(t *testing.T) {
	const maxKey, maxValue = 16, 64
	v := []byte("v")
	for name, tt := range map[string]struct {
		key   string
		value []byte
		ttl   time.Duration
		want  error
	}{
		"EmptyKey":      {"", v, 0, store.ErrEmptyKey},
		"KeyTooLarge":   {strings.Repeat("k", maxKey+1), v, 0, store.ErrKeyTooLarge},
		"KeyHuge":       {strings.Repeat("k", 1<<20), v, 0, store.ErrKeyTooLarge},
		"NilValue":      {"new", nil, 0, store.ErrNilValue},
		"ValueTooLarge": {"new", make([]byte, maxValue+1), 0, store.ErrValueTooLarge},
		"ValueHuge":     {"new", make([]byte, 8<<20), 0, store.ErrValueTooLarge},
		"NegativeTTL":   {"new", v, -1, store.ErrInvalidTTL},
		"LeastTTL":      {"new", v, math.MinInt64, store.ErrInvalidTTL},
		"TTLOverflow":   {"new", v, math.MaxInt64, store.ErrInvalidTTL},
	} {
		for call, write := range writers {
			t.Run(name+"/"+call, func(t *testing.T) {
				files := crashfs.New()
				opts := []store.Option{store.WithMaxKeySize(maxKey), store.WithMaxValueSize(maxValue)}
				s, err := setups[0].open(files, opts...)
				if err != nil {
					t.Fatal(err)
				}
				mustSet(t, s, "kept", "1")
				err = write(s, tt.key, tt.value, tt.ttl)
				var named *store.KeyError
				if !errors.Is(err, tt.want) || !errors.As(err, &named) || named.Key != tt.key {
					t.Errorf("got %v, want %v of the key", err, tt.want)
				}
				if err != nil && len(err.Error()) > 500 {
					t.Errorf("the error has %d bytes", len(err.Error()))
				}
				mustHave(t, s, contents{"kept": "1"})
				mustClose(t, s, files)
				if s, err = setups[0].open(files, opts...); err != nil {
					t.Fatal(err)
				}
				mustHave(t, s, contents{"kept": "1"})
				mustClose(t, s, files)
			})
		}
	}
}

// mustHave checks that s has these keys and no others, and that its figures agree.
func mustHave(t testing.TB, s *store.Store, want contents) {
	t.Helper()
	if got := contentsOf(s); !maps.Equal(got, want) {
		t.Errorf("got %.300q, want %.300q", got, want)
	}
	var size int64
	for key, value := range want {
		size += int64(len(key) + len(value))
	}
	if s.Len() != len(want) || s.Size() != size {
		t.Errorf("got %d keys of %d bytes, want %d of %d", s.Len(), s.Size(), len(want), size)
	}
}

// TestBadInput_AtTheLimit shows that the limits themselves are allowed.
func TestBadInput_AtTheLimit(t *testing.T) {
	clock := newFakeClock()
	s := mustNew(t, store.WithClock(clock.Now), store.WithMaxKeySize(4), store.WithMaxValueSize(8))
	mustSet(t, s, "1234", "12345678")
	mustSet(t, s, "k", "")
	longest := time.Duration(math.MaxInt64 - clock.Now().UnixNano())
	if err := s.SetWithTTL("k", []byte{}, longest); err != nil {
		t.Errorf("the longest time to live: %v", err)
	}
	if err := s.SetWithTTL("k", []byte{}, longest+1); !errors.Is(err, store.ErrInvalidTTL) {
		t.Errorf("one more: got %v", err)
	}
	if ttl, err := s.TTL("k"); err != nil || ttl != longest {
		t.Errorf("TTL: got %v, %v, want %v", ttl, err, longest)
	}
	for name, ttl := range map[string]time.Duration{"zero": 0, "negative": -1, "overflow": math.MaxInt64} {
		var named *store.KeyError
		if err := s.Expire("k", ttl); !errors.Is(err, store.ErrInvalidTTL) || !errors.As(err, &named) || named.Key != "k" {
			t.Errorf("Expire with a %s time to live: got %v", name, err)
		}
	}
}

// TestBadInput_IncrTooLarge shows that a sum is a value like any other, with the
// same limit.
func TestBadInput_IncrTooLarge(t *testing.T) {
	s := mustNew(t, store.WithMaxValueSize(2))
	if n, err := s.Incr("k", 99); n != 99 || err != nil {
		t.Errorf("at the limit: got %d, %v", n, err)
	}
	for _, delta := range []int64{1, -109} {
		var named *store.KeyError
		if _, err := s.Incr("k", delta); !errors.Is(err, store.ErrValueTooLarge) || !errors.As(err, &named) || named.Key != "k" {
			t.Errorf("Incr by %d: got %v", delta, err)
		}
	}
	mustHave(t, s, contents{"k": "99"})
}

// TestBadInput_Full shows that a full store without eviction refuses what would
// make it grow, in every call, and takes what would not.
func TestBadInput_Full(t *testing.T) {
	for name, limit := range map[string]store.Option{
		"Entries": store.WithMaxEntries(2), "Bytes": store.WithMaxBytes(4),
	} {
		t.Run(name, func(t *testing.T) {
			s := mustNew(t, limit)
			mustSet(t, s, "a", "1")
			mustSet(t, s, "b", "2")
			for call, write := range writers {
				if call == "CompareAndSwap" { // which makes no key
					continue
				}
				if err := write(s, "c", []byte("3"), 0); !store.IsFull(err) {
					t.Errorf("%s: got %v", call, err)
				}
			}
			if _, err := s.Incr("c", 1); !store.IsFull(err) {
				t.Errorf("Incr: got %v", err)
			}
			mustHave(t, s, contents{"a": "1", "b": "2"})
			mustSet(t, s, "b", "3")
			if err := batching("4", "a", "c").call(s); err != nil { // one goes, one comes
				t.Errorf("a batch that keeps the size: %v", err)
			}
			mustHave(t, s, contents{"b": "3", "c": "4"})
			if err := s.Delete("b"); err != nil {
				t.Fatal(err)
			}
			mustSet(t, s, "d", "5")
			mustHave(t, s, contents{"c": "4", "d": "5"})
		})
	}
}

// TestBadInput_Closed shows what every call says after Close.
func TestBadInput_Closed(t *testing.T) {
	for _, mode := range []store.PersistenceMode{store.PersistenceNone, store.PersistenceFull} {
		t.Run(mode.String(), func(t *testing.T) {
			opts := []store.Option{store.WithPersistenceMode(mode)}
			if mode != store.PersistenceNone {
				opts = append(opts, store.WithDataDir("data"), store.WithFS(crashfs.New()))
			}
			s := mustNew(t, opts...)
			mustSet(t, s, "k", "1")
			rest := s.All()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			get := func(_ any, err error) error { return err }
			for call, err := range map[string]error{
				"Get": get(s.Get("k")), "GetShared": get(s.GetShared("k")), "GetEntry": get(s.GetEntry("k")), "TTL": get(s.TTL("k")),
				"Set": s.Set("k", []byte("2")), "SetWithTTL": s.SetWithTTL("k", []byte("2"), 1), "SetNX": get(s.SetNX("n", []byte("2"), 0)),
				"CompareAndSwap": get(s.CompareAndSwap("k", []byte("1"), []byte("2"))), "Incr": get(s.Incr("k", 1)),
				"Delete": s.Delete("k"), "Expire": s.Expire("k", time.Hour), "Persist": s.Persist("k"), "Clear": s.Clear(),
				"Batch": batching("2", "", "k").call(s),
			} {
				if !store.IsClosed(err) {
					t.Errorf("%s: got %v", call, err)
				}
			}
			for call, err := range map[string]error{"Snapshot": s.Snapshot(), "Compact": s.Compact()} {
				if !store.IsClosed(err) && (mode != store.PersistenceNone || !errors.Is(err, store.ErrNotPersistent)) {
					t.Errorf("%s: got %v", call, err)
				}
			}
			for range rest {
				t.Error("a loop that begins after Close has a key")
			}
			if s.Exists("k") || len(s.Keys("")) != 0 {
				t.Error("a closed store has a key")
			}
			if err := s.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
			if got := s.Metrics().Sets; got != 1 {
				t.Errorf("metrics after Close: %d sets", got)
			}
		})
	}
}

// TestBadInput_DataDir shows that a data directory that cannot be one is an
// error that names it.
func TestBadInput_DataDir(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := func(t *testing.T, path, named string, want error) {
		t.Helper()
		s, err := store.New(store.WithDataDir(path))
		if err == nil {
			_ = s.Close()
		}
		if !errors.Is(err, want) || !strings.Contains(err.Error(), named) {
			t.Errorf("got %v, want %v of %s", err, want, named)
		}
	}
	t.Run("File", func(t *testing.T) { refused(t, file, file, syscall.ENOTDIR) })
	t.Run("BelowFile", func(t *testing.T) { refused(t, filepath.Join(file, "data"), file, syscall.ENOTDIR) })
	if got, err := os.ReadFile(file); err != nil || string(got) != "mine" {
		t.Errorf("the file holds %q, %v", got, err)
	}
}

// TestBadInput_FullDisk fills the disk under every setup and with room for more
// and more: the write that does not fit fails with ENOSPC, all others are there
// when there is room again.
func TestBadInput_FullDisk(t *testing.T) {
	lessGC(t)
	for _, c := range setups {
		t.Run(c.String(), func(t *testing.T) {
			refused, failed := 0, 0 // by New; of the other calls
			for room := int64(0); room <= 40<<10; room += 1000 {
				files := crashfs.New()
				files.SetCapacity(max(room, 1))
				want := fillDisk(t, c, files, &refused, &failed)
				files.SetCapacity(0)
				s, err := c.open(files)
				if err != nil {
					t.Fatalf("%d bytes of room: New with room again: %v", room, err)
				}
				if got := contentsOf(s); !got.in(want) {
					t.Fatalf("%d bytes of room: got %.200q, want one of %.400q", room, got, want)
				}
				mustSet(t, s, "more", "1")
				mustClose(t, s, files)
			}
			t.Logf("New failed %d times, later calls %d times", refused, failed)
		})
	}
}

// fillDisk writes until the disk is full, and returns what may be left then.
func fillDisk(t *testing.T, c setup, files *crashfs.FS, refused, failed *int) []contents {
	t.Helper()
	s, err := c.open(files)
	if err != nil {
		if !errors.Is(err, syscall.ENOSPC) || files.OpenFiles() != 0 {
			t.Errorf("New: got %v with %d files open", err, files.OpenFiles())
		}
		*refused++
		return []contents{{}}
	}
	now, saved := contents{}, []contents{{}}
	for i := range 16 {
		ch := setting(fmt.Sprintf("k%d", i%10), long(fmt.Sprint(i), 900))
		if i%4 == 3 {
			switch err := s.Snapshot(); {
			case err == nil:
				saved = nil
			case errors.Is(err, syscall.ENOSPC):
				*failed++
			default:
				t.Errorf("Snapshot: %v", err)
			}
			saved = append(saved, now)
		}
		next := ch.after(now)
		if err := ch.call(s); err != nil {
			if !errors.Is(err, store.ErrStoreFailed) || !errors.Is(err, syscall.ENOSPC) || !c.logged() {
				t.Errorf("%s: got %v", ch.name, err)
			}
			if got := contentsOf(s); !maps.Equal(got, now) {
				t.Errorf("after a failed write: got %.200q, want %.200q", got, now)
			}
			*failed++
			_ = s.Close() // may fail or not
			return []contents{now, next}
		}
		now = next
	}
	if err := s.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close: %v", err)
	}
	if c.logged() {
		return []contents{now}
	}
	return append(saved, now)
}

// TestBadInput_Modes shows that a directory is not opened in a mode that would
// pass over what is there.
func TestBadInput_Modes(t *testing.T) {
	files := crashfs.New()
	s, err := setup{store.PersistenceWAL, true}.open(files)
	if err != nil {
		t.Fatal(err)
	}
	mustSet(t, s, "k", "1")
	mustClose(t, s, files)
	var invalid *store.ValidationError
	if _, err := (setup{store.PersistenceSnapshot, false}).open(files); !errors.As(err, &invalid) || invalid.Field != "PersistenceMode" {
		t.Errorf("a log opened for snapshots alone: got %v", err)
	}
	if s, err = (setup{store.PersistenceFull, true}).open(files); err != nil {
		t.Fatal(err)
	}
	mustHave(t, s, contents{"k": "1"})
	mustClose(t, s, files)
	if s, err = (setup{store.PersistenceWAL, true}).open(files); err != nil {
		t.Fatal(err)
	}
	mustHave(t, s, contents{"k": "1"})
	mustClose(t, s, files)
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
