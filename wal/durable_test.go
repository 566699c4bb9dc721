package wal_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// tailLosses are the ways in which a disk loses the end of the tail segment
// although it was synced. used is the offset behind its last frame.
var tailLosses = map[string]func(fsys, older *crashfs.FS, name string, used int64) error{
	"last byte zeroed":         loseFrom(crashfs.Zeroed, func(used int64) int64 { return used - 1 }),
	"last 100 bytes zeroed":    loseFrom(crashfs.Zeroed, func(used int64) int64 { return used - 100 }),
	"all records zeroed":       loseFrom(crashfs.Zeroed, func(int64) int64 { return headerSize }),
	"cut before the last byte": loseFrom(crashfs.Cut, func(used int64) int64 { return used - 1 }),
	"cut to half":              loseFrom(crashfs.Cut, func(used int64) int64 { return used / 2 }),
	"cut to the header":        loseFrom(crashfs.Cut, func(int64) int64 { return headerSize }),
	"older copy":               func(fsys, older *crashfs.FS, name string, _ int64) error { return fsys.Restore(name, older) },
}

func loseFrom(loss crashfs.Loss, from func(used int64) int64) func(fsys, older *crashfs.FS, name string, used int64) error {
	return func(fsys, _ *crashfs.FS, name string, used int64) error { return fsys.LoseTail(name, from(used), loss) }
}

// mustRefuseLosses checks that every loss at the end of a log whose only segment
// is the tail is refused, by Open and by Check, and that Open changes nothing.
func mustRefuseLosses(t *testing.T, whole, older *crashfs.FS) {
	t.Helper()
	used, err := whole.Used(segmentPath(1))
	if err != nil {
		t.Fatal(err)
	}
	for name, lose := range tailLosses {
		fsys := whole.Clone()
		if err := lose(fsys, older, segmentPath(1), used); err != nil {
			t.Fatal(err)
		}
		before := fsys.Clone()
		w, err := wal.Open(testDir, testOptions(fsys))
		if err == nil {
			last := w.LastIndex()
			mustClose(t, w)
			t.Fatalf("%s: opened with %d records", name, last)
		}
		var damage *wal.CorruptionError
		if !errors.As(err, &damage) || damage.File != segmentPath(1) || damage.Offset == 0 {
			t.Fatalf("%s: got %v, want a refusal that names file and offset", name, err)
		}
		mustSameFiles(t, fsys, before)
		if _, err := wal.Check(fsys, testDir); !errors.Is(err, wal.ErrCorrupt) {
			t.Fatalf("%s: Check says %v, want ErrCorrupt", name, err)
		}
	}
}

// TestTail_LostAfterCleanStop loses the end of a log in every way after it was closed.
func TestTail_LostAfterCleanStop(t *testing.T) {
	for _, noSync := range []bool{false, true} {
		t.Run(fmt.Sprintf("NoSync=%t", noSync), func(t *testing.T) {
			fsys := newFS(t)
			opts := testOptions(fsys)
			opts.NoSync = noSync
			w := mustOpen(t, opts)
			mustAppend(t, w, 1, batch(1, 0, 50))
			older := fsys.Clone()
			mustAppendEach(t, w, 2, 10)
			mustClose(t, w)
			mustRefuseLosses(t, fsys, older)
		})
	}
}

// TestTail_LostAfterDelay loses the end of a log in every way after its process
// was killed, or lost power, some time after the last append.
func TestTail_LostAfterDelay(t *testing.T) {
	for _, noSync := range []bool{false, true} {
		t.Run(fmt.Sprintf("NoSync=%t", noSync), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fsys := newFS(t)
				opts := testOptions(fsys)
				opts.DurableEndDelay, opts.MarkerDelay, opts.NoSync = 0, 0, noSync // the defaults
				w := mustOpen(t, opts)
				mustAppend(t, w, 1, batch(1, 0, 50))
				older := fsys.Clone()
				mustAppendEach(t, w, 2, 10)
				time.Sleep(10 * time.Second) // the promise
				synctest.Wait()
				mustHaveSaved(t, w, 10)
				mustRefuseLosses(t, fsys.Clone(), older)
				mustRefuseLosses(t, fsys.Crash(crashfs.CrashOptions{}), older)
				mustClose(t, w)
			})
		})
	}
}

