//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

var (
	// ErrNotRunning is returned by methods that need a Host's process if there is none.
	ErrNotRunning = errors.New("its process does not run")
	// ErrRunning is returned by methods that need a Host's process to be down if it runs.
	ErrRunning = errors.New("its process runs")
)

// host is a Host of a lab.
type host struct {
	lab     *lab
	index   int
	name    string
	url     string  // set by network.attach
	keeper  *keeper // set by network.attach; starts the processes
	disk    disk
	cgroup  *cgroup // nil if there are none
	logPath string

	// life is held while a process is started, and by methods that need it to be down.
	// Methods that end a process do not wait for it.
	life    sync.Mutex
	retired bool          // guarded by life; no process is started any more
	ahead   time.Duration // guarded by life; the skew of the next process's clock

	calls failingCalls

	mu   sync.Mutex
	proc *process // guarded by mu; nil if none runs
}

var _ Host = (*host)(nil)

func newHost(l *lab, index int) *host {
	name := fmt.Sprintf("n%d", index+1)
	h := &host{lab: l, index: index, name: name, logPath: filepath.Join(l.cfg.Dir, name+".log")}
	h.disk = disk{host: h, dir: filepath.Join(l.cfg.Dir, name)}
	return h
}

// Name implements Host.
func (h *host) Name() string { return h.name }

// URL implements Host.
func (h *host) URL() string { return h.url }

// place returns the addresses and the data directory of the host's process.
func (h *host) place() Place {
	p := h.lab.net.place(h)
	p.Name, p.Initial, p.Data = h.name, h.index < h.lab.cfg.Initial, h.disk.data()
	return p
}

// failed adds the host's name to an error.
func (h *host) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, h.name, err)
}

// running returns the host's process, or nil.
func (h *host) running() *process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.proc
}

// down runs f while no process runs, and none is started.
func (h *host) down(f func() error) error {
	h.life.Lock()
	defer h.life.Unlock()
	if h.running() != nil {
		return ErrRunning
	}
	return f()
}

// up runs f with the process.
func (h *host) up(f func(p *process) error) error {
	p := h.running()
	if p == nil {
		return ErrNotRunning
	}
	return f(p)
}

// Running implements Host.
func (h *host) Running() bool { return h.running() != nil }

// Start implements Host.
func (h *host) Start(ctx context.Context) error {
	h.life.Lock()
	defer h.life.Unlock()
	if h.running() != nil {
		return nil
	}
	if h.retired {
		return h.failed("start", errKeeperEnded)
	}
	return h.failed("start", errors.Join(ctx.Err(), h.launch()))
}

// Kill implements Host.
func (h *host) Kill(ctx context.Context) error {
	p := h.running()
	if p == nil {
		return nil
	}
	return h.failed("kill", p.kill(ctx))
}

// Stop implements Host.
func (h *host) Stop(ctx context.Context) error {
	p := h.running()
	if p == nil {
		return nil
	}
	return h.failed("stop", p.stop(ctx))
}

// Pause implements Host.
func (h *host) Pause(context.Context) error {
	return h.failed("pause", h.up(func(p *process) error { return p.pause(true) }))
}

// Resume implements Host.
func (h *host) Resume(context.Context) error {
	return h.failed("resume", h.up(func(p *process) error { return p.pause(false) }))
}

// Wipe implements Host.
func (h *host) Wipe(context.Context) error {
	return h.failed("wipe", h.down(h.disk.wipe))
}

// Readdress implements Host.
func (h *host) Readdress(context.Context) error {
	return h.failed("readdress", h.down(func() error { return h.lab.net.readdress(h) }))
}

// Log implements Host.
func (h *host) Log(n int) string {
	f, err := os.Open(h.logPath)
	if err != nil {
		return ""
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return ""
	}
	b := make([]byte, min(int64(n), size))
	read, _ := f.ReadAt(b, size-int64(len(b))) // errors are ignored
	return string(b[:read])
}

// retire ends the process, and prevents later starts.
func (h *host) retire(ctx context.Context) error {
	h.life.Lock()
	defer h.life.Unlock()
	h.retired = true
	return errors.Join(h.Kill(ctx), h.MendSyscalls(ctx))
}

// end ends the keeper, with its mounts and devices.
func (h *host) end() error {
	if h.keeper == nil {
		return nil
	}
	err := h.disk.close()
	h.keeper.end()
	return err
}
