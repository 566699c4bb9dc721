package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
	"time"

	"github.com/kvorum/kvorum/wal"
)

// file is an open file. Its fields are guarded by fs.mu.
type file struct {
	fs       *FS
	node     *node
	name     string
	readOnly bool
	pos      int64 // of Read and Write
	closed   bool
}

var _ wal.File = (*file)(nil)

// do runs an operation of an open file.
func (f *file) do(op Op, act func() error) error {
	return f.fs.do(op, f.name, func() error {
		if f.closed {
			return fs.ErrClosed
		}
		return act()
	})
}

func (f *file) Read(b []byte) (n int, err error) {
	err = f.do(OpRead, func() error {
		n = f.node.readAt(b, f.pos)
		f.pos += int64(n)
		return nil
	})
	if err == nil && n == 0 && len(b) > 0 {
		err = io.EOF
	}
	return n, err
}

func (f *file) ReadAt(b []byte, off int64) (n int, err error) {
	err = f.do(OpRead, func() error {
		if off < 0 {
			return fs.ErrInvalid
		}
		n = f.node.readAt(b, off)
		return nil
	})
	if err == nil && n < len(b) {
		err = io.EOF
	}
	return n, err
}

func (f *file) Write(b []byte) (n int, err error) {
	return f.write(b, func() int64 { return f.pos }, func(n int) { f.pos += int64(n) })
}

func (f *file) WriteAt(b []byte, off int64) (n int, err error) {
	return f.write(b, func() int64 { return off }, func(int) {})
}

// write writes b at the offset that at returns, and then calls done. Both are called
// with the lock held.
func (f *file) write(b []byte, at func() int64, done func(n int)) (n int, err error) {
	fault := f.fs.callHook(OpWrite, f.name)
	var short *ShortWrite
	if fault != nil && !errors.As(fault, &short) {
		return 0, pathError(OpWrite.String(), f.name, fault)
	}
	if short != nil {
		b, fault = b[:max(0, min(short.N, len(b)))], short.Err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	off := at()
	switch {
	case f.fs.halted:
		fault, b = ErrHalted, nil
	case f.closed:
		fault, b = fs.ErrClosed, nil
	case f.readOnly:
		fault, b = syscall.EBADF, nil
	case off < 0:
		fault, b = fs.ErrInvalid, nil
	}
	if room := f.fs.roomLocked(f.node, off); int64(len(b)) > room {
		b, fault = b[:room], ErrNoSpace
	}
	if len(b) > 0 {
		f.node.writeAt(b, off)
	}
	done(len(b))
	if fault != nil {
		return len(b), pathError(OpWrite.String(), f.name, fault)
	}
	return len(b), nil
}

// Sync makes the file's content durable. If the hook makes it fail, the changed
// sectors become clean without being durable, as on Linux. The program still sees
// them, but they become durable only when they are written and synced again.
func (f *file) Sync() error {
	fault := f.fs.callHook(OpSync, f.name)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	switch {
	case f.fs.halted:
		fault = ErrHalted
	case f.closed:
		fault = fs.ErrClosed
	case fault != nil:
		clear(f.node.dirty)
	default:
		f.node.sync()
	}
	if fault != nil {
		return pathError(OpSync.String(), f.name, fault)
	}
	return nil
}

func (f *file) Truncate(size int64) error {
	return f.do(OpTruncate, func() error {
		switch {
		case f.readOnly || size < 0:
			return fs.ErrInvalid
		case size-f.node.volatile.size > f.fs.roomLocked(f.node, f.node.volatile.size):
			return ErrNoSpace
		}
		f.node.truncate(size)
		return nil
	})
}

func (f *file) Size() (size int64, err error) {
	err = f.do(OpSize, func() error {
		size = f.node.volatile.size
		return nil
	})
	return size, err
}

// Close closes the file in any case, also on a halted filesystem and with an error of
// the hook.
func (f *file) Close() error {
	fault := f.fs.callHook(OpClose, f.name)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return pathError(OpClose.String(), f.name, fs.ErrClosed)
	}
	f.closed = true
	f.fs.open--
	if fault != nil {
		return pathError(OpClose.String(), f.name, fault)
	}
	return nil
}

// roomLocked returns the number of bytes that may be written at offset off of a file.
func (f *FS) roomLocked(n *node, off int64) int64 {
	if f.capacity == 0 {
		return 1<<63 - 1
	}
	used := f.root.usedBytes()
	return max(0, n.volatile.size-off) + max(0, f.capacity-used-max(0, off-n.volatile.size))
}

// usedBytes returns the sum of all files' sizes below a directory.
func (n *node) usedBytes() int64 {
	used := n.volatile.size
	for _, child := range n.volatileEntries {
		used += child.usedBytes()
	}
	return used
}

// fileInfo implements fs.FileInfo. There are no times.
type fileInfo struct {
	name string
	size int64
	dir  bool
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return i.dir }
func (i fileInfo) Sys() any           { return nil }

func (i fileInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
