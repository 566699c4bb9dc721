package store_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

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
		"CompactionBytes":     store.WithCompactionBytes(-1),
		"CompactionInterval":  store.WithCompactionInterval(-1),
		"EvictionPolicy":      store.WithEvictionPolicy(42),
		"PersistenceMode":     store.WithPersistenceMode(42),
		"DataDir":             store.WithPersistenceMode(store.PersistenceWAL),
		"ReadTimeout":         store.WithReadTimeout(-1),
		"SyncWrites":          store.WithSyncWrites(true),
		"Option":              nil,
	} {
		var invalid *store.ValidationError
		if _, err := store.New(opt); !errors.As(err, &invalid) || invalid.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

// TestOptions_SyncWritesNeedsALog shows that WithSyncWrites is refused where there
// is nothing to sync, and taken where there is.
func TestOptions_SyncWritesNeedsALog(t *testing.T) {
	for mode, want := range map[store.PersistenceMode]bool{
		store.PersistenceWAL: true, store.PersistenceFull: true, store.PersistenceSnapshot: false,
	} {
		o := store.DefaultOptions()
		o.Apply(store.WithDataDir("data"), store.WithPersistenceMode(mode), store.WithSyncWrites(true))
		var invalid *store.ValidationError
		err := o.Validate()
		if (err == nil) != want || err != nil && (!errors.As(err, &invalid) || invalid.Field != "SyncWrites") {
			t.Errorf("%s: got %v", mode, err)
		}
	}
	o := store.DefaultOptions()
	o.Apply(store.WithDataDir("data"), store.WithSyncWrites(true)) // which means PersistenceFull
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}

// TestOptions_ClockAdvances shows that time passes in a store whose
// directory was last written by a clock that was ahead, and that nothing in it
// comes back.
func TestOptions_ClockAdvances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := crashfs.New()
		ahead := func() time.Time { return time.Now().Add(time.Hour) }
		s := mustNew(t, append(persistent(files, true), store.WithClock(ahead))...)
		if err := s.SetWithTTL("old", []byte("v"), time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustNew(t, persistent(files, true)...)
		if err := s.SetWithTTL("new", []byte("v"), 2*time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Second)
		expect(t, s, "old", "")
		expect(t, s, "new", "v")
		time.Sleep(time.Minute)
		expect(t, s, "new", "")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// records is an slog.Handler that keeps what it is given.
type records struct {
	mu  sync.Mutex
	all []string // guarded by mu
}

func (r *records) Enabled(context.Context, slog.Level) bool { return true }
func (r *records) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *records) WithGroup(string) slog.Handler            { return r }

func (r *records) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := rec.Level.String() + " " + rec.Message
	rec.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	r.all = append(r.all, text)
	return nil
}

// TestOptions_Logger shows that the logger is told of a failure, and of nothing
// while all goes well.
func TestOptions_Logger(t *testing.T) {
	files, log := crashfs.New(), &records{}
	s := mustNew(t, append(persistent(files, true), store.WithLogger(slog.New(log)))...)
	mustSet(t, s, "k", "v")
	if len(log.all) != 0 {
		t.Errorf("without a failure: %q", log.all)
	}
	broken := breakSyncs(files)
	_ = s.Set("k", []byte("w"))
	_ = s.Close() // fails as the store did
	if len(log.all) != 1 || !strings.HasPrefix(log.all[0], "ERROR") || !strings.Contains(log.all[0], broken.Error()) {
		t.Errorf("got %q, want one error of the disk", log.all)
	}
}
