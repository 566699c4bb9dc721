package dirlock

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// lockHelperDir is the name of an environment variable. It makes this test binary try to
// lock a directory and print the result; see TestAcquire_OtherProcess.
const lockHelperDir = "KVORUM_TEST_LOCK_DIR"

func TestAcquire(t *testing.T) {
	dir := t.TempDir()
	first, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Acquire(dir)
	if !errors.Is(err, ErrInUse) {
		t.Fatalf("second lock: got %v, want %v", err, ErrInUse)
	}
	if pid := strconv.Itoa(os.Getpid()); !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), pid) {
		t.Fatalf("%v names not both %s and process %s", err, dir, pid)
	}
	for range 2 {
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
	second, err := Acquire(dir)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAcquire_OtherProcess(t *testing.T) {
	if dir := os.Getenv(lockHelperDir); dir != "" {
		_, err := Acquire(dir)
		if !errors.Is(err, ErrInUse) {
			t.Fatalf("got %v, want %v", err, ErrInUse)
		}
		return
	}
	dir := t.TempDir()
	lock, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	other := exec.Command(os.Args[0], "-test.run=^TestAcquire_OtherProcess$")
	other.Env = append(os.Environ(), lockHelperDir+"="+dir)
	if out, err := other.CombinedOutput(); err != nil {
		t.Fatalf("other process: %v\n%s", err, out)
	}
}

func TestAcquire_HolderUnknown(t *testing.T) {
	dir := t.TempDir()
	lock, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := os.WriteFile(filepath.Join(dir, lockFile), []byte("\x00garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(dir); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "process unknown") {
		t.Fatalf("got %v", err)
	}
}

func TestAcquire_NoDirectory(t *testing.T) {
	if _, err := Acquire(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v, want %v", err, os.ErrNotExist)
	}
}

// TestAcquireToRead shows that a reader that may write to the directory holds its lock
// alone, like any other holder.
func TestAcquireToRead(t *testing.T) {
	dir := t.TempDir()
	reader, err := AcquireToRead(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("beside a reader: got %v", err)
	}
	if _, err := AcquireToRead(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("a second reader: got %v", err)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := AcquireToRead(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
}

// TestShare shows that there may be several shared locks, but none beside an exclusive one.
func TestShare(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, lockFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		lock, err := share(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
	}
	if _, err := Acquire(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("beside readers: got %v", err)
	}
}
