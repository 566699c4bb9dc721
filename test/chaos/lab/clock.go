//go:build linux

package lab

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// clockFunction is the name of the function with which programs read the clock, also Go
	// programs. It is in the code that the kernel maps into each process (vDSO).
	clockFunction = "__vdso_clock_gettime"
	// freezePoll is the time between two checks whether all threads of a process are
	// stopped.
	freezePoll = time.Millisecond
	// freezeTimeout is the maximum time of that wait.
	freezeTimeout = 10 * time.Second
	// skewAttempts is the maximum number of attempts to find all threads outside of the
	// vDSO.
	skewAttempts = 50
)

// SkewClock implements Host. The process's own copy of the kernel's code for reading clocks
// is replaced by one that adds to the wall clock; other clocks stay as they are. A running
// process is stopped for some milliseconds. Afterwards reading a clock takes about as long
// as a system call.
func (h *host) SkewClock(ctx context.Context, ahead time.Duration) error {
	return h.failed("skew the clock of", h.skew(ctx, ahead))
}

func (h *host) skew(ctx context.Context, ahead time.Duration) error {
	if skewCode(ahead) == nil {
		return notCovered("clocks of this processor's programs can't be changed: that takes amd64")
	}
	h.life.Lock()
	defer h.life.Unlock()
	if p := h.running(); p != nil && (ahead != 0 || p.skewed) {
		if err := p.skew(ctx, ahead); err != nil {
			return err
		}
	}
	h.ahead = ahead
	return nil
}

// skew changes the clock of a running process.
func (p *process) skew(ctx context.Context, ahead time.Duration) error {
	for range skewAttempts {
		busy := false
		err := p.frozen(ctx, func() (err error) {
			var code span
			if code, err = vdso(p.pid); err != nil {
				return err
			}
			if busy, err = p.within(code); err != nil || busy {
				return err
			}
			p.skewed = true
			return patchClock(p.pid, code, ahead)
		})
		if err != nil || !busy {
			return err
		}
	}
	return errors.New("its threads were always reading clocks")
}

// frozen runs f while all threads of the process are stopped.
func (p *process) frozen(ctx context.Context, f func() error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	p.pausing.Lock()
	defer p.pausing.Unlock()
	if err := p.signal(unix.SIGSTOP); err != nil {
		return err
	}
	if !p.paused {
		defer func() { err = errors.Join(err, p.signal(unix.SIGCONT)) }()
	}
	tick := time.NewTicker(freezePoll)
	defer tick.Stop()
	for !allStopped(p.pid) {
		select {
		case <-tick.C:
		case <-p.done:
			return ErrNotRunning
		case <-ctx.Done():
			return fmt.Errorf("its threads did not stop: %w", ctx.Err())
		}
	}
	return f()
}

// allStopped reports whether all threads of a process are stopped.
func allStopped(pid int) bool {
	tasks, err := filepath.Glob(filepath.Join(procDir(pid), "task", "*"))
	if err != nil || len(tasks) == 0 {
		return false
	}
	for _, task := range tasks {
		if state, err := procStatus(task, "State"); err != nil || !strings.HasPrefix(strings.ToUpper(state), "T") {
			return false
		}
	}
	return true
}

// within reports whether a thread of the stopped process executes code.
func (p *process) within(code span) (bool, error) {
	tasks, err := filepath.Glob(filepath.Join(procDir(p.pid), "task", "*"))
	if err != nil {
		return false, err
	}
	for _, task := range tasks {
		at, err := os.ReadFile(filepath.Join(task, "syscall")) // the program counter is last
		if err != nil {
			return false, notAllowed(err)
		}
		fields := strings.Fields(string(at))
		counter, err := strconv.ParseUint(strings.TrimPrefix(fields[len(fields)-1], "0x"), 16, 64)
		if err != nil {
			return false, fmt.Errorf("%s: %q: %w", task, at, err)
		}
		if counter >= code.from && counter < code.to {
			return true, nil
		}
	}
	return false, nil
}

// notAllowed makes a lack of rights an ErrNotCovered.
func notAllowed(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return notCovered("the process may not be changed: %v", err)
	}
	return err
}

// span is a part of a process's memory.
type span struct{ from, to uint64 }

// vdso returns where the kernel's code is in a process.
func vdso(pid int) (span, error) {
	f, err := os.Open(filepath.Join(procDir(pid), "maps"))
	if err != nil {
		return span{}, notAllowed(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var s span
		if strings.HasSuffix(lines.Text(), "[vdso]") {
			_, err := fmt.Sscanf(lines.Text(), "%x-%x", &s.from, &s.to)
			return s, err
		}
	}
	return span{}, errors.Join(lines.Err(), notCovered("the process has no vDSO"))
}

// patchClock makes a process see a wall clock that is ahead by the given time. None of its
// threads may execute the kernel's code.
func patchClock(pid int, code span, ahead time.Duration) error {
	memory, err := os.OpenFile(filepath.Join(procDir(pid), "mem"), os.O_RDWR, 0)
	if err != nil {
		return notAllowed(err)
	}
	defer memory.Close()
	image := make([]byte, code.to-code.from)
	if _, err := memory.ReadAt(image, int64(code.from)); err != nil {
		return err
	}
	at, room, err := function(image, clockFunction)
	if err != nil {
		return err
	}
	patch := skewCode(ahead)
	if uint64(len(patch)) > room {
		return notCovered("%s has %d bytes, too few to be replaced", clockFunction, room)
	}
	if _, err := memory.WriteAt(patch, int64(code.from+at)); err != nil {
		return notCovered("the kernel's code in the process can't be changed: %v", err)
	}
	return nil
}

// function returns offset and size of a function in the image of a library.
func function(image []byte, name string) (offset, size uint64, err error) {
	library, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, 0, fmt.Errorf("vDSO: %w", err)
	}
	symbols, err := library.DynamicSymbols()
	if err != nil {
		return 0, 0, fmt.Errorf("vDSO: %w", err)
	}
	for _, s := range symbols {
		if s.Name == name && s.Value+s.Size <= uint64(len(image)) {
			return s.Value, s.Size, nil
		}
	}
	return 0, 0, notCovered("the vDSO has no %s", name)
}

// startSkewed starts a command, and changes its clock before its first instruction. It runs
// on the keeper's thread, which traces the process until then. After an error the process
// may exist.
func (p *process) startSkewed(ahead time.Duration) error {
	p.cmd.SysProcAttr.Ptrace = true
	if err := p.cmd.Start(); err != nil {
		return notAllowed(err)
	}
	p.skewed = true
	pid := p.cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
		return err
	}
	if !status.Stopped() {
		return fmt.Errorf("it has ended before it began: %v", status)
	}
	code, err := vdso(pid)
	if err != nil {
		return err
	}
	if err := patchClock(pid, code, ahead); err != nil {
		return err
	}
	return unix.PtraceDetach(pid)
}
