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
	// maxPidBytes is the maximum number of bytes that are read from another process's lock file.
	maxPidBytes = 32
)

// ErrInUse is returned when another process, or another holder in this
// one, has the data directory open.
var ErrInUse = errors.New("data directory is in use")

// Lock is held by the one process that may use a data directory. The operating system
// releases it when the process ends, also by a crash, so a lock is never stale. It is safe
// for concurrent use.
type Lock struct{ file *flock.Flock } // nil if there is nothing to lock

// Acquire locks dir, which must exist. It never waits: if another holder has the lock, the
// error wraps ErrInUse, and names the directory and the process. The lock is always the
// operating system's, also if the program uses a simulated filesystem below dir.
func Acquire(dir string) (*Lock, error) {
	if !lockOfFile {
		return nil, fmt.Errorf("lock data directory: %w on this system", errors.ErrUnsupported)
	}
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

// AcquireToRead is Acquire for a reader that changes nothing. Several readers may hold the
// lock together if they may not write to the directory. If such a directory has no lock
// file, it is not locked: no process that may write to it has it open.
func AcquireToRead(dir string) (*Lock, error) {
	lock, err := Acquire(dir)
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
		return lock, err
	}
	return share(dir)
}

// share locks dir, which is not written, together with other readers.
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

// held takes a lock on the lock file of dir with try. Its error is ErrInUse if another holder
// has it.
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

// writePid writes the number of the process that holds the lock. It is for people only and
// need not be durable.
func writePid(path string) error {
	return os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
}

// holder names the process whose number is in the lock file. It may be a previous holder: a
// reader that may not write to the directory leaves no number.
func holder(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "process unknown"
	}
	defer func() { _ = f.Close() }() // only read from
	b := make([]byte, maxPidBytes)
	n, _ := f.ReadAt(b, 0) // after an error the process is unknown
	text := strings.TrimSpace(string(b[:n]))
	if _, err := strconv.ParseUint(text, 10, 32); err != nil {
		return "process unknown"
	}
	return "process " + text
}
