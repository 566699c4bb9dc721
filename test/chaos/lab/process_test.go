//go:build linux

package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/test/chaos/lab"
)

// nextExit returns the next end of a process.
func nextExit(t *testing.T, l lab.Lab) lab.Exit {
	t.Helper()
	select {
	case e := <-l.Exits():
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("no process ended in 20 s")
		return lab.Exit{}
	}
}

// TestProcess_Ends ends a process in each way, and reads the end from Exits.
func TestProcess_Ends(t *testing.T) {
	inEachKind(t, lab.Config{}, func(t *testing.T, l lab.Lab) {
		h := l.Hosts()[0]
		for _, test := range []struct {
			name   string
			end    func(context.Context) error
			code   int
			signal string
			asked  bool
		}{
			{"Kill", h.Kill, -1, "killed", true},
			{"Stop", h.Stop, -1, "terminated", true},
			{"PausedStop", func(ctx context.Context) error { return errors.Join(h.Pause(ctx), h.Stop(ctx)) }, -1, "terminated", true},
			{"PausedKill", func(ctx context.Context) error { return errors.Join(h.Pause(ctx), h.Kill(ctx)) }, -1, "killed", true},
			{"ItsOwn", func(context.Context) error { _, _ = tell(t, h, "/exit", "code", 7); return nil }, 7, "", false},
		} {
			t.Run(test.name, func(t *testing.T) {
				mustStart(t, h)
				must(t, h.Start(t.Context())) // it runs: nothing
				must(t, test.end(t.Context()))
				e := nextExit(t, l)
				if e.Host != h || e.Code != test.code || e.Signal != test.signal || e.Asked != test.asked {
					t.Errorf("got %+v, want code %d, signal %q, asked %v", e, test.code, test.signal, test.asked)
				}
				if !strings.Contains(e.Log, "helper serves") || h.Log(8) != e.Log[len(e.Log)-8:] {
					t.Errorf("the log is %q, its end %q", e.Log, h.Log(8))
				}
				if h.Running() {
					t.Error("it runs")
				}
				must(t, errors.Join(h.Kill(t.Context()), h.Stop(t.Context()))) // it does not run: nothing
			})
		}
		for name, err := range map[string]error{
			"Pause": h.Pause(t.Context()), "LimitFiles": h.LimitFiles(t.Context(), 10),
			"FailSyscalls": h.FailSyscalls(t.Context(), lab.SyscallFault{Calls: "fsync", Errno: "EIO"}),
		} {
			if !errors.Is(err, lab.ErrNotRunning) {
				t.Errorf("%s without a process: got %v, want ErrNotRunning", name, err)
			}
		}
	})
}

// TestProcess_Pause pauses a process, which then does not answer, and continues it.
func TestProcess_Pause(t *testing.T) {
	inEachKind(t, lab.Config{Initial: 2}, func(t *testing.T, l lab.Lab) {
		a, b := l.Hosts()[0], l.Hosts()[1]
		mustStart(t, a, b)
		to := at(t, b)
		must(t, b.Pause(t.Context()))
		if _, err := tell(t, a, "/ping", "to", to, "ms", unreachable); err == nil {
			t.Error("a paused process answers")
		}
		must(t, b.Resume(t.Context()))
		mustTell(t, a, "/ping", "to", to, "ms", reachable)
	})
}

// TestProcess_Resources shows that descriptors and memory that a process takes are
// reported.
func TestProcess_Resources(t *testing.T) {
	inEachKind(t, lab.Config{}, func(t *testing.T, l lab.Lab) {
		h := l.Hosts()[0]
		mustStart(t, h)
		before, err := h.Resources()
		must(t, err)
		mustTell(t, h, "/open", "n", 50)
		mustTell(t, h, "/grow", "bytes", 64<<20)
		after, err := h.Resources()
		must(t, err)
		if got := after.Descriptors - before.Descriptors; got < 40 { // fewer, because it has closed some meanwhile
			t.Errorf("%d descriptors more, opened 50", got)
		}
		if got := after.Resident - before.Resident; got < 60<<20 {
			t.Errorf("%d bytes more, took %d", got, 64<<20)
		}
	})
}

