package crashfs

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/kvorum/kvorum/wal"
)

// ErrHalted is returned by every operation after Halt.
var ErrHalted = errors.New("filesystem is halted")

// ErrNoSpace is returned by writes beyond the capacity. It is the operating
// system's error for a full disk.
const ErrNoSpace = syscall.ENOSPC

// FS is a filesystem in memory with a durable and a volatile version of
// everything. Paths are slash-separated; relative ones start at the root.
type FS struct {
	// mu guards everything below, and all nodes of the tree.
	mu       sync.Mutex
	root     *node
	hook     func(op Op, name string) error
	capacity int64 // bytes; 0 is unlimited
	halted   bool
	open     int // files not yet closed
}

var _ wal.FS = (*FS)(nil)

// New returns an empty filesystem without faults.
func New() *FS { return &FS{root: newDir()} }

// SetHook installs a hook that is called before every operation, without any lock held;
// nil removes it. If the hook returns an error, the operation does nothing and returns
// that error; with a *ShortWrite a write does its first part. Operations of several
// goroutines call the hook concurrently.
func (f *FS) SetHook(hook func(op Op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// SetCapacity limits the sum of all files' sizes in bytes; 0 removes the limit.
// A write beyond the limit writes the bytes that fit and returns ErrNoSpace.
func (f *FS) SetCapacity(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = bytes
}

// Halt makes every later operation return ErrHalted, also those of open files. Crash
// and Clone still work.
func (f *FS) Halt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.halted = true
}

// OpenFiles returns the number of open files, for tests that look for leaks.
func (f *FS) OpenFiles() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

// FlipBit inverts one bit (0 to 7) of the byte at offset off of a file, in both
// versions. It calls no hook.
func (f *FS) FlipBit(name string, off int64, bit uint) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.fileLocked("flip", name)
	if err != nil {
		return err
	}
	if off < 0 || off >= n.volatile.size {
		return pathError("flip", name, fs.ErrInvalid)
	}
	n.volatile.flip(off, bit)
	if off < n.durable.size {
		n.durable.flip(off, bit)
	}
	return nil
}

// Create implements wal.FS.
func (f *FS) Create(name string) (wal.File, error) {
	return f.openFile(OpCreate, name, func(dir *node, base string) (*node, error) {
		n := dir.volatileEntries[base]
		switch {
		case n == nil:
			n = newFile()
			dir.volatileEntries[base] = n
		case n.isDir:
			return nil, syscall.EISDIR
		default:
			n.truncate(0)
		}
		return n, nil
	})
}

// Open implements wal.FS.
func (f *FS) Open(name string) (wal.File, error) { return f.openFile(OpOpen, name, existing) }

// OpenRead implements wal.FS.
func (f *FS) OpenRead(name string) (wal.File, error) { return f.openFile(OpOpenRead, name, existing) }

func existing(dir *node, base string) (*node, error) {
	n := dir.volatileEntries[base]
	switch {
	case n == nil:
		return nil, fs.ErrNotExist
	case n.isDir:
		return nil, syscall.EISDIR
	}
	return n, nil
}

