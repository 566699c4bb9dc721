package dirlock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
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

// errWouldBlock is what flockFile returns when another holder has the lock.
var errWouldBlock = errors.New("lock is held")

// Lock keeps a data directory to one process. The operating system lets go
// of it when the process ends, however it ends, so a lock is never stale.
type Lock struct {
	file  *os.File // nil where there is nothing to lock
	close sync.Once
	err   error // written by close
}

// Acquire locks dir, which must exist. It never waits: an error wraps
// ErrInUse, and names the directory and the process, if another holder
// has it. The lock is the operating system's alone; a simulated filesystem
// below the same directory is not asked.
func Acquire(dir string) (*Lock, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	lock, err := lockFileOf(dir, f, flockFile)
	if err != nil {
		return nil, err
	}
	if err := writePid(f); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", path, err), f.Close())
	}
	return lock, nil
}

// AcquireToRead is Acquire for a reader that changes nothing. Where the directory
// may not be written to, several readers may have it, together; and one without
// a lock file is not locked at all: nobody who may write to it has it open.
func AcquireToRead(dir string) (*Lock, error) {
	lock, err := Acquire(dir)
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
		return lock, err
	}
	path := filepath.Join(dir, lockFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Lock{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return lockFileOf(dir, f, shareFile)
}

// lockFileOf takes the lock on the open lock file of dir, and closes it where it can't.
func lockFileOf(dir string, f *os.File, flock func(*os.File) error) (*Lock, error) {
	err := flock(f)
	switch {
	case err == nil:
		return &Lock{file: f}, nil
	case errors.Is(err, errWouldBlock):
		err = fmt.Errorf("%w: %s is held by process %s", ErrInUse, dir, readPid(f))
	default:
		err = fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil, errors.Join(err, f.Close())
}

// Close lets go of the directory. The file stays: removing it would let two
// processes hold locks on two files of the same name. It is idempotent.
func (l *Lock) Close() error {
	l.close.Do(func() {
		if l.file != nil {
			l.err = l.file.Close()
		}
	})
	return l.err
}

// writePid says who holds the lock. It is for people only and need not be durable.
func writePid(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// readPid returns the number that the lock's holder wrote, or "unknown": it may
// be about to.
func readPid(f *os.File) string {
	b := make([]byte, maxPidBytes)
	n, _ := f.ReadAt(b, 0) // what can't be read is unknown
	text := strings.TrimSpace(string(b[:n]))
	if _, err := strconv.ParseUint(text, 10, 32); err != nil {
		return "unknown"
	}
	return text
}
