//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// exitLogBytes is the maximum number of bytes of the log in the report of a process's end.
const exitLogBytes = 8 << 10

// process is a process of a host, from its start to its end.
type process struct {
	cmd   *exec.Cmd
	pid   int
	files unix.Rlimit   // limits of descriptors at its start
	done  chan struct{} // closed when it has ended and its end was reported

	told, killed atomic.Bool // the Lab has sent SIGTERM, SIGKILL

	skewed bool // guarded by host.life; its code for reading clocks has been replaced

	pausing sync.Mutex // held while the process is paused or continued
	paused  bool       // guarded by pausing; Pause has stopped it
}

// launch starts a process. h.life is held.
func (h *host) launch() error {
	logs, err := os.OpenFile(h.logPath, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return err
	}
	defer logs.Close() // the process has its own descriptor
	var all []Place
	for _, other := range h.lab.hosts {
		all = append(all, other.place())
	}
	program := h.lab.cfg.Program
	cmd := exec.Command(program.Path, program.Args(h.place(), all)...)
	cmd.Env = append(os.Environ(), program.Env...)
	cmd.Dir = h.disk.dir
	cmd.Stdout, cmd.Stderr = logs, logs
	// With a group of its own the terminal's Ctrl-C does not reach it. It ends with this
	// program, however that ends.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	p := &process{cmd: cmd, done: make(chan struct{})}
	if err := h.keeper.do(func() error { return h.spawn(p) }); err != nil {
		return err
	}
	h.mu.Lock()
	h.proc = p
	h.mu.Unlock()
	go h.watch(p)
	return nil
}

// spawn starts p's command on the keeper's thread. After an error nothing runs.
func (h *host) spawn(p *process) error {
	release, err := h.cgroup.join(p.cmd.SysProcAttr)
	if err != nil {
		return err
	}
	err = errors.Join(p.begin(h.ahead), release())
	if err != nil && p.cmd.Process != nil {
		err = errors.Join(err, p.cmd.Process.Kill(), ignoreExit(p.cmd.Wait()))
	}
	return err
}

// begin starts p's command with a clock that is ahead by the given time.
func (p *process) begin(ahead time.Duration) error {
	start := p.cmd.Start
	if ahead != 0 {
		start = func() error { return p.startSkewed(ahead) }
	}
	if err := start(); err != nil {
		return err
	}
	p.pid = p.cmd.Process.Pid
	if err := unix.Prlimit(p.pid, unix.RLIMIT_NOFILE, nil, &p.files); err != nil {
		return fmt.Errorf("read its limit of descriptors: %w", err)
	}
	return nil
}

// ignoreExit returns nil for the error of a process that has ended, in any way.
func ignoreExit(err error) error {
	if ended := new(exec.ExitError); errors.As(err, &ended) {
		return nil
	}
	return err
}

// watch waits for the end of a process and reports it.
func (h *host) watch(p *process) {
	_ = p.cmd.Wait() // ProcessState has all the information
	h.mu.Lock()
	h.proc = nil
	h.mu.Unlock()
	e := Exit{Host: h, At: time.Now(), Code: p.cmd.ProcessState.ExitCode(), Asked: p.told.Load(), Log: h.Log(exitLogBytes)}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = status.Signal().String()
		// A process that ended in another way did so before the signal arrived.
		e.Asked = e.Asked || p.killed.Load() && status.Signal() == syscall.SIGKILL
	}
	h.lab.report(e)
	close(p.done)
}

// signal sends the process a signal. One that has ended is an ErrNotRunning.
func (p *process) signal(s unix.Signal) error {
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return ErrNotRunning
	}
	return err
}

// kill ends the process and waits until it has ended.
func (p *process) kill(ctx context.Context) error {
	p.killed.Store(true)
	if err := p.signal(unix.SIGKILL); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	return p.wait(ctx)
}

// stop tells the process to end and waits for its end. It continues a paused process first.
func (p *process) stop(ctx context.Context) error {
	p.told.Store(true)
	if err := p.stopSignals(); err != nil {
		return err
	}
	return p.wait(ctx)
}

// stopSignals tells the process to end, and continues it if it is paused.
func (p *process) stopSignals() error {
	p.pausing.Lock()
	defer p.pausing.Unlock()
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGCONT} {
		if err := p.signal(s); err != nil && !errors.Is(err, ErrNotRunning) {
			return err
		}
	}
	return nil
}

// pause pauses or continues the process. A paused one has stopped when pause returns.
func (p *process) pause(paused bool) error {
	p.pausing.Lock()
	defer p.pausing.Unlock()
	s := unix.SIGCONT
	if paused {
		s = unix.SIGSTOP
	}
	if err := p.signal(s); err != nil {
		return err
	}
	p.paused = paused
	if !paused {
		return nil
	}
	return p.awaitStopped()
}

// stopTimeout is the maximum time until all threads of a process have stopped.
const stopTimeout = 5 * time.Second

// awaitStopped returns when no thread of the process runs any more, or it has ended. The
// signal only asks for that: until then, a thread on another processor could still answer.
func (p *process) awaitStopped() error {
	for end := time.Now().Add(stopTimeout); ; time.Sleep(time.Millisecond) {
		running, err := runningThreads(p.pid)
		switch {
		case err != nil || running == 0:
			return err
		case time.Now().After(end):
			return fmt.Errorf("%d threads of process %d still run %v after SIGSTOP", running, p.pid, stopTimeout)
		}
	}
}

// runningThreads returns how many threads of a process run or can be woken up. One that waits
// for a disk can't. A process that has ended has none.
func runningThreads(pid int) (n int, err error) {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return 0, err
	}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended meanwhile
		}
		state := strings.LastIndexByte(string(text), ')') + 2 // behind the name, which may have anything in it
		if state < len(text) && (text[state] == 'R' || text[state] == 'S') {
			n++
		}
	}
	return n, nil
}

// wait waits for the process's end.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