// TestTail_LostWhileBusy appends all the time. Every append of ten seconds ago is
// below the durable end, and the loss of one is refused.
func TestTail_LostWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := newFS(t)
		opts := testOptions(fsys)
		opts.MaxSegmentSize, opts.DurableEndDelay, opts.MarkerDelay = 1<<20, 0, 0
		w := mustOpen(t, opts)
		appended := map[uint64]time.Time{}
		for first := uint64(1); first <= 600; first++ {
			mustAppend(t, w, first, batch(first, 0, 50))
			appended[first] = time.Now()
			time.Sleep(90 * time.Millisecond) // never idle
			if next := w.Stats().SavedIndex + 1; next <= first && time.Since(appended[next]) > 10*time.Second {
				t.Fatalf("record %d is not below the durable end %v after its append", next, time.Since(appended[next]))
			}
		}
		saved := w.Stats().SavedIndex
		end := int64(headerSize + saved*(batchSize+9+50))
		crashed := fsys.Crash(crashfs.CrashOptions{})
		mustClose(t, w)
		for _, c := range []struct {
			from    int64
			refused bool
		}{{end - 1, true}, {end, false}} {
			left := crashed.Clone()
			if err := left.LoseTail(segmentPath(1), c.from, crashfs.Zeroed); err != nil {
				t.Fatal(err)
			}
			w, err := wal.Open(testDir, withFS(opts, left))
			if err == nil {
				if got := w.LastIndex(); got != saved {
					t.Errorf("opened with %d records, want %d", got, saved)
				}
				mustClose(t, w)
			}
			if errors.Is(err, wal.ErrCorrupt) != c.refused {
				t.Errorf("loss from offset %d on, with the durable end at %d: got %v", c.from, end, err)
			}
		}
	})
}

// TestTail_LostAfterAnyCrash crashes at every operation of a script, and then has
// the disk lose what it had synced. A loss below the durable end is refused,
// wherever the crash was; one behind it leaves all records below it.
func TestTail_LostAfterAnyCrash(t *testing.T) {
	refused, kept := 0, 0
	for k := 0; ; k++ {
		fsys, o, done := runUntil(t, k, crashScript)
		if done {
			break
		}
		crashed := fsys.Crash(crashfs.CrashOptions{})
		report, err := wal.Check(crashed, testDir)
		if err != nil || len(report.Segments) == 0 {
			continue // it ended before there was a log
		}
		tail := report.Segments[len(report.Segments)-1]
		lose := func(from int64, how crashfs.Loss) *crashfs.FS {
			left := crashed.Clone()
			if err := left.LoseTail(tail.File, from, how); err != nil {
				t.Fatal(err)
			}
			return left
		}
		if used, err := crashed.Used(tail.File); err != nil || used > tail.Durable-markerSize && tail.Durable > headerSize {
			left := lose(tail.Durable-markerSize, crashfs.Loss(k%2))
			if _, err := wal.Open(testDir, testOptions(left)); !errors.Is(err, wal.ErrCorrupt) {
				t.Fatalf("crash before operation %d in %q, loss of the last bytes below %d: got %v, want ErrCorrupt", k, o.at, tail.Durable, err)
			}
			refused++
		}
		left := lose(tail.Durable, crashfs.Zeroed)
		after, err := wal.Check(left, testDir)
		if err != nil || after.Segments[len(after.Segments)-1].Bytes != tail.Durable {
			t.Fatalf("crash before operation %d in %q, loss behind %d: got %+v, %v", k, o.at, tail.Durable, after, err)
		}
		kept++
	}
	if refused < 100 || kept < 150 {
		t.Fatalf("%d losses were refused, and %d kept what is below; want most crashes to have both", refused, kept)
	}
}

// TestTail_IgnoreEnd shows the purpose of the durable end: without it, the loss
// looks like a shorter log.
func TestTail_IgnoreEnd(t *testing.T) {
	fsys := newFS(t)
	w := mustOpen(t, testOptions(fsys))
	mustAppendEach(t, w, 1, 10)
	mustClose(t, w)
	if err := fsys.LoseTail(segmentPath(1), headerSize+3*(batchSize+59), crashfs.Zeroed); err != nil {
		t.Fatal(err)
	}
	opts := testOptions(fsys)
	opts.IgnoreEnd = true
	w = mustOpen(t, opts)
	if got := w.LastIndex(); got != 3 {
		t.Fatalf("got %d records, want the three that are left", got)
	}
}

// TestTail_TruncateBack removes records below the durable end: the new manifest has a
// lower one, and after a crash at any operation the log opens.
func TestTail_TruncateBack(t *testing.T) {
	fsys := newFS(t)
	w := mustOpen(t, testOptions(fsys))
	mustAppendEach(t, w, 1, 5)
	if err := w.SaveEnd(); err != nil {
		t.Fatal(err)
	}
	if err := w.TruncateBack(2); err != nil {
		t.Fatal(err)
	}
	crashed := fsys.Crash(crashfs.CrashOptions{})
	want := model{}.append(1, batch(1, 0, 50)).append(2, batch(2, 0, 50))
	mustEqual(t, mustOpen(t, testOptions(crashed)), want)
	mustHaveSaved(t, w, 2)
}

