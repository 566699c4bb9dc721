package store_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// slowSyncs makes each sync of the log take d.
func slowSyncs(files *crashfs.FS, d time.Duration) {
	files.SetHook(func(op crashfs.Op, name string) error {
		if op == crashfs.OpSync && strings.Contains(name, "wal-") {
			time.Sleep(d)
		}
		return nil
	})
}

// TestTrial_F7_HotKeys shows that a store whose few keys are overwritten all the
// time does not take a snapshot for every thousand of the overwrites, in any mode.
func TestTrial_F7_HotKeys(t *testing.T) {
	const keys, load, perWrite = 10, 20 * time.Second, time.Millisecond
	var outcomes []string
	for _, mode := range []store.PersistenceMode{store.PersistenceFull, store.PersistenceWAL, store.PersistenceSnapshot} {
		synctest.Test(t, func(t *testing.T) {
			files := crashfs.New()
			slowSyncs(files, perWrite)
			s := mustNew(t, store.WithDataDir("data"), store.WithFS(files), store.WithPersistenceMode(mode),
				store.WithSyncWrites(mode != store.PersistenceSnapshot))
			writes := 0
			for began := time.Now(); time.Since(began) < load; writes++ {
				mustSet(t, s, fmt.Sprint(writes%keys), long("v", 100))
				if mode == store.PersistenceSnapshot {
					time.Sleep(perWrite) // as long as a sync
				}
			}
			got := s.Metrics().Snapshots
			if got > 1 {
				t.Errorf("%s: %d snapshots in %v of %d overwrites of %d keys, want at most 1", mode, got, load, writes, keys)
			}
			outcomes = append(outcomes, fmt.Sprintf("%d (%s)", got, mode))
			files.SetHook(nil)
			mustClose(t, s, files)
		})
	}
	testkit.Outcome(t, "F7", "ten hot keys for %v, 20,000 overwrites: snapshots: %s", load, strings.Join(outcomes, ", "))
}

// TestTrial_F7_LargeValues shows that few overwrites of a large value don't let
// the log grow without a bound either. The writer is held at that bound, so that the
// disk's speed while a snapshot is taken does not matter.
func TestTrial_F7_LargeValues(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("writes 400 MiB")
	}
	const writes, size = 400, store.DefaultMaxValueSize
	s := mustNew(t, store.WithDataDir(t.TempDir()))
	const segment = 64 << 20 // each may have begun before a snapshot and be kept
	const bound = 4*store.DefaultCompactionBytes + segment
	value, most := []byte(long("v", size)), int64(0)
	for range writes {
		if err := s.Set("k", value); err != nil {
			t.Fatal(err)
		}
		most = max(most, s.Metrics().WALBytes)
		// More than four times DefaultCompactionBytes are newer than the last snapshot.
		for deadline := time.Now().Add(time.Minute); s.Metrics().WALBytes > bound; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d bytes of log stay, want at most %d", s.Metrics().WALBytes, bound)
			}
		}
	}
	if got := s.Metrics(); got.Snapshots == 0 {
		t.Errorf("no snapshot after %d puts of %d bytes", writes, size)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	testkit.Outcome(t, "F7", "%d overwrites of one value of 1 MiB: log up to %d MiB", writes, most>>20)
}

// TestStore_CompactionFloors shows that an early snapshot waits for as many bytes
// and for as long as it is told to, and is taken then without a further write.
func TestStore_CompactionFloors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bytes, interval = 10_000, time.Minute
		files := crashfs.New()
		s := mustNew(t, append(persistent(files, true), store.WithCompactionThreshold(1),
			store.WithCompactionBytes(bytes), store.WithCompactionInterval(interval))...)
		expectSnapshots := func(when string, want uint64) {
			t.Helper()
			synctest.Wait()
			if got := s.Metrics().Snapshots; got != want {
				t.Fatalf("%s: %d snapshots, want %d", when, got, want)
			}
		}
		overwrite := func(n int) {
			for range n {
				mustSet(t, s, "k", long("v", 100))
			}
		}
		overwrite(50)
		expectSnapshots("after half of the bytes", 0)
		overwrite(50)
		expectSnapshots("after all of the bytes", 1)
		overwrite(100)
		expectSnapshots("as much again, at once", 1)
		time.Sleep(interval)
		expectSnapshots("when the interval has passed", 2)
		time.Sleep(interval)
		overwrite(50)
		if err := s.Snapshot(); err != nil {
			t.Fatal(err)
		}
		expectSnapshots("after an explicit one", 3)
		time.Sleep(interval)
		overwrite(50)
		expectSnapshots("half of the bytes after that", 3)
		mustClose(t, s, files)
	})
}
