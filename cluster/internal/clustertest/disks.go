package clustertest

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/wal"
)

// HangingFS is a filesystem whose log files hang or fail to sync when it is told so.
type HangingFS struct {
	wal.FS
	gate atomic.Pointer[chan struct{}] // nil: nothing hangs
	fail atomic.Pointer[error]         // nil: nothing fails
}

// Fail makes syncs of the log return err from now on.
func (f *HangingFS) Fail(err error) { f.fail.Store(&err) }

// Hang makes syncs of the log wait until release is called.
func (f *HangingFS) Hang() (release func()) {
	gate := make(chan struct{})
	f.gate.Store(&gate)
	return func() {
		f.gate.Store(nil)
		close(gate)
	}
}

// Create implements wal.FS.
func (f *HangingFS) Create(name string) (wal.File, error) {
	file, err := f.FS.Create(name)
	if err != nil || !strings.Contains(name, "wal-") {
		return file, err
	}
	return hangingFile{file, f}, nil
}

type hangingFile struct {
	wal.File
	fs *HangingFS
}

func (f hangingFile) Sync() error {
	if gate := f.fs.gate.Load(); gate != nil {
		<-*gate
	}
	if err := f.fs.fail.Load(); err != nil {
		return *err
	}
	return f.File.Sync()
}

// SpacedFS is a disk with as much room as a test says.
type SpacedFS struct {
	wal.FS
	Bytes *atomic.Int64 // that are free
}

// Free implements what wal.FreeSpace asks for.
func (s SpacedFS) Free(string) (int64, error) { return s.Bytes.Load(), nil }

// SlowFS is a filesystem whose syncs take a while.
type SlowFS struct {
	wal.FS
	Takes time.Duration
}

// Create implements wal.FS.
func (d SlowFS) Create(name string) (wal.File, error) { return d.slow(d.FS.Create(name)) }

// Open implements wal.FS.
func (d SlowFS) Open(name string) (wal.File, error) { return d.slow(d.FS.Open(name)) }

func (d SlowFS) slow(f wal.File, err error) (wal.File, error) { return slowFile{f, d.Takes}, err }

type slowFile struct {
	wal.File
	takes time.Duration
}

func (f slowFile) Sync() error {
	time.Sleep(f.takes)
	return f.File.Sync()
}
