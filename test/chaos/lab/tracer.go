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
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// attachPoll is the time between two checks whether all threads of a process are
	// traced.
	attachPoll = 5 * time.Millisecond
	// attachTimeout is the maximum time of that wait.
	attachTimeout = 20 * time.Second
	// detachTimeout is the maximum time in which strace detaches from a process.
	detachTimeout = 10 * time.Second
)

// tracer is an strace that makes calls of a process fail. It ends with the process, or
// earlier, and with this program.
type tracer struct {
	cmd  *exec.Cmd
	said bytes.Buffer  // read after done
	done chan struct{} // closed when it has ended
}

var errCallsFail = errors.New("calls fail already")

// FailSyscalls implements Host. Strace counts the calls of each thread by itself. It
// stops the process at each of its calls, so that the process becomes slower. A call
// that is in progress when it ends may fail with ENOSYS.
func (h *host) FailSyscalls(ctx context.Context, how SyscallFault) error {
	return h.failed("let calls fail on", h.up(func(p *process) error {
		return h.calls.fail(func() (*tracer, error) { return trace(ctx, h.lab.tools, p.pid, p.done, how) })
	}))
}

// MendSyscalls implements Host.
func (h *host) MendSyscalls(context.Context) error {
	return h.failed("mend calls on", h.calls.mend())
}

// failingCalls are the calls of a host's process that fail, by one tracer at a time.
type failingCalls struct {
	attaching sync.Mutex // held while a tracer is attached or detached
	tracer    *tracer    // guarded by attaching; nil if no call fails
}

// fail calls begin, which attaches a tracer, unless there is one.
func (c *failingCalls) fail(begin func() (*tracer, error)) error {
	c.attaching.Lock()
	defer c.attaching.Unlock()
	if c.tracer != nil && !c.tracer.ended() {
		return errCallsFail
	}
	t, err := begin()
	if err != nil {
		return err
	}
	c.tracer = t
	return nil
}

// mend detaches the tracer, if there is one.
func (c *failingCalls) mend() error {
	c.attaching.Lock()
	defer c.attaching.Unlock()
	t := c.tracer
	c.tracer = nil
	if t == nil {
		return nil
	}
	return t.detach()
}

// expression returns the fault as a value of strace's option -e.
func (f SyscallFault) expression() (string, error) {
	parts := []string{"inject=" + f.Calls}
	switch {
	case f.Calls == "":
		return "", errors.New("no calls are named")
	case f.From < 0 || f.Delay < 0:
		return "", errors.New("a delay or number is negative")
	case f.Errno != "" && f.Skip:
		return "", errors.New("calls can't both fail and seem to succeed")
	case f.Errno != "":
		parts = append(parts, "error="+f.Errno)
	case f.Skip:
		parts = append(parts, "retval=0")
	case f.Delay == 0:
		return "", errors.New("nothing is to happen to the calls")
	}
	if f.Delay > 0 {
		parts = append(parts, fmt.Sprintf("delay_enter=%d", f.Delay.Microseconds()))
	}
	return strings.Join(append(parts, fmt.Sprintf("when=%d+", max(f.From, 1))), ":"), nil
}

// trace runs strace on a keeper's thread and waits until it has all threads of the process.
// gone is closed when the process has ended; nil if that is not known.
func trace(ctx context.Context, tools *keeper, pid int, gone <-chan struct{}, how SyscallFault) (*tracer, error) {
	expression, err := how.expression()
	if err != nil {
		return nil, err
	}
	program, err := exec.LookPath("strace")
	if err != nil {
		return nil, notCovered("strace is not installed")
	}
	cmd := exec.Command(program, "-f", "-qq", "-o", os.DevNull, "-e", "trace="+how.Calls, "-e", expression, "-p", strconv.Itoa(pid))
	t := &tracer{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &t.said, &t.said
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	if err := tools.do(cmd.Start); err != nil {
		return nil, fmt.Errorf("strace: %w", err)
	}
	go func() { // ends with strace, which detach stops
		_ = cmd.Wait() // its output tells more
		close(t.done)
	}()
	if err := t.attached(ctx, pid, gone); err != nil {
		return nil, err
	}
	return t, nil
}

// attached waits until strace traces all threads of the process. After an error strace has
// ended.
func (t *tracer) attached(ctx context.Context, pid int, gone <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	tick := time.NewTicker(attachPoll)
	defer tick.Stop()
	for !tracedBy(pid, t.cmd.Process.Pid) {
		select {
		case <-tick.C:
		case <-gone:
			return errors.Join(ErrNotRunning, t.detach())
		case <-t.done:
			return t.refusal()
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("strace does not have all threads: %w", ctx.Err()), t.detach())
		}
	}
	return nil
}

// refusal returns the reason why strace has ended by itself.
func (t *tracer) refusal() error {
	said := strings.TrimSpace(t.said.String())
	if strings.Contains(said, unix.EPERM.Error()) || strings.Contains(strings.ToLower(said), "operation not permitted") {
		return notCovered("strace may not trace here: %s", said)
	}
	return fmt.Errorf("strace has ended: %s", said)
}

func (t *tracer) ended() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// detach ends strace, which detaches from the process.
func (t *tracer) detach() error {
	_ = t.cmd.Process.Signal(unix.SIGINT) // its end is checked below
	timer := time.NewTimer(detachTimeout)
	defer timer.Stop()
	select {
	case <-t.done:
		return nil
	case <-timer.C:
	}
	_ = t.cmd.Process.Kill()
	<-t.done
	return errors.New("strace did not let go of the process, and was killed")
}

// tracedBy reports whether all threads of a process are traced by another one.
func tracedBy(pid, tracer int) bool {
	tasks, err := os.ReadDir(filepath.Join(procDir(pid), "task"))
	if err != nil || len(tasks) == 0 {
		return false
	}
	for _, task := range tasks {
		by, err := procStatus(filepath.Join(procDir(pid), "task", task.Name()), "TracerPid")
		if err != nil || by != strconv.Itoa(tracer) {
			return false
		}
	}
	return true
}
