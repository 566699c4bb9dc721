package dirlock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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
	file  *os.File
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
	if err := flockFile(f); err != nil {
		if errors.Is(err, errWouldBlock) {
			err = fmt.Errorf("%w: %s is held by process %s", ErrInUse, dir, readPid(f))
		} else {
			err = fmt.Errorf("lock %s: %w", path, err)
		}
		return nil, errors.Join(err, f.Close())
	}
	if err := writePid(f); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", path, err), f.Close())
	}
	return &Lock{file: f}, nil
}

// Close lets go of the directory. The file stays: removing it would let two
// processes hold locks on two files of the same name. It is idempotent.
func (l *Lock) Close() error {
	l.close.Do(func() { l.err = l.file.Close() })
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