// TestProcess_LimitFiles limits descriptors and gives them back.
func TestProcess_LimitFiles(t *testing.T) {
	inEachKind(t, lab.Config{}, func(t *testing.T, l lab.Lab) {
		h := l.Hosts()[0]
		mustStart(t, h)
		now, err := h.Resources()
		must(t, err)
		must(t, h.LimitFiles(t.Context(), uint64(now.Descriptors+20)))
		if said, err := tell(t, h, "/open", "n", 50); err == nil {
			t.Errorf("opened 50 files with room for 20: %s", said)
		}
		must(t, h.LimitFiles(t.Context(), 0))
		mustTell(t, h, "/open", "n", 50)
	})
}

// TestProcess_LimitMemory shows that the kernel kills a process above its limit, also if it
// was above the limit before.
func TestProcess_LimitMemory(t *testing.T) {
	inEachKind(t, lab.Config{}, func(t *testing.T, l lab.Lab) {
		h := l.Hosts()[0]
		mustStart(t, h)
		err := h.LimitMemory(t.Context(), 64<<20)
		if errors.Is(err, lab.ErrNotCovered) {
			t.Skip(err)
		}
		must(t, err)
		mustTell(t, h, "/grow", "bytes", 8<<20)
		for _, limit := range []int64{64 << 20, 32 << 20} {
			if said, err := tell(t, h, "/grow", "bytes", 100<<20); err == nil {
				t.Errorf("took %s bytes with a limit of %d", said, limit)
			}
			if e := nextExit(t, l); e.Signal != "killed" || e.Asked {
				t.Errorf("got %+v, want a kill that was not asked for", e)
			}
			must(t, h.LimitMemory(t.Context(), 0))
			mustStart(t, h)
			mustTell(t, h, "/grow", "bytes", 100<<20)
			must(t, h.LimitMemory(t.Context(), 32<<20)) // it has more
		}
	})
}

// TestProcess_FailSyscalls makes calls fail, be late, and be skipped, and mends them. The
// process continues.
func TestProcess_FailSyscalls(t *testing.T) {
	inEachKind(t, lab.Config{}, func(t *testing.T, l lab.Lab) {
		h := l.Hosts()[0]
		mustStart(t, h)
		sync := func() (string, error) { return tell(t, h, "/write", "name", "x", "bytes", 10, "sync", "yes") }
		fail := func(f lab.SyscallFault) {
			t.Helper()
			err := h.FailSyscalls(t.Context(), f)
			if errors.Is(err, lab.ErrNotCovered) {
				t.Skip(err)
			}
			must(t, err)
		}
		fail(lab.SyscallFault{Calls: "fsync,fdatasync", Errno: "EIO"})
		if _, err := sync(); err == nil || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("got %v, want EIO", err)
		}
		if err := h.FailSyscalls(t.Context(), lab.SyscallFault{Calls: "read", Errno: "EIO"}); err == nil {
			t.Error("two tracers")
		}
		must(t, h.MendSyscalls(t.Context()))
		if _, err := sync(); err != nil {
			t.Errorf("after the mend: %v", err)
		}
		fail(lab.SyscallFault{Calls: "fsync", Delay: 300 * time.Millisecond})
		if took := mustTell(t, h, "/write", "name", "x", "bytes", 10, "sync", "yes"); took < 300_000 {
			t.Errorf("a sync took %d µs, want 300 ms more", took)
		}
		must(t, h.MendSyscalls(t.Context()))
		fail(lab.SyscallFault{Calls: "fsync", Skip: true, Delay: time.Millisecond})
		if _, err := sync(); err != nil {
			t.Errorf("a sync that is skipped: %v", err)
		}
		must(t, h.Kill(t.Context())) // the tracer ends with it
		must(t, h.MendSyscalls(t.Context()))
		for _, none := range []lab.SyscallFault{{Errno: "EIO"}, {Calls: "fsync"}, {Calls: "fsync", Errno: "EIO", Skip: true}, {Calls: "nosuch", Errno: "EIO"}, {Calls: "fsync", Errno: "ENOSUCH"}} {
			mustStart(t, h)
			if err := h.FailSyscalls(t.Context(), none); err == nil || errors.Is(err, lab.ErrNotCovered) {
				t.Errorf("%+v: got %v", none, err)
			}
		}
	})
}

