package wal_test

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

func TestMarker_OncePerIdlePeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := newFS(t)
		opts := testOptions(fsys)
		opts.MarkerDelay = 0       // the default
		opts.MaxSegmentSize = 8192 // so that no segment is prepared
		w := mustOpen(t, opts)
		var syncs atomic.Int64
		fsys.SetHook(func(op crashfs.Op, _ string) error {
			if op == crashfs.OpSync {
				syncs.Add(1)
			}
			return nil
		})
		expect := func(when string, want int64) {
			t.Helper()
			synctest.Wait()
			if got := syncs.Swap(0); got != want {
				t.Fatalf("%s: got %d syncs, want %d", when, got, want)
			}
		}
		time.Sleep(time.Second)
		expect("an empty log", 0)
		mustAppend(t, w, 1, batch(1, 0, 10))
		syncs.Store(0) // the first segment takes more than one
		for first := uint64(2); first < 5; first++ {
			time.Sleep(60 * time.Millisecond)
			mustAppend(t, w, first, batch(first, 0, 10))
		}
		expect("a busy log", 3)
		time.Sleep(99 * time.Millisecond)
		expect("not yet idle", 0)
		time.Sleep(time.Minute)
		expect("an idle log", 1)
		mustAppend(t, w, 5, batch(5, 0, 10))
		time.Sleep(time.Minute)
		expect("busy and idle again", 2)

		// Now the last batch is proven: damage to it is refused.
		crashed := fsys.Crash(crashfs.CrashOptions{})
		if err := crashed.FlipBit(segmentPath(1), headerSize+5*(batchSize+19)+markerSize-1, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := wal.Open(testDir, testOptions(crashed)); !errors.Is(err, wal.ErrCorrupt) {
			t.Fatalf("damage below the marker: got %v, want ErrCorrupt", err)
		}
		mustClose(t, w)
	})
}

func TestMarker_AfterReopen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := newFS(t)
		w := mustOpen(t, testOptions(fsys))
		mustAppend(t, w, 1, batch(1, 0, 10))
		crashed := fsys.Crash(crashfs.CrashOptions{})
		mustClose(t, w)
		opts := testOptions(crashed)
		opts.MarkerDelay = time.Second
		w = mustOpen(t, opts)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := w.Stats().Syncs; got != 1 {
			t.Fatalf("got %d syncs, want one for the marker", got)
		}
		mustClose(t, w)
		w = mustOpen(t, opts)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := w.Stats().Syncs; got != 0 {
			t.Fatalf("got %d syncs of a log that ends with a marker, want none", got)
		}
		mustClose(t, w)
	})
}

func TestMarker_FailureLatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := newFS(t)
		opts := testOptions(fsys)
		opts.MarkerDelay = time.Second
		w := mustOpen(t, opts)
		mustAppend(t, w, 1, batch(1, 0, 10))
		fsys.SetHook(failOn(crashfs.OpSync))
		<-w.Failed()
		if err := w.Append(2, batch(2, 0, 1)); !errors.Is(err, wal.ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v, want ErrFailed and EIO", err)
		}
		mustClose(t, w)
	})
}

// TestStall_WaitersLeave hangs a sync: Stats show it, and the writers that wait for
// it return when the log is closed.
func TestStall_WaitersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := newFS(t)
		w := mustOpen(t, testOptions(fsys))
		mustAppend(t, w, 1, batch(1, 0, 10))
		resume := make(chan struct{})
		fsys.SetHook(func(op crashfs.Op, _ string) error {
			if op == crashfs.OpSync {
				<-resume
			}
			return nil
		})
		began := time.Now()
		stalled, waiting, closed := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		go func() { stalled <- w.Append(2, batch(2, 0, 10)) }()
		synctest.Wait()
		go func() { waiting <- w.Append(3, batch(3, 0, 10)) }()
		time.Sleep(time.Minute)
		if got := w.Stats().WriteSince; !got.Equal(began) {
			t.Fatalf("got a write since %v, want %v", got, began)
		}
		if _, err := w.Get(1); err != nil {
			t.Fatalf("Get during a stall: %v", err)
		}
		go func() { closed <- w.Close() }()
		if err := <-waiting; !errors.Is(err, wal.ErrWALClosed) {
			t.Fatalf("got %v, want ErrWALClosed", err)
		}
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("Close did not wait for the write in progress")
		default:
		}
		close(resume)
		if err := <-stalled; err != nil {
			t.Fatalf("the stalled append: %v", err)
		}
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
	})
}
