package store_test

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// The tests of this file hold the library to the walkthrough that it grew from,
// section by section; doc.go lists where it deviates.

func TestWalkthrough_1_Errors(t *testing.T) {
	keyErr := store.NewKeyError("user:1", store.ErrKeyNotFound)
	if got, want := keyErr.Error(), `key "user:1": key not found`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var err error = &store.KeyError{Key: "user:1", Err: store.ErrKeyNotFound}
	if !errors.Is(err, store.ErrKeyNotFound) || !store.IsNotFound(err) {
		t.Error("a KeyError hides what it wraps")
	}
	var as *store.KeyError
	if !errors.As(fmt.Errorf("context: %w", err), &as) || as.Key != "user:1" {
		t.Errorf("got %v", as)
	}
	for want, err := range map[string]error{
		"key not found": store.ErrKeyNotFound, "key expired": store.ErrKeyExpired, "store is closed": store.ErrStoreClosed,
		"key cannot be empty": store.ErrEmptyKey, "value cannot be nil": store.ErrNilValue,
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
	if wal.ErrWALClosed == nil || wal.ErrSegmentFull == nil {
		t.Error("wal has no sentinels")
	}
}

func TestWalkthrough_2_Options(t *testing.T) {
	o := store.DefaultOptions()
	if o.MaxKeySize != 1024 || o.MaxValueSize != 1024*1024 || o.MaxEntries != 1_000_000 ||
		o.SyncInterval != time.Second || o.CleanupInterval != time.Minute ||
		o.SnapshotInterval != 5*time.Minute || o.CompactionThreshold != 1000 || o.CompactionBytes != 64<<20 || o.CompactionInterval != 10*time.Second {
		t.Errorf("defaults: got %+v", o)
	}
	o.Apply(store.WithMaxKeySize(512), store.WithEvictionPolicy(store.EvictionLRU))
	if o.MaxKeySize != 512 || o.EvictionPolicy != store.EvictionLRU || o.MaxValueSize != store.DefaultMaxValueSize {
		t.Errorf("after Apply: got %+v", o)
	}
	if err := o.Validate(); err != nil {
		t.Errorf("valid options: %v", err)
	}
	o.MaxKeySize = -1
	if err := o.Validate(); !store.IsValidation(err) || !strings.Contains(err.Error(), "MaxKeySize") {
		t.Errorf("got %v", err)
	}
	policies := []store.EvictionPolicy{0, 1, 2, 3, 4, 5}
	var names []string
	for _, p := range policies {
		names = append(names, p.String())
	}
	if want := []string{"none", "lru", "lfu", "random", "ttl", "unknown"}; !slices.Equal(names, want) {
		t.Errorf("policies: got %v, want %v", names, want)
	}
	for want, m := range map[string]store.PersistenceMode{
		"none": store.PersistenceNone, "wal": store.PersistenceWAL,
		"snapshot": store.PersistenceSnapshot, "full": store.PersistenceFull,
	} {
		if m.String() != want {
			t.Errorf("mode: got %s, want %s", m, want)
		}
	}
}

func TestWalkthrough_3_Entry(t *testing.T) {
	e := store.NewEntry("key", []byte("value"))
	if e.IsExpired() || e.Metadata.Version != 1 || e.Metadata.Size != 8 || e.Size() != 8 || e.Verify() != nil {
		t.Errorf("new entry: got %+v", e)
	}
	clone := e.Clone()
	clone.Value[0] = 'X'
	if string(e.Value) != "value" {
		t.Error("a clone shares its value")
	}
	if err := clone.Verify(); !errors.Is(err, store.ErrChecksum) {
		t.Errorf("changed value: got %v", err)
	}
	e.Touch()
	if e.Metadata.AccessCount.Load() != 1 || clone.Metadata.AccessCount.Load() != 0 {
		t.Error("Touch does not count, or counts elsewhere")
	}
	decoded, err := store.DecodeEntry(e.Encode())
	if err != nil || decoded.Key != "key" || string(decoded.Value) != "value" || !decoded.ExpiresAt.IsZero() {
		t.Errorf("decoded: got %+v, %v", decoded, err)
	}
	encoded := e.Encode()
	if want := []byte{0, 0, 0, 3, 'k', 'e', 'y', 0, 0, 0, 5}; !slices.Equal(encoded[:11], want) {
		t.Errorf("encoding begins with %v, want %v", encoded[:11], want)
	}
	for i := range encoded {
		if _, err := store.DecodeEntry(encoded[:i]); err == nil {
			t.Errorf("an entry cut at %d is decoded", i)
		}
	}
	e.ExpiresAt = time.Unix(1_700_000_000, 5)
	encoded = e.Encode()
	for i := range encoded { // deadline and version included
		encoded[i] ^= 1 << (i % 8)
		if got, err := store.DecodeEntry(encoded); !errors.Is(err, store.ErrChecksum) && !errors.Is(err, store.ErrMalformedEntry) {
			t.Errorf("byte %d changed: got %+v, %v", i, got, err)
		}
		encoded[i] ^= 1 << (i % 8)
	}
	if expired := store.NewEntryWithTTL("k", nil, -time.Second); !expired.IsExpired() {
		t.Error("an entry of the past has not expired")
	}
	var none *store.Entry
	if none.Clone() != nil {
		t.Error("the clone of nil is something")
	}
}

func TestWalkthrough_4_Shards(t *testing.T) {
	m := store.NewShardedMap(20)
	if n := len(m.Shards()); n != 32 {
		t.Errorf("got %d shards, want the next power of two", n)
	}
	if _, existed := m.Set(store.Item{Key: "user:1", Value: []byte("a")}); existed {
		t.Error("a new key existed")
	}
	old, existed := m.Set(store.Item{Key: "user:1", Value: []byte("bb")})
	if !existed || string(old.Value) != "a" || m.Size() != 8 || m.Len() != 1 {
		t.Errorf("got %+v, %t, %d bytes, %d keys", old, existed, m.Size(), m.Len())
	}
	shard := m.Shard("user:2")
	if shard.Set(store.NewEntryWithTTL("user:2", []byte("new"), time.Hour)) != nil {
		t.Error("Set of a new key returns an old entry")
	}
	replaced := shard.Set(store.NewEntryWithTTL("user:2", []byte("newer"), -time.Second))
	if replaced == nil || string(replaced.Value) != "new" || replaced.Metadata.Version != 1 {
		t.Errorf("replaced: got %+v", replaced)
	}
	if e, ok := shard.Get("user:2"); ok || e != nil {
		t.Errorf("an expired entry: got %+v", e)
	}
	first, ok := m.Shard("user:1").Get("user:1")
	if !ok || string(first.Value) != "bb" || first.Metadata.AccessCount.Load() != 1 {
		t.Errorf("Get: got %+v, %t", first, ok)
	}
	if _, ok := shard.Get("nobody"); ok {
		t.Error("Get of no key")
	}
	sum := 0
	for _, shard := range m.Shards() {
		sum += shard.Len()
	}
	if sum != m.Len() {
		t.Errorf("shards hold %d keys, the map %d", sum, m.Len())
	}
}

func TestWalkthrough_5_WAL(t *testing.T) {
	if wal.DefaultMaxSegmentSize != 64*1024*1024 || wal.HeaderSize != 9 ||
		wal.RecordTypePut != 1 || wal.RecordTypeDelete != 2 || wal.RecordTypeBatch != 3 {
		t.Error("constants differ")
	}
	files := crashfs.New()
	w, err := wal.Open("data", wal.Options{FS: files})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WritePut([]byte("k"), []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Stat("data/wal-0000000000000001.log"); err != nil {
		t.Errorf("segment: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(&wal.Record{Type: wal.RecordTypeDelete, Key: []byte("k")}); !errors.Is(err, wal.ErrWALClosed) {
		t.Errorf("after Close: got %v", err)
	}
}

func TestWalkthrough_6_Store(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, err := store.New(store.WithDataDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetWithTTL("k", []byte("v"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := s.Set("k", []byte("v")); !errors.Is(err, store.ErrStoreClosed) {
		t.Errorf("Set after Close: got %v", err)
	}
	again, err := store.New(store.WithDataDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	expect(t, again, "k", "v")
}

// TestWalkthrough_Exercises does the five: a read timeout, an error of its own for
// large values, random eviction, a logger, benchmarks.
func TestWalkthrough_Exercises(t *testing.T) {
	log := &records{}
	s := mustNew(t, store.WithEvictionPolicy(store.EvictionRandom), store.WithMaxEntries(10),
		store.WithReadTimeout(time.Nanosecond), store.WithLogger(slog.New(log)))
	for i := range 100 {
		mustSet(t, s, fmt.Sprint(i), "v")
	}
	if s.Len() != 10 || s.Metrics().Evictions != 90 {
		t.Errorf("random eviction: %d keys, %d evictions", s.Len(), s.Metrics().Evictions)
	}
	if err := s.Set("k", make([]byte, store.DefaultMaxValueSize+1)); !errors.Is(err, store.ErrValueTooLarge) {
		t.Errorf("got %v", err)
	}
	if err := s.Walk(t.Context(), "", "", func(string, []byte) bool { return true }); !errors.Is(err, store.ErrReadTimeout) {
		t.Errorf("read timeout: got %v", err)
	}
	if len(log.all) != 0 { // see TestOptions_Logger
		t.Errorf("the logger was told of %q", log.all)
	}
}
