package wal_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

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

// TestReserve reserves space by the operating system and by writing.
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

// TestReserve_Durable shows that the file survives a loss of power, and that there is
// none where its name can't be made durable.
func TestReserve_Durable(t *testing.T) {
	files := crashfs.New()
	if err := wal.Reserve(files, "/reserved", 1000); err != nil {
		t.Fatal(err)
	}
	if info, err := files.Crash(crashfs.CrashOptions{}).Stat("/reserved"); err != nil || info.Size() != 1000 {
		t.Errorf("after a loss of power: got %v, %v", info, err)
	}
	files.SetHook(func(op crashfs.Op, _ string) error {
		if op == crashfs.OpSyncDir {
			return syscall.EIO
		}
		return nil
	})
	if err := wal.Reserve(files, "/unsynced", 1); !errors.Is(err, syscall.EIO) {
		t.Errorf("in a directory that can't be synced: got %v", err)
	}
	if _, err := files.Stat("/unsynced"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is not durable is left: %v", err)
	}
}