// TestSaveEnd_NewerManifestWins changes the log while the durable end is being
// saved: the manifest of the change is not replaced by an older one.
func TestSaveEnd_NewerManifestWins(t *testing.T) {
	changes := map[string]step{
		"append":         stepAppend(4, 0, 60),
		"rotation":       stepAppend(4, 0, 1900),
		"truncate back":  stepBack(1),
		"truncate front": stepFront(3),
		"reset":          stepReset(20),
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			fsys := newFS(t)
			w := mustOpen(t, testOptions(fsys))
			m := model{}
			for first := uint64(1); first <= 3; first++ {
				mustAppend(t, w, first, batch(first, 0, 50))
				m = m.append(first, batch(first, 0, 50))
			}
			var once sync.Once
			fsys.SetHook(func(op crashfs.Op, file string) error {
				var err error
				if op == crashfs.OpSync && strings.HasSuffix(file, ".next") {
					once.Do(func() { err = change.do(w) })
				}
				return err
			})
			if err := w.SaveEnd(); err != nil {
				t.Fatal(err)
			}
			fsys.SetHook(nil)
			m = change.want(m)
			if err := m.check(fsys.Crash(crashfs.CrashOptions{})); err != nil {
				t.Fatal(err)
			}
			mustEqual(t, w, m)
			if names, err := fsys.ReadDir(testDir); err != nil || strings.Contains(strings.Join(names, " "), ".next") {
				t.Fatalf("left behind: %v, %v", names, err)
			}
			mustClose(t, w)
			if err := m.check(fsys); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestSaveEnd_AppendsContinue hangs the saving of the durable end: appends do not wait.
func TestSaveEnd_AppendsContinue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := newFS(t)
		opts := testOptions(fsys)
		opts.DurableEndDelay = time.Second
		w := mustOpen(t, opts)
		mustAppend(t, w, 1, batch(1, 0, 50))
		hanging, resume := make(chan struct{}), make(chan struct{})
		fsys.SetHook(func(op crashfs.Op, file string) error {
			if op == crashfs.OpSync && strings.HasSuffix(file, ".next") {
				close(hanging)
				<-resume
			}
			return nil
		})
		<-hanging
		mustAppend(t, w, 2, batch(2, 0, 50))
		fsys.SetHook(nil)
		close(resume)
		synctest.Wait()
		mustHaveSaved(t, w, 1) // which was synced before
		time.Sleep(time.Second)
		synctest.Wait()
		mustHaveSaved(t, w, 2)
		mustClose(t, w)
	})
}

// TestSaveEnd_FailureLatches fails each operation of saving the durable end.
func TestSaveEnd_FailureLatches(t *testing.T) {
	for _, op := range []crashfs.Op{crashfs.OpCreate, crashfs.OpWrite, crashfs.OpSync, crashfs.OpRename, crashfs.OpSyncDir} {
		fsys := newFS(t)
		w := mustOpen(t, testOptions(fsys))
		mustAppend(t, w, 1, batch(1, 0, 10))
		fsys.SetHook(failOn(op))
		if err := w.SaveEnd(); !errors.Is(err, wal.ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("%v: got %v, want ErrFailed and EIO", op, err)
		}
		if err := w.Append(2, batch(2, 0, 1)); !errors.Is(err, wal.ErrFailed) {
			t.Fatalf("%v: append after the failure: got %v, want ErrFailed", op, err)
		}
	}
}

// TestClose_SaveEndFails makes a clean stop fail to save the end: Close returns the error.
func TestClose_SaveEndFails(t *testing.T) {
	fsys := newFS(t)
	w := mustOpen(t, testOptions(fsys))
	mustAppend(t, w, 1, batch(1, 0, 10))
	fsys.SetHook(failOn(crashfs.OpRename))
	if err := w.Close(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v, want EIO", err)
	}
}

func withFS(opts wal.Options, fsys wal.FS) wal.Options {
	opts.FS = fsys
	return opts
}

// TestTail_FullDiskWhileSaved has no room for a manifest with a later durable end: the
// log continues, closes without an error, and saves the end once there is room. A broken
// disk stops it, and so does a failure of the rename or after it.
func TestTail_FullDiskWhileSaved(t *testing.T) {
	const next = testDir + "/" + wal.ManifestName + ".next"
	for name, tt := range manifestFaults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := newFS(t)
				opts := testOptions(files)
				opts.DurableEndDelay, opts.MarkerDelay = 0, 0
				w := mustOpen(t, opts)
				mustAppend(t, w, 1, batch(1, 0, 50))
				files.SetHook(failFile(next, tt.op, tt.fault))
				time.Sleep(20 * time.Second)
				synctest.Wait()
				if failed := w.Err() != nil; failed != tt.final {
					t.Fatalf("the log says %v, want it to have failed: %t", w.Err(), tt.final)
				}
				if tt.final {
					_ = w.Close() // it has failed
					return
				}
				if _, err := files.Stat(next); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the new content is left: %v", err)
				}
				mustAppend(t, w, 2, batch(2, 0, 50))
				files.SetHook(nil)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				mustHaveSaved(t, w, 2) // there is room again
				mustAppend(t, w, 3, batch(3, 0, 50))
				files.SetHook(failFile(next, tt.op, tt.fault))
				mustClose(t, w)
				files.SetHook(nil)
				w = mustOpen(t, opts)
				if w.LastIndex() != 3 {
					t.Errorf("opened again: got %d records, want 3", w.LastIndex())
				}
				mustClose(t, w)
			})
		})
	}
}
