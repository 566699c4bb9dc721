package wal

import (
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
		syncErr = fs.ErrClosed // which is all that Control reports, by another name
	}
	if syncErr != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: syncErr}
	}
	return nil
}
