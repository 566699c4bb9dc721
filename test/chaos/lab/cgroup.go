//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// madeCgroup is the sort of a control group in a claim; its name is its directory.
	madeCgroup = "cgroup"
	cgroupRoot = "/sys/fs/cgroup"
	// cgroupGone is the maximum wait until the kernel has removed a group's last process.
	cgroupGone = 5 * time.Second
	cgroupPoll = 10 * time.Millisecond
)

// cgroup is a control group for memory. All processes of a host start in it, so that all of
// their memory counts, also files on a disk in memory.
type cgroup struct {
	dir  string
	home string // of version 1: the group of this program; "" in version 2
}

// openCgroup makes the host's control group, where that can be done.
func (h *host) openCgroup() error {
	c, ok := planCgroup(fmt.Sprintf("%s-%d-%s", prefix, os.Getpid(), h.name))
	if !ok {
		return nil
	}
	if err := h.lab.claim.add(madeCgroup, c.dir); err != nil {
		return err
	}
	err := os.Mkdir(c.dir, 0o755)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil // LimitMemory says so
	}
	if err == nil {
		h.cgroup = c
	}
	return err
}

// planCgroup returns a group with its future place, or false if memory is not controlled.
func planCgroup(name string) (*cgroup, bool) {
	if v1 := filepath.Join(cgroupRoot, "memory"); exists(filepath.Join(v1, "memory.limit_in_bytes")) {
		return &cgroup{dir: filepath.Join(v1, name), home: filepath.Join(v1, ownGroup())}, true
	}
	enabled, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"))
	if err != nil || !strings.Contains(string(enabled), "memory") {
		return nil, false
	}
	return &cgroup{dir: filepath.Join(cgroupRoot, name)}, true
}

// ownGroup returns the path of the memory group, of version 1, that this program is in.
func ownGroup() string {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if fields := strings.SplitN(strings.TrimSpace(line), ":", 3); len(fields) == 3 && fields[1] == "memory" {
			return fields[2]
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// join puts the processes that the present thread starts until release into the group. A
// nil group means none.
func (c *cgroup) join(attr *unix.SysProcAttr) (release func() error, err error) {
	if c == nil {
		return func() error { return nil }, nil
	}
	if c.home == "" {
		dir, err := os.Open(c.dir)
		if err != nil {
			return nil, err
		}
		attr.UseCgroupFD, attr.CgroupFD = true, int(dir.Fd())
		return dir.Close, nil
	}
	thread := strconv.Itoa(unix.Gettid())
	if err := writeFile(c.dir, "tasks", thread); err != nil {
		return nil, err
	}
	return func() error { return writeFile(c.home, "tasks", thread) }, nil
}

func writeFile(dir, name, text string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0)
}

// LimitMemory implements Host. The limit holds for later processes of the host, too.
func (h *host) LimitMemory(_ context.Context, bytes int64) error {
	if h.cgroup == nil {
		return h.failed("limit the memory of", notCovered("that takes root and a memory controller of control groups"))
	}
	return h.failed("limit the memory of", h.cgroup.limit(bytes))
}

func (c *cgroup) limit(bytes int64) error {
	if c.home != "" {
		return c.limitV1(bytes)
	}
	text := "max"
	if bytes > 0 {
		text = strconv.FormatInt(bytes, 10)
		if err := writeFile(c.dir, "memory.swap.max", "0"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return writeFile(c.dir, "memory.max", text)
}

// limitV1 sets a limit of version 1, which can't be below the memory in use. In that case
// it sets the limit to the memory in use, and the kernel kills the process at its next
// page.
func (c *cgroup) limitV1(bytes int64) error {
	if bytes <= 0 {
		return writeFile(c.dir, "memory.limit_in_bytes", "-1")
	}
	for deadline := time.Now().Add(cgroupGone); ; {
		err := writeFile(c.dir, "memory.limit_in_bytes", strconv.FormatInt(bytes, 10))
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		used, err := os.ReadFile(filepath.Join(c.dir, "memory.usage_in_bytes"))
		if err != nil {
			return err
		}
		if now, err := strconv.ParseInt(strings.TrimSpace(string(used)), 10, 64); err == nil {
			bytes = max(bytes, now)
		}
	}
}

// removeCgroup removes a group whose processes have ended.
func removeCgroup(dir string) error {
	for deadline := time.Now().Add(cgroupGone); ; time.Sleep(cgroupPoll) {
		err := unix.Rmdir(dir)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
