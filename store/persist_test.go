package store_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

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