// TestOpen_Busy shows that a second Lab on the machine is refused with the process that has
// the first.
func TestOpen_Busy(t *testing.T) {
	mustOpen(t, lab.Config{Kind: lab.KindProxy})
	_, err := lab.Open(t.Context(), lab.Config{Program: helperProgram(t), Initial: 1, Dir: t.TempDir()})
	if !errors.Is(err, lab.ErrBusy) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("got %v, want an ErrBusy that names process %d", err, os.Getpid())
	}
}

// TestOpen_Refuses shows which configurations are refused.
func TestOpen_Refuses(t *testing.T) {
	good := lab.Config{Program: helperProgram(t), Initial: 1, Dir: t.TempDir()}
	for name, change := range map[string]func(*lab.Config){
		"no host":         func(c *lab.Config) { c.Initial = 0 },
		"too many":        func(c *lab.Config) { c.Spare = 100 },
		"no program":      func(c *lab.Config) { c.Program = lab.Program{} },
		"no directory":    func(c *lab.Config) { c.Dir = "" },
		"a small disk":    func(c *lab.Config) { c.LoopDisk = true },
		"an unknown kind": func(c *lab.Config) { c.Kind = "moon" },
		"no such place":   func(c *lab.Config) { c.Dir = "/dev/null/nowhere" },
	} {
		cfg := good
		change(&cfg)
		if l, err := lab.Open(t.Context(), cfg); err == nil {
			t.Errorf("%s: no error", name)
			must(t, l.Close())
		}
	}
}

// runnerArgument is the argument that makes the test's binary a runner, which the test
// kills.
const runnerArgument = "lab-runner"

// runnerMain opens a Lab in dir, starts its hosts, says so, and waits for its end.
func runnerMain(dir, kind string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	l, err := lab.Open(context.Background(), lab.Config{Kind: kind, Program: helperAt(self), Initial: 2, Dir: dir, DiskMiB: 32, LoopDisk: true})
	if err != nil {
		return err
	}
	for _, h := range l.Hosts() {
		if err := h.Start(context.Background()); err != nil {
			return err
		}
	}
	fmt.Println("runs")
	select {}
}

// TestOpen_AfterCrash kills a runner: its processes, namespaces and disks end with it, and
// the next Open removes the rest.
func TestOpen_AfterCrash(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			if kind == lab.KindNamespaces && os.Geteuid() != 0 {
				t.Skip("network namespaces need root")
			}
			dir := t.TempDir()
			runner := exec.Command(os.Args[0], runnerArgument, dir, kind)
			out, err := runner.StdoutPipe()
			must(t, err)
			runner.Stderr = os.Stderr
			must(t, runner.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Errorf("the runner said %q: %v", line, err)
			}
			if machine(t, runner.Process.Pid, dir) == "" {
				t.Error("a running lab is not seen")
			}
			must(t, runner.Process.Kill())
			_ = runner.Wait() // it was killed
			l, err := lab.Open(t.Context(), lab.Config{Kind: lab.KindProxy, Program: helperProgram(t), Initial: 1, Dir: t.TempDir()})
			must(t, err)
			must(t, l.Close())
			testkit.Eventually(t, 10*time.Second, "nothing is left of the runner", func() error {
				if left := machine(t, runner.Process.Pid, dir); left != "" {
					return errors.New(left)
				}
				return nil
			})
		})
	}
}
