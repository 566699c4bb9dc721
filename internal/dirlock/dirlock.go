package dirlock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gofrs/flock"
)

const (
	// lockFile is the name of the locked file below the data directory.
	lockFile = "LOCK"
	// maxPidBytes bounds what is read from another process's lock file.
	maxPidBytes = 32
)

// ErrInUse is returned when another process, or another holder in this
// one, has the data directory open.
var ErrInUse = errors.New("data directory is in use")

// Lock keeps a data directory to one process. The operating system releases it when
// the process ends, however it ends, so a lock is never stale. It is safe for
// concurrent use.
type Lock struct{ file *flock.Flock } // nil where there is nothing to lock

// Acquire locks dir, which must exist. It never waits: an error wraps
// ErrInUse, and names the directory and the process, if another holder
// has it. The lock is the operating system's alone; a simulated filesystem
// below the same directory is not asked.
func Acquire(dir string) (*Lock, error) {
	path := filepath.Join(dir, lockFile)
	file := flock.New(path, flock.SetFlag(os.O_RDWR|os.O_CREATE))
	if err := held(dir, file.TryLock); err != nil {
		return nil, err
	}
	if err := writePid(path); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Lock{file}, nil
}

// AcquireToRead is Acquire for a reader that changes nothing. Where the directory
// may not be written to, several readers may have it, together. A directory without
// a lock file is not locked then: no process that may write to it has it open.
func AcquireToRead(dir string) (*Lock, error) {
	lock, err := Acquire(dir)
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
		return lock, err
	}
	return share(dir)
}

// share locks dir, to which nothing is written, together with other readers.
func share(dir string) (*Lock, error) {
	file := flock.New(filepath.Join(dir, lockFile), flock.SetFlag(os.O_RDONLY))
	err := held(dir, file.TryRLock)
	if errors.Is(err, fs.ErrNotExist) {
		return &Lock{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &Lock{file}, nil
}

// held takes a lock on the lock file of dir, or says why there is none.
func held(dir string, try func() (bool, error)) error {
	ok, err := try()
	switch {
	case err != nil:
		return fmt.Errorf("lock data directory: %w", err)
	case !ok:
		return fmt.Errorf("%w: %s is held by %s", ErrInUse, dir, holder(filepath.Join(dir, lockFile)))
	}
	return nil
}

// Close releases the directory. The file stays: removing it would let two
// processes hold locks on two files of the same name. It is idempotent.
func (l *Lock) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// writePid writes which process holds the lock. It is for people only and need not be durable.
func writePid(path string) error {
	return os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
}

// holder names the process whose number is in the lock file. That may be a previous
// one: a reader of a directory that it may not write to leaves no number.
func holder(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "process unknown"
	}
	defer func() { _ = f.Close() }() // only read from
	b := make([]byte, maxPidBytes)
	n, _ := f.ReadAt(b, 0) // what can't be read is unknown
	text := strings.TrimSpace(string(b[:n]))
	if _, err := strconv.ParseUint(text, 10, 32); err != nil {
		return "process unknown"
	}
	return "process " + text
}
