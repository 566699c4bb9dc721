package wal

import (
	"errors"
	"io/fs"
	"syscall"
)

// Sync is fdatasync: unlike fsync it leaves out metadata, such as the time of
// the last change, that reading the data back does not need.
func (f osFile) Sync() error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var syncErr error
	err = conn.Control(func(fd uintptr) {
		// EINTR says that the call has not been made, so this retries no failed sync.
		for syncErr = syscall.EINTR; syncErr == syscall.EINTR; {
			syncErr = syscall.Fdatasync(int(fd))
		}
	})
	if err != nil {
		syncErr = fs.ErrClosed // Control reports nothing else, under another name
	}
	if syncErr != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: syncErr}
	}
	return nil
}

// Free implements Space.
func (osFS) Free(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// Total implements Sized.
func (osFS) Total(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Blocks) * s.Bsize, nil
}

// reserve is fallocate.
func (f osFile) reserve(size int64) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for failed = syscall.EINTR; failed == syscall.EINTR; {
			failed = syscall.Fallocate(int(fd), 0, 0, size)
		}
	})
	switch {
	case err != nil:
		return err
	case failed == syscall.EOPNOTSUPP:
		return errors.ErrUnsupported
	case failed != nil:
		return &fs.PathError{Op: "fallocate", Path: f.Name(), Err: failed}
	}
	return nil
}
