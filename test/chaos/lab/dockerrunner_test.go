//go:build linux

package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// dockerRunnerArgument is the argument that makes the test's binary a runner, which the
// test interrupts.
const dockerRunnerArgument = "docker-runner"

// dockerRunnerMain opens a Lab of a binary, starts its hosts, cuts one off, says so,
// and closes the Lab when it is interrupted.
func dockerRunnerMain(program string) error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT)
	defer stop()
	l, err := lab.OpenDocker(ctx, lab.DockerConfig{Root: root, Program: program})
	if err != nil {
		return err
	}
	for _, h := range l.Hosts() {
		if err := h.Start(ctx); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	if err := l.Cut(ctx, l.Hosts()[0], l.Hosts()[1]); err != nil {
		return errors.Join(err, l.Close())
	}
	fmt.Println("runs")
	<-ctx.Done()
	return l.Close()
}

// startDockerRunner starts a runner in a process group of its own, and waits until it
// has its Lab.
func startDockerRunner(t *testing.T, program string) *exec.Cmd {
	t.Helper()
	runner := exec.Command(os.Args[0], dockerRunnerArgument, program)
	runner.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	runner.Stderr = os.Stderr
	out, err := runner.StdoutPipe()
	must(t, err)
	must(t, runner.Start())
	t.Cleanup(func() { _ = runner.Process.Kill() }) // it has ended already, unless the test failed
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the runner said %q: %v", line, err)
	}
	return runner
}

// TestDocker_Interrupted ends a runner by Ctrl-C, and another one by SIGKILL, whose Lab the
// next runner removes.
func TestDocker_Interrupted(t *testing.T) {
	needEngine(t)
	program := mustProgram(t)
	runner := startDockerRunner(t, program)
	must(t, unix.Kill(-runner.Process.Pid, unix.SIGINT)) // as a terminal does
	if err := runner.Wait(); err != nil {
		t.Errorf("the runner ended: %v", err)
	}
	nothingLeft(t)

	runner = startDockerRunner(t, program)
	must(t, runner.Process.Kill())
	_ = runner.Wait() // it was killed
	must(t, openDocker(t, program).Close())
	nothingLeft(t)
}
