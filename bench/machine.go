package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/kvorum/kvorum/wal"
)

const (
	diskBlock = 4 << 10
	diskSyncs = 200
)

// describe prints the properties of the machine on which every figure depends. dir is empty
// if the disk does not matter.
func describe(w io.Writer, title, dir string) error {
	fmt.Fprintf(w, "## %s\n\n%d CPUs, %s, %s/%s", title, runtime.GOMAXPROCS(0), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if dir != "" {
		cost, err := syncCost(dir)
		if err != nil {
			return fmt.Errorf("measure the disk: %w", err)
		}
		fmt.Fprintf(w, "; sync of 4 KiB: %s, the median of %d", took(cost), diskSyncs)
	}
	fmt.Fprintln(w, ".")
	return nil
}

// syncCost returns the median time of a write of diskBlock and its sync (fdatasync
// on Linux), to a file that does not grow.
func syncCost(dir string) (_ time.Duration, err error) {
	path := filepath.Join(dir, "sync-cost")
	f, err := wal.OS().Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	if _, err := f.WriteAt(make([]byte, diskSyncs*diskBlock), 0); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	block := make([]byte, diskBlock)
	block[0] = 1
	var costs []float64
	for i := range diskSyncs {
		began := time.Now()
		if _, err := f.WriteAt(block, int64(i)*diskBlock); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		costs = append(costs, float64(time.Since(began)))
	}
	return time.Duration(median(costs)), nil
}

// withDir runs f with a new directory below parent, and then removes the directory. An
// empty parent means the system's directory for temporary files. A filesystem in memory is
// refused.
func withDir(parent string, f func(dir string) error) (err error) {
	dir, err := os.MkdirTemp(parent, "kvorum-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	memory, err := inMemory(dir)
	if err != nil {
		return err
	}
	if memory {
		return fmt.Errorf("%s is on a filesystem in memory, where syncs cost nothing: choose another with --dir", filepath.Dir(dir))
	}
	return f(dir)
}