func (f *FS) openFile(op Op, name string, find func(dir *node, base string) (*node, error)) (wal.File, error) {
	var opened *file
	err := f.do(op, name, func() error {
		dir, base, err := f.parentLocked(name)
		if err != nil {
			return err
		}
		n, err := find(dir, base)
		if err != nil {
			return err
		}
		f.open++
		opened = &file{fs: f, node: n, name: name, readOnly: op == OpOpenRead}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return opened, nil
}

// Remove implements wal.FS.
func (f *FS) Remove(name string) error {
	return f.do(OpRemove, name, func() error {
		dir, base, err := f.parentLocked(name)
		if err != nil {
			return err
		}
		n := dir.volatileEntries[base]
		switch {
		case n == nil:
			return fs.ErrNotExist
		case n.isDir && len(n.volatileEntries) > 0:
			return syscall.ENOTEMPTY
		}
		delete(dir.volatileEntries, base)
		return nil
	})
}

// RemoveAll implements wal.FS.
func (f *FS) RemoveAll(name string) error {
	return f.do(OpRemoveAll, name, func() error {
		dir, base, err := f.parentLocked(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		delete(dir.volatileEntries, base)
		return nil
	})
}

// Rename implements wal.FS. The hook gets the old name.
func (f *FS) Rename(oldname, newname string) error {
	return f.do(OpRename, oldname, func() error {
		from, oldBase, err := f.parentLocked(oldname)
		if err != nil {
			return err
		}
		to, newBase, err := f.parentLocked(newname)
		if err != nil {
			return err
		}
		n, target := from.volatileEntries[oldBase], to.volatileEntries[newBase]
		switch {
		case n == nil:
			return fs.ErrNotExist
		case n == target:
			return nil
		case target != nil && target.isDir && (!n.isDir || len(target.volatileEntries) > 0):
			return fs.ErrExist
		case target != nil && n.isDir && !target.isDir:
			return syscall.ENOTDIR
		}
		delete(from.volatileEntries, oldBase)
		to.volatileEntries[newBase] = n
		return nil
	})
}

// MkdirAll implements wal.FS.
func (f *FS) MkdirAll(name string) error {
	return f.do(OpMkdirAll, name, func() error {
		dir := f.root
		for _, part := range split(name) {
			n := dir.volatileEntries[part]
			if n == nil {
				n = newDir()
				dir.volatileEntries[part] = n
			}
			if !n.isDir {
				return syscall.ENOTDIR
			}
			dir = n
		}
		return nil
	})
}

// ReadDir implements wal.FS.
func (f *FS) ReadDir(name string) ([]string, error) {
	var names []string
	err := f.do(OpReadDir, name, func() error {
		dir, err := f.dirLocked(split(name))
		if err != nil {
			return err
		}
		names = sortedKeys(dir.volatileEntries)
		return nil
	})
	return names, err
}

// Stat implements wal.FS.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	var info fs.FileInfo
	err := f.do(OpStat, name, func() error {
		n, err := f.nodeLocked(split(name))
		if err != nil {
			return err
		}
		info = fileInfo{name: path.Base(path.Clean("/" + name)), size: n.volatile.size, dir: n.isDir}
		return nil
	})
	return info, err
}

// SyncDir implements wal.FS: the directory's entries become durable. The content of
// its files does not.
func (f *FS) SyncDir(name string) error {
	return f.do(OpSyncDir, name, func() error {
		dir, err := f.dirLocked(split(name))
		if err != nil {
			return err
		}
		dir.durableEntries = cloneEntries(dir.volatileEntries)
		return nil
	})
}

// do calls the hook, runs one operation under the lock, and names it in its error.
func (f *FS) do(op Op, name string, act func() error) error {
	if err := f.callHook(op, name); err != nil {
		return pathError(op.String(), name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.halted {
		return pathError(op.String(), name, ErrHalted)
	}
	if err := act(); err != nil {
		return pathError(op.String(), name, err)
	}
	return nil
}

func (f *FS) callHook(op Op, name string) error {
	f.mu.Lock()
	hook, halted := f.hook, f.halted
	f.mu.Unlock()
	if halted {
		return ErrHalted
	}
	if hook == nil {
		return nil
	}
	return hook(op, name)
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// split returns a path's parts; the root has none.
func split(name string) []string {
	clean := strings.Trim(path.Clean("/"+name), "/")
	if clean == "" {
		return nil
	}
	return strings.Split(clean, "/")
}

func (f *FS) nodeLocked(parts []string) (*node, error) {
	n := f.root
	for _, part := range parts {
		if !n.isDir {
			return nil, syscall.ENOTDIR
		}
		if n = n.volatileEntries[part]; n == nil {
			return nil, fs.ErrNotExist
		}
	}
	return n, nil
}

func (f *FS) dirLocked(parts []string) (*node, error) {
	n, err := f.nodeLocked(parts)
	if err == nil && !n.isDir {
		err = syscall.ENOTDIR
	}
	return n, err
}

// parentLocked returns the directory of name, and the last part of name.
func (f *FS) parentLocked(name string) (dir *node, base string, err error) {
	parts := split(name)
	if len(parts) == 0 {
		return nil, "", fs.ErrInvalid
	}
	last := len(parts) - 1
	dir, err = f.dirLocked(parts[:last])
	return dir, parts[last], err
}

func (f *FS) fileLocked(op, name string) (*node, error) {
	n, err := f.nodeLocked(split(name))
	if err == nil && n.isDir {
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, pathError(op, name, err)
	}
	return n, nil
}

func sortedKeys(m map[string]*node) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
