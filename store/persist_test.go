package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal"
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

// TestStore_SnapshotInterval shows that a snapshot is taken at each interval in
// which something changed, with its time, in the modes that say so.
func TestStore_SnapshotInterval(t *testing.T) {
	for _, c := range setups {
		synctest.Test(t, func(t *testing.T) {
			files := crashfs.New()
			s, err := c.open(files, store.WithSnapshotInterval(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			files.SetHook(func(op crashfs.Op, name string) error {
				if op == crashfs.OpSync && strings.HasSuffix(name, ".snap.tmp") {
					time.Sleep(3 * time.Second)
				}
				return nil
			})
			mustSet(t, s, "k", "v")
			time.Sleep(150 * time.Second) // the second finds nothing new
			want := store.Metrics{}
			if c.mode != store.PersistenceWAL {
				want.Snapshots, want.SnapshotTime = 1, 3*time.Second
			}
			if got := s.Metrics(); got.Snapshots != want.Snapshots || got.SnapshotTime != want.SnapshotTime {
				t.Errorf("%s: got %d snapshots, the last in %v, want %d in %v", c, got.Snapshots, got.SnapshotTime, want.Snapshots, want.SnapshotTime)
			}
			mustClose(t, s, files)
		})
	}
}

// TestStore_Compaction shows that a snapshot shortens the log early when as many
// changes are dead as the threshold says and as there are keys, in every mode
// that has a log, also if the store was opened again meanwhile.
func TestStore_Compaction(t *testing.T) {
	const threshold, keys = 50, 80
	for _, c := range setups {
		if !c.logged() {
			continue
		}
		for _, distinct := range []int{1, keys} {
			synctest.Test(t, func(t *testing.T) {
				files := crashfs.New()
				open := func() *store.Store {
					s, err := c.open(files, store.WithCompactionThreshold(threshold), store.WithCompactionBytes(0))
					if err != nil {
						t.Fatal(err)
					}
					return s
				}
				s, writes := open(), 0
				write := func(n int) {
					for range n {
						mustSet(t, s, fmt.Sprint(writes%distinct), long("v", 100))
						writes++
					}
					synctest.Wait()
				}
				write(distinct) // which makes no garbage
				due := max(threshold, distinct)
				write(due - 1)
				if got := s.Metrics().Snapshots; got != 0 {
					t.Errorf("%s: %d snapshots after %d overwrites of %d keys", c, got, due-1, distinct)
				}
				if c.mode == store.PersistenceWAL { // else Close takes one
					mustClose(t, s, files)
					s = open()
				}
				before := s.Metrics().WALBytes
				write(1)
				if got := s.Metrics(); got.Snapshots != 1 || distinct == keys && got.WALBytes >= before {
					t.Errorf("%s: %d snapshots after %d overwrites of %d keys, %d bytes of log, before %d", c, got.Snapshots, due, distinct, got.WALBytes, before)
				}
				mustClose(t, s, files)
			})
		}
	}
}

// TestStore_CompactionOnce shows that one snapshot is taken, not two, if there are writes
// between the moment at which it is due and the one at which it begins.
func TestStore_CompactionOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files, gate, saving := crashfs.New(), make(chan struct{}), make(chan struct{})
		s := mustNew(t, append(persistent(files, true), store.WithPersistenceMode(store.PersistenceWAL), store.WithCompactionThreshold(10), store.WithCompactionBytes(0))...)
		for range 10 {
			mustSet(t, s, "k", "v") // the first leaves nothing behind
		}
		files.SetHook(func(op crashfs.Op, name string) error {
			switch {
			case op == crashfs.OpSync && strings.Contains(name, "wal-"):
				<-gate
			case op == crashfs.OpSync && strings.HasSuffix(name, ".snap.tmp"):
				<-saving
			}
			return nil
		})
		var calls sync.WaitGroup
		write := func() {
			calls.Go(func() { mustSet(t, s, "k", "v") })
			synctest.Wait()
		}
		write() // with it the snapshot is due
		write() // waits for that one's sync, and the snapshot for this one's
		gate <- struct{}{}
		synctest.Wait()
		gate <- struct{}{}
		synctest.Wait()
		write() // is not in the snapshot
		close(gate)
		close(saving)
		calls.Wait()
		synctest.Wait()
		if got := s.Metrics().Snapshots; got != 1 {
			t.Errorf("%d snapshots, want 1", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestStore_CompactionAfterClear shows that what a Clear leaves behind in the log
// counts at once.
func TestStore_CompactionAfterClear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := crashfs.New()
		s := mustNew(t, append(persistent(files, true), store.WithPersistenceMode(store.PersistenceWAL), store.WithCompactionThreshold(10), store.WithCompactionBytes(0))...)
		for i := range 10 {
			mustSet(t, s, fmt.Sprint(i), "v")
		}
		if err := s.Clear(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := s.Metrics().Snapshots; got != 1 {
			t.Errorf("%d snapshots after a Clear of 10 keys, want 1", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestStore_SnapshotFullDisk has room for a snapshot, and none for the list of the log's
// files: the log stays, the store is as good as before, and the next snapshot shortens it.
func TestStore_SnapshotFullDisk(t *testing.T) {
	files := crashfs.New()
	opts := persistent(files, true)
	s := mustNew(t, opts...)
	mustSet(t, s, "k", "v")
	files.SetHook(func(op crashfs.Op, name string) error {
		if op == crashfs.OpWrite && strings.Contains(name, wal.ManifestName) {
			return crashfs.ErrNoSpace
		}
		return nil
	})
	if err := s.Snapshot(); !errors.Is(err, wal.ErrNoRoom) || errors.Is(err, store.ErrStoreFailed) {
		t.Errorf("snapshot: got %v, want ErrNoRoom and no failure", err)
	}
	if err := s.Set("k", []byte("w")); err != nil {
		t.Errorf("set: %v", err)
	}
	files.SetHook(nil)
	if err := s.Snapshot(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	expect(t, mustNew(t, opts...), "k", "w")
}
