package wal

import (
	"errors"
	"path/filepath"
)

// Space is what an FS offers besides, where it can tell how much room is left.
type Space interface {
	// Free returns how many bytes more the files below an existing directory may
	// take. The error is errors.ErrUnsupported where nobody can tell.
	Free(dir string) (int64, error)
}

// FreeSpace returns how many bytes more the files below an existing directory
// of fsys may take. The error is errors.ErrUnsupported where that is not known.
func FreeSpace(fsys FS, dir string) (int64, error) {
	space, ok := fsys.(Space)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return space.Free(dir)
}

// Sized is what an FS offers besides, where it can tell how large the disk is.
type Sized interface {
	// Total returns how many bytes the filesystem of an existing directory has. The
	// error is errors.ErrUnsupported where nobody can tell.
	Total(dir string) (int64, error)
}

// TotalSpace returns how many bytes the filesystem of an existing directory of
// fsys has. The error is errors.ErrUnsupported where that is not known.
func TotalSpace(fsys FS, dir string) (int64, error) {
	sized, ok := fsys.(Sized)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return sized.Total(dir)
}

// AheadBytes is the most that a log's files take beyond what was appended, in
// bytes: the zeros behind the last record, and a segment that is made ahead with
// what a batch that did not fit leaves unused.
const AheadBytes = 3 * growBytes

// reserver is a File that can take space without being written.
type reserver interface {
	reserve(size int64) error
}

// Reserve makes a file at path that takes size bytes of the disk, durably. A
// file that is there is replaced; after an error there is none.
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
