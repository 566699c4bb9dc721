//go:build linux

package lab

import (
	"context"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// noMemoryLimit is the limit that replaces none, in bytes: the engine can change the limit
// of a running container, but not remove it.
const noMemoryLimit = int64(1) << 42

// LosePower implements Host.
func (h *dockerHost) LosePower(context.Context) error {
	return h.failed("power loss", notCovered("containers write to this machine's own disk, which keeps what was not synced"))
}

// FillDisk implements Host.
func (h *dockerHost) FillDisk(context.Context, int64) error {
	return h.failed("full disk", notCovered("the volumes are on this machine's own disk, which others use"))
}

// EmptyDisk implements Host.
func (h *dockerHost) EmptyDisk(context.Context) error { return nil }

// SkewClock implements Host.
func (h *dockerHost) SkewClock(context.Context, time.Duration) error {
	return h.failed("clock", notCovered("containers have this machine's own clock"))
}

// LimitMemory implements Host. Swap counts. The limit stays when the container is
// started again, until Wipe.
func (h *dockerHost) LimitMemory(ctx context.Context, bytes int64) error {
	if bytes == 0 {
		bytes = noMemoryLimit
	}
	limit := strconv.FormatInt(bytes, 10)
	_, err := h.lab.engine.docker(ctx, "container", "update", "--memory", limit, "--memory-swap", limit, h.container())
	return h.failed("limit the memory of", err)
}

// LimitFiles implements Host. The limit ends with the process.
func (h *dockerHost) LimitFiles(_ context.Context, files uint64) error {
	return h.failed("limit the descriptors of", h.up(func(pid int) error {
		var started unix.Rlimit
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &started); err != nil {
			return err
		}
		started.Cur = started.Max // Go raises it to this when a program starts
		return limitFiles(pid, started, files)
	}))
}

// FailSyscalls implements Host, like the other kinds. It affects only the present process.
func (h *dockerHost) FailSyscalls(ctx context.Context, how SyscallFault) error {
	return h.failed("let calls fail on", h.up(func(pid int) error {
		return h.calls.fail(func() (*tracer, error) { return trace(ctx, h.lab.tools, pid, nil, how) })
	}))
}

// MendSyscalls implements Host.
func (h *dockerHost) MendSyscalls(context.Context) error {
	return h.failed("mend calls on", h.calls.mend())
}

// Resources implements Host.
func (h *dockerHost) Resources() (Resources, error) {
	var r Resources
	err := h.up(func(pid int) (err error) {
		r, err = resourcesOf(pid)
		return err
	})
	return r, h.failed("measure", err)
}

// retire ends failing calls, and makes each end of the process count as asked for.
func (h *dockerHost) retire() error {
	h.life.Lock()
	defer h.life.Unlock()
	h.retired = true
	h.mu.Lock()
	h.asked = time.Now()
	h.mu.Unlock()
	return h.MendSyscalls(context.Background())
}
