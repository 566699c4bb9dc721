package wal_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

func TestFreeSpace(t *testing.T) {
	dir := t.TempDir()
	free, err := wal.FreeSpace(wal.OS(), dir)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this system does not tell how much room there is")
	}
	if err != nil || free <= 0 {
		t.Errorf("got %d bytes, %v", free, err)
	}
	if _, err := wal.FreeSpace(wal.OS(), filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a missing directory: got %v", err)
	}
	if _, err := wal.FreeSpace(crashfs.New(), "/"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("of a filesystem that can't tell: got %v", err)
	}
}

func TestTotalSpace(t *testing.T) {
	dir := t.TempDir()
	total, err := wal.TotalSpace(wal.OS(), dir)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this system does not tell how large a disk is")
	}
	if free, freeErr := wal.FreeSpace(wal.OS(), dir); err != nil || freeErr != nil || total < free {
		t.Errorf("got %d bytes of which %d are free, %v, %v", total, free, err, freeErr)
	}
	if _, err := wal.TotalSpace(crashfs.New(), "/"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("of a filesystem that can't tell: got %v", err)
	}
}

// TestSeal ends a segment early: a truncation then frees the disk up to that place.
func TestSeal(t *testing.T) {
	opts := testOptions(newFS(t))
	opts.MaxSegmentSize = 1 << 20
	w := mustOpen(t, opts)
	if err := w.Seal(); err != nil { // of an empty log: nothing
		t.Fatal(err)
	}
	mustAppend(t, w, 1, batch(1, 0, 10_000))
	if err := w.Seal(); err != nil { // of a segment with little in it: nothing
		t.Fatal(err)
	}
	index := uint64(2)
	for ; index < 32; index++ {
		mustAppend(t, w, index, batch(index, 0, 10_000))
	}
	if first, next := w.SegmentEnds(1); first != 1 || next != 32 || w.FrontBytes(32) != w.Stats().DiskBytes || w.FrontBytes(31) != 0 {
		t.Fatalf("one segment: got %d to %d, %d and %d of %d bytes at its front", first, next, w.FrontBytes(31), w.FrontBytes(32), w.Stats().DiskBytes)
	}
	for deadline := time.Now().Add(10 * time.Second); w.Stats().Segments == 1; index++ {
		if err := w.Seal(); err != nil { // as often as its caller likes
			t.Fatal(err)
		}
		if index == 8000 || time.Now().After(deadline) { // far below what a segment holds
			t.Fatalf("no new segment after %d records", index)
		}
		mustAppend(t, w, index, batch(index, 0, 1))
		runtime.Gosched() // the file is made meanwhile
	}
	_, next := w.SegmentEnds(1)
	before := w.Stats()
	if err := w.TruncateFront(next); err != nil {
		t.Fatal(err)
	}
	if after := w.Stats(); after.Segments != 1 || after.DiskBytes >= before.DiskBytes || after.FirstIndex != next {
		t.Errorf("got %d segments of %d bytes from %d, want one from %d", after.Segments, after.DiskBytes, after.FirstIndex, next)
	}
	if first, next := w.SegmentEnds(1); first != 0 || next != 0 {
		t.Errorf("of a record that is gone: got %d to %d", first, next)
	}
	mustClose(t, w)
	w = mustOpen(t, opts)
	if w.FirstIndex() != next || w.LastIndex() != index-1 {
		t.Errorf("opened again: got %d to %d", w.FirstIndex(), w.LastIndex())
	}
}

// TestReserve reserves space with a call of the operating system and by writing.
func TestReserve(t *testing.T) {
	const size = 1<<20 + 17
	path := filepath.Join(t.TempDir(), "reserved")
	if err := wal.Reserve(wal.OS(), path, size); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != size {
		t.Fatalf("got %v, %v", info, err)
	}
	if taken := info.Sys().(*syscall.Stat_t).Blocks * 512; taken < size {
		t.Errorf("%d of %d bytes are taken", taken, size)
	}
	memory := crashfs.New()
	if err := wal.Reserve(memory, "/reserved", size); err != nil {
		t.Fatal(err)
	}
	if info, err := memory.Stat("/reserved"); err != nil || info.Size() != size {
		t.Errorf("got %v, %v", info, err)
	}
	memory.SetCapacity(size + 1)
	if err := wal.Reserve(memory, "/more", size); !errors.Is(err, crashfs.ErrNoSpace) {
		t.Errorf("beyond the disk: got %v", err)
	}
	if _, err := memory.Stat("/more"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what could not be reserved is left: %v", err)
	}
}

// TestReserve_Durable shows that the file survives a power failure, and that no file is
// left where its name can't be made durable.
func TestReserve_Durable(t *testing.T) {
	files := crashfs.New()
	if err := wal.Reserve(files, "/reserved", 1000); err != nil {
		t.Fatal(err)
	}
	if info, err := files.Crash(crashfs.CrashOptions{}).Stat("/reserved"); err != nil || info.Size() != 1000 {
		t.Errorf("after a loss of power: got %v, %v", info, err)
	}
	files.SetHook(failOn(crashfs.OpSyncDir))
	if err := wal.Reserve(files, "/unsynced", 1); !errors.Is(err, syscall.EIO) {
		t.Errorf("in a directory that can't be synced: got %v", err)
	}
	if _, err := files.Stat("/unsynced"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is not durable is left: %v", err)
	}
}

// TestSeal_FullDisk has a disk without room for a new segment's file. The segment does
// not end, appends continue where they fit, no half-made file is left, and Seal works
// once there is room. Another Seal also tries again if nothing was appended since.
func TestSeal_FullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := newFS(t)
		opts := testOptions(files)
		opts.MaxSegmentSize = 4 << 20
		w := mustOpen(t, opts)
		mustAppend(t, w, 1, batch(1, 0, 1200<<10))
		tried := 0 // by one goroutine at a time, each of which is waited for
		full := func(op crashfs.Op, name string) error {
			if name == segmentPath(2) && op == crashfs.OpWrite {
				tried++
				return &crashfs.ShortWrite{N: 100, Err: crashfs.ErrNoSpace}
			}
			return nil
		}
		index := uint64(2)
		appendSome := func() {
			for range 20 {
				mustAppend(t, w, index, batch(index, 0, 10))
				index++
			}
		}
		mustSeal := func() {
			t.Helper()
			if err := w.Seal(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // the file is made, or has failed
		}
		files.SetHook(full)
		for round := 1; round <= 4; round++ {
			mustSeal()
			if tried != round {
				t.Fatalf("Seal %d: tried %d times", round, tried)
			}
			if round != 2 {
				appendSome()
			}
			if _, err := files.Stat(segmentPath(2)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a half-made file is left: %v", err)
			}
		}
		if got := w.Stats(); got.Segments != 1 || w.Err() != nil || tried != 4 {
			t.Fatalf("got %d segments, %v, tried %d times", got.Segments, w.Err(), tried)
		}
		files.SetHook(nil)
		mustSeal()
		appendSome()
		if got := w.Stats().Segments; got != 2 {
			t.Errorf("with room: got %d segments, want 2", got)
		}
		mustClose(t, w)
		w = mustOpen(t, opts)
		if w.LastIndex() != index-1 {
			t.Errorf("opened again: got records to %d, want %d", w.LastIndex(), index-1)
		}
		mustClose(t, w)
	})
}
