package wal

import (
	"errors"
	"io/fs"
	"os"
)

// Permissions of created files and directories: only their owner may read them.
const (
	filePerm = 0o600
	dirPerm  = 0o700
)

// OS returns the operating system's filesystem. On Linux its File.Sync is
// fdatasync, elsewhere fsync.
func OS() FS { return osFS{} }

type osFS struct{}

type osFile struct{ *os.File }

var (
	_ FS   = osFS{}
	_ File = osFile{}
)

func openOS(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, filePerm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Create(name string) (File, error) {
	return openOS(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (osFS) Open(name string) (File, error)        { return openOS(name, os.O_RDWR) }
func (osFS) OpenRead(name string) (File, error)    { return openOS(name, os.O_RDONLY) }
func (osFS) Remove(name string) error              { return os.Remove(name) }
func (osFS) RemoveAll(name string) error           { return os.RemoveAll(name) }
func (osFS) Rename(oldname, newname string) error  { return os.Rename(oldname, newname) }
func (osFS) MkdirAll(name string) error            { return os.MkdirAll(name, dirPerm) }
func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

func (osFS) ReadDir(name string) ([]string, error) {
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
