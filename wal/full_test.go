package wal_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// failFile returns a hook that fails an operation on files whose path begins with path.
func failFile(path string, failsAt crashfs.Op, fault error) func(crashfs.Op, string) error {
	return func(op crashfs.Op, name string) error {
		if op == failsAt && strings.HasPrefix(name, path) {
			return fault
		}
		return nil
	}
}

// failManifest returns a hook that fails an operation on the manifest's new content.
func failManifest(failsAt crashfs.Op, fault error) func(crashfs.Op, string) error {
	return failFile(testDir+"/"+wal.ManifestName+".tmp", failsAt, fault)
}

// manifestFaults are the ways in which a replacement of the manifest can fail. After a
// final one the log is latched.
var manifestFaults = map[string]struct {
	op    crashfs.Op
	fault error
	final bool
}{
	"Create":      {crashfs.OpCreate, syscall.ENOSPC, false},
	"CreateQuota": {crashfs.OpCreate, syscall.EDQUOT, false},
	"Descriptors": {crashfs.OpCreate, syscall.EMFILE, false},
	"Write":       {crashfs.OpWrite, &crashfs.ShortWrite{N: 5, Err: syscall.ENOSPC}, false},
	"Sync":        {crashfs.OpSync, syscall.ENOSPC, false},
	"BrokenWrite": {crashfs.OpWrite, syscall.EIO, true},
	"BrokenSync":  {crashfs.OpSync, syscall.EIO, true},
	"BothOfThem":  {crashfs.OpSync, errors.Join(syscall.ENOSPC, syscall.EIO), true},
	"Rename":      {crashfs.OpRename, syscall.ENOSPC, true},
}

// TestTruncateFront_FullDisk has no room for the manifest that a truncation of the front
// needs: the log is unchanged, and truncates once there is room. A broken disk stops it.
func TestTruncateFront_FullDisk(t *testing.T) {
	for name, tt := range manifestFaults {
		t.Run(name, func(t *testing.T) {
			files := newFS(t)
			w := mustOpen(t, testOptions(files))
			m := model{}
			for first := uint64(1); first <= 4; first++ {
				mustAppend(t, w, first, batch(first, 0, 900))
				m = m.append(first, batch(first, 0, 900))
			}
			files.SetHook(failManifest(tt.op, tt.fault))
			err := w.TruncateFront(4)
			files.SetHook(nil)
			if tt.final {
				if !errors.Is(err, wal.ErrFailed) || w.Err() == nil {
					t.Fatalf("got %v, and the log says %v", err, w.Err())
				}
				return
			}
			if !errors.Is(err, wal.ErrNoRoom) || errors.Is(err, wal.ErrFailed) || w.Err() != nil {
				t.Fatalf("got %v, and the log says %v", err, w.Err())
			}
			if names, err := files.ReadDir(testDir); err != nil || strings.Contains(strings.Join(names, " "), ".tmp") {
				t.Errorf("left behind: %v, %v", names, err)
			}
			mustEqual(t, w, m)
			mustAppend(t, w, 5, batch(5, 0, 10))
			m = m.append(5, batch(5, 0, 10))
			if err := w.TruncateFront(4); err != nil {
				t.Fatal(err)
			}
			m = stepFront(4).want(m)
			mustEqual(t, w, m)
			mustClose(t, w)
			if err := m.check(files); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestSeal_FullManifest has room for the next segment's file, but not for the manifest
// that names it: the log continues in the old segment, and the file is removed.
func TestSeal_FullManifest(t *testing.T) {
	files := newFS(t)
	opts := testOptions(files)
	opts.MaxSegmentSize = 4 << 20
	w := mustOpen(t, opts)
	mustAppend(t, w, 1, batch(1, 0, 1200<<10))
	files.SetHook(failManifest(crashfs.OpWrite, syscall.ENOSPC))
	if err := w.Seal(); err != nil {
		t.Fatal(err)
	}
	index := uint64(2)
	made := func() bool {
		_, err := files.Stat(segmentPath(2))
		return !errors.Is(err, os.ErrNotExist)
	}
	for !made() {
		runtime.Gosched()
	}
	for deadline := time.Now().Add(10 * time.Second); made(); index++ {
		if time.Now().After(deadline) || index > 4000 {
			t.Fatal("the file for which there is no manifest is left")
		}
		mustAppend(t, w, index, batch(index, 0, 10))
	}
	if got := w.Stats(); got.Segments != 1 || got.OpenFiles != 1 || w.Err() != nil {
		t.Fatalf("got %d segments, %d files, %v", got.Segments, got.OpenFiles, w.Err())
	}
	files.SetHook(nil)
	for deadline := time.Now().Add(10 * time.Second); w.Stats().Segments == 1; index++ {
		if err := w.Seal(); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) || index > 8000 {
			t.Fatal("no new segment with room")
		}
		mustAppend(t, w, index, batch(index, 0, 10))
		runtime.Gosched()
	}
	mustClose(t, w)
	w = mustOpen(t, opts)
	if w.LastIndex() != index-1 {
		t.Errorf("opened again: got records to %d, want %d", w.LastIndex(), index-1)
	}
}
