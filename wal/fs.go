package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// FS is the small part of a filesystem that Kvorum needs for its durable files. Tests
// replace it by one that they can crash, tear, fill and corrupt. All names are
// slash-separated paths as the operating system understands them.
// Implementations are safe for concurrent use.
type FS interface {
	// Create makes a new file for reading and writing, or truncates an existing one.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// OpenRead opens an existing file for reading only.
	OpenRead(name string) (File, error)
	// Remove deletes a file or an empty directory.
	Remove(name string) error
	// RemoveAll deletes a directory tree; a missing one is no error.
	RemoveAll(name string) error
	// Rename replaces newname by oldname atomically. It is durable only after SyncDir.
	Rename(oldname, newname string) error
	// MkdirAll makes a directory and its parents. Each is durable only after SyncDir of
	// its parent.
	MkdirAll(name string) error
	// ReadDir lists the names in a directory in lexical order.
	ReadDir(name string) ([]string, error)
	// Stat describes a file or directory. A missing one is fs.ErrNotExist.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes a directory's entries durable.
	SyncDir(name string) error
}

// File is one open file of an FS.
type File interface {
	io.Reader
	io.ReaderAt
	io.WriterAt
	io.Writer
	io.Closer
	// Sync makes the file's data durable, and the metadata that is needed to read the
	// data back (fdatasync). An error is final: the call must not be retried.
	Sync() error
	// Truncate changes the file's size.
	Truncate(size int64) error
	// Size returns the file's size in bytes.
	Size() (int64, error)
}

// MakeDir makes a directory and its missing parents, each durable before the next one
// is made. An existing directory is made durable too: the process that made it may
// have been killed before its sync. Only in a parent that this process may not read
// that is impossible, and not an error.
func MakeDir(fsys FS, dir string) error {
	parent := filepath.Dir(dir)
	_, err := fsys.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := MakeDir(fsys, parent); err != nil {
			return err
		}
		err = fsys.MkdirAll(dir)
	}
	if err != nil || parent == dir {
		return err
	}
	if err := fsys.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// MustExist returns a *CorruptionError where there is no file at path.
func MustExist(fsys FS, path string) error {
	_, err := fsys.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &CorruptionError{File: path, Reason: "file is missing"}
	}
	return err
}

// tempSuffix is the suffix of the file in which WriteFileAtomic writes the new content.
const tempSuffix = ".tmp"

// WriteFileAtomic replaces the content of the file at path, or creates it, so
// that a crash at any moment leaves either the old content or the new one. On
// return without error the new content is durable; after an error either may
// be. Two calls for one path must not overlap.
func WriteFileAtomic(fsys FS, path string, data []byte) error {
	temp := path + tempSuffix
	if err := writeNew(fsys, temp, data); err != nil {
		return fmt.Errorf("write %s: %w", temp, err)
	}
	if err := fsys.Rename(temp, path); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}

// writeNew makes a file at path. Its content is durable on return, its name is not.
func writeNew(fsys FS, path string, data []byte) error {
	f, err := fsys.Create(path)
	if err != nil {
		return err
	}
	return writeAndClose(f, data)
}

// writeAndClose writes, syncs and closes f, in this order. It closes f in any case.
func writeAndClose(f File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
