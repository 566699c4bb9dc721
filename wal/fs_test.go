package wal_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestMakeDir shows that a directory made by MakeDir survives a power failure with all
// of its parents, also if another process was killed at any moment while it made it.
func TestMakeDir(t *testing.T) {
	const dir = "/srv/kvorum/data"
	for killAt := range 10 {
		t.Run(fmt.Sprintf("KilledAt%d", killAt), func(t *testing.T) {
			before := crashfs.New()
			n := 0
			before.SetHook(func(op crashfs.Op, _ string) error {
				if n++; op.Mutates() && n > killAt {
					return crashfs.ErrHalted
				}
				return nil
			})
			if err := wal.MakeDir(before, dir); err != nil && !errors.Is(err, crashfs.ErrHalted) {
				t.Fatal(err)
			}
			next := before.Clone()
			if err := wal.MakeDir(next, dir); err != nil {
				t.Fatal(err)
			}
			if _, err := next.Crash(crashfs.CrashOptions{}).Stat(dir); err != nil {
				t.Errorf("after a power failure: %v", err)
			}
		})
	}
}

// TestCheck_OpensToRead shows that Check and Scan open no file for writing, so
// that a log on a read-only filesystem can be checked.
func TestCheck_OpensToRead(t *testing.T) {
	files := crashfs.New()
	w, err := wal.Open("log", wal.Options{FS: files})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WritePut([]byte("k"), []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files.SetHook(func(op crashfs.Op, name string) error {
		if op == crashfs.OpOpen || op.Mutates() {
			t.Errorf("%s of %s", op, name)
		}
		return nil
	})
	if report, err := wal.Check(files, "log"); err != nil || report.Last != 1 {
		t.Errorf("Check: got %+v, %v", report, err)
	}
	if err := wal.Scan(files, "log", 1, func(uint64, wal.Frame) error { return nil }); err != nil {
		t.Errorf("Scan: %v", err)
	}
}

// TestMustExist shows that a missing file is damage that names the file, and that any
// other error is returned unchanged.
func TestMustExist(t *testing.T) {
	files := crashfs.New()
	f, err := files.Create("there")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), wal.MustExist(files, "there")); err != nil {
		t.Error(err)
	}
	var corrupt *wal.CorruptionError
	if err := wal.MustExist(files, "gone"); !errors.As(err, &corrupt) || *corrupt != (wal.CorruptionError{File: "gone", Reason: "file is missing"}) {
		t.Errorf("of a missing file: got %v", err)
	}
	files.Halt()
	if err := wal.MustExist(files, "there"); !errors.Is(err, crashfs.ErrHalted) || errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("of a file that can't be looked at: got %v", err)
	}
}
