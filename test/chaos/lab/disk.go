//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// fillerName is the name of the file that fills a disk, beside the data directory.
const fillerName = "filler"

// disk has the data of a host. A disk of its own is mounted in the mount namespace of the
// host's keeper. Only the keeper sees it, and all work on it is done on the keeper's
// thread.
type disk struct {
	host *host
	dir  string // in which, or on which, the data directory is
}

func (d *disk) data() string   { return filepath.Join(d.dir, "data") }
func (d *disk) filler() string { return filepath.Join(d.dir, fillerName) }
func (d *disk) image() string  { return d.dir + ".ext4" }

// own reports whether the host has a disk of its own.
func (d *disk) own() bool { return d.host.lab.cfg.DiskMiB > 0 && os.Geteuid() == 0 }

// openDisk makes the host's disk.
func (h *host) openDisk() error {
	if err := os.MkdirAll(h.disk.dir, 0o777); err != nil {
		return err
	}
	cfg := h.lab.cfg
	switch {
	case !h.disk.own():
		return nil
	case cfg.LoopDisk:
		return h.keeper.do(h.disk.makeExt4)
	}
	return h.keeper.do(func() error {
		if err := unix.Mount(prefix, h.disk.dir, "tmpfs", 0, fmt.Sprintf("size=%dm", cfg.DiskMiB)); err != nil {
			return fmt.Errorf("mount a tmpfs: %w", err)
		}
		return nil
	})
}

// makeExt4 makes a filesystem in a file and mounts it.
func (d *disk) makeExt4() error {
	f, err := os.Create(d.image())
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(int64(d.host.lab.cfg.DiskMiB)<<20), f.Close()); err != nil {
		return err
	}
	if err := run("mkfs.ext4", "-q", "-F", "-m", "0", d.image()); err != nil {
		return err
	}
	return d.mountExt4()
}

// mountExt4 mounts the filesystem. The loop device is removed with its last mount. The
// kernel is told to keep unsynced data in memory for a long time.
func (d *disk) mountExt4() error {
	return run("mount", "-t", "ext4", "-o", "loop,noatime,noauto_da_alloc,commit=300", d.image(), d.dir)
}

// run carries out a command on the present thread.
func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// wipe removes the data. No process runs.
func (d *disk) wipe() error {
	return d.host.keeper.do(func() error { return os.RemoveAll(d.data()) })
}

// close unmounts the disk and removes the file that it was in.
func (d *disk) close() error {
	cfg := d.host.lab.cfg
	if !d.own() {
		return nil
	}
	err := d.host.keeper.do(func() error { return unix.Unmount(d.dir, 0) })
	if errors.Is(err, unix.EINVAL) {
		err = nil // it was not mounted yet
	}
	if cfg.LoopDisk {
		if removed := os.Remove(d.image()); !errors.Is(removed, os.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}
	return err
}

// LosePower implements Host. The filesystem is shut down as by a loss of power: data that
// is only in memory does not reach the disk any more. The next mount replays the journal.
// Data that the kernel has written back before is kept.
func (h *host) LosePower(ctx context.Context) error {
	if !h.disk.own() || !h.lab.cfg.LoopDisk {
		return h.failed("lose the power of", notCovered("that takes an ext4 disk of the host's own: root, DiskMiB and LoopDisk"))
	}
	if err := h.Kill(ctx); err != nil {
		return err
	}
	return h.failed("lose the power of", h.down(func() error { return h.keeper.do(h.disk.losePower) }))
}

func (d *disk) losePower() error {
	dir, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	err = unix.IoctlSetPointerInt(int(dir.Fd()), ioctlShutdown, shutdownWithoutFlush)
	if err := errors.Join(err, dir.Close()); err != nil {
		return fmt.Errorf("shut the filesystem down: %w", err)
	}
	if err := d.unmountBusy(); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	return d.mountExt4()
}

// unmountBusy unmounts the disk. A process that was just killed, or one that is being
// started, may have a file of it open for a moment.
func (d *disk) unmountBusy() error {
	for began := time.Now(); ; time.Sleep(busyPoll) {
		err := unix.Unmount(d.dir, 0)
		if !errors.Is(err, unix.EBUSY) || time.Since(began) > busyTimeout {
			return err
		}
	}
}

const (
	// ioctlShutdown is FS_IOC_SHUTDOWN of ext4, XFS and F2FS.
	ioctlShutdown = 0x8004587d
	// busyPoll is the time between two attempts to unmount a disk in use, for busyTimeout.
	busyPoll    = 10 * time.Millisecond
	busyTimeout = 5 * time.Second
	// shutdownWithoutFlush is the mode of ioctlShutdown in which not even the journal is
	// written.
	shutdownWithoutFlush = 2
)

// FillDisk implements Host.
func (h *host) FillDisk(_ context.Context, left int64) error {
	if !h.disk.own() {
		return h.failed("fill the disk of", notCovered("that takes a disk of the host's own: root and DiskMiB"))
	}
	return h.failed("fill the disk of", h.keeper.do(func() error { return h.disk.fill(left) }))
}

// fill makes the filler take all free bytes except left. It grows and shrinks.
func (d *disk) fill(left int64) error {
	f, err := os.OpenFile(d.filler(), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size() + int64(fs.Bavail)*fs.Bsize - left
	if size <= info.Size() {
		return f.Truncate(max(size, 0))
	}
	// An error for a full disk is the intended state: other processes write meanwhile, and
	// the filesystem itself takes some room.
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil && !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("take %d bytes: %w", size-info.Size(), err)
	}
	return f.Sync() // the filler must survive a loss of power
}

// EmptyDisk implements Host.
func (h *host) EmptyDisk(context.Context) error {
	if !h.disk.own() {
		return nil
	}
	return h.failed("empty the disk of", h.keeper.do(h.disk.empty))
}

// empty removes the filler for good: a loss of power does not bring it back.
func (d *disk) empty() error {
	err := os.Remove(d.filler())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
