package wal

import (
	"errors"
	"path/filepath"
)

// Space is implemented by an FS that knows the free room of a disk.
type Space interface {
	// Free returns the number of bytes that files below an existing directory may
	// still take. The error is errors.ErrUnsupported where that is not known.
	Free(dir string) (int64, error)
}

// FreeSpace returns the number of bytes that files below an existing directory of
// fsys may still take. The error is errors.ErrUnsupported where that is not known.
func FreeSpace(fsys FS, dir string) (int64, error) {
	space, ok := fsys.(Space)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return space.Free(dir)
}

// Sized is implemented by an FS that knows the size of a disk.
type Sized interface {
	// Total returns the size in bytes of the filesystem of an existing directory. The
	// error is errors.ErrUnsupported where that is not known.
	Total(dir string) (int64, error)
}

// TotalSpace returns the size in bytes of the filesystem of an existing directory of
// fsys. The error is errors.ErrUnsupported where that is not known.
func TotalSpace(fsys FS, dir string) (int64, error) {
	sized, ok := fsys.(Sized)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return sized.Total(dir)
}

// AheadBytes is the maximum number of bytes that a log's files take beyond the
// appended records. They are the zeros behind the last record, a segment that is made
// ahead, and the rest of a segment that a batch did not fit.
const AheadBytes = 3 * growBytes

// reserver is a File that can take space without being written.
type reserver interface {
	reserve(size int64) error
}

// Reserve makes a file at path that takes size bytes of the disk, durably. An
// existing file is replaced; after an error there is no file.
func Reserve(fsys FS, path string, size int64) error {
	f, err := fsys.Create(path)
	if err != nil {
		return err
	}
	if err = reserve(f, size); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return errors.Join(err, fsys.Remove(path))
	}
	return nil
}

func reserve(f File, size int64) error {
	if r, ok := f.(reserver); ok {
		if err := r.reserve(size); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	for left := size; left > 0; left -= int64(len(zeros)) {
		if _, err := f.Write(zeros[:min(left, int64(len(zeros)))]); err != nil {
			return err
		}
	}
	return nil
}
