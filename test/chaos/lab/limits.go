//go:build linux

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// LimitFiles implements Host. The limit ends with the process.
func (h *host) LimitFiles(_ context.Context, files uint64) error {
	return h.failed("limit the descriptors of", h.up(func(p *process) error { return limitFiles(p.pid, p.files, files) }))
}

// limitFiles limits the descriptors of a process; 0 means the limit at its start.
func limitFiles(pid int, started unix.Rlimit, files uint64) error {
	limit := started
	if files > 0 {
		limit.Cur = min(files, limit.Max) // the hard limit could not be raised again
	}
	err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil)
	if errors.Is(err, unix.ESRCH) {
		return ErrNotRunning
	}
	return err
}

// Resources implements Host.
func (h *host) Resources() (Resources, error) {
	var r Resources
	err := h.up(func(p *process) (err error) {
		r, err = resourcesOf(p.pid)
		return err
	})
	return r, h.failed("measure", err)
}

// resourcesOf returns the resources of a process.
func resourcesOf(pid int) (r Resources, err error) {
	if r.Resident, err = resident(pid); err == nil {
		var files []os.DirEntry
		files, err = os.ReadDir(filepath.Join(procDir(pid), "fd"))
		r.Descriptors = len(files)
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		err = ErrNotRunning
	}
	return r, err
}

// resident returns the bytes of resident memory of a process.
func resident(pid int) (int64, error) {
	text, err := procStatus(procDir(pid), "VmRSS")
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
	return kib << 10, err
}

func procDir(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid)) }

// procStatus returns a field of the status file of a process or thread. One that has
// ended, and was not waited for, has no memory any more: os.ErrNotExist.
func procStatus(dir, field string) (string, error) {
	f, err := os.Open(filepath.Join(dir, "status"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, text, ok := strings.Cut(lines.Text(), ":"); ok && name == field {
			return strings.TrimSpace(text), nil
		}
	}
	return "", errors.Join(lines.Err(), fmt.Errorf("%s has no %s: %w", f.Name(), field, os.ErrNotExist))
}
