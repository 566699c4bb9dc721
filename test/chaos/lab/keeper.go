//go:build linux

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// keeper is a thread that has namespaces of its own. The kernel removes them, with their
// devices and mounts, when the thread and the processes that it started have ended, however
// this program ends. Processes that must end with this program are started by the keeper,
// because the parent-death signal depends on the thread, not on the program.
type keeper struct {
	tid  int
	jobs chan func()   // unbuffered
	quit chan struct{} // closed by end
	done chan struct{} // closed when the last job is done
}

var errKeeperEnded = errors.New("the lab is closed")

// newKeeper starts a thread, and gives it new namespaces of the kinds in flags, such as
// unix.CLONE_NEWNET.
func newKeeper(flags int) (*keeper, error) {
	k := &keeper{jobs: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	ready := make(chan error)
	go k.run(flags, ready)
	if err := <-ready; err != nil {
		return nil, err
	}
	return k, nil
}

func (k *keeper) run(flags int, ready chan<- error) {
	runtime.LockOSThread() // for good: the thread ends with this goroutine
	if unix.Gettid() == os.Getpid() {
		// The first thread of a process never ends, and represents the whole process.
		began := make(chan error)
		go k.run(flags, began)
		ready <- <-began
		runtime.UnlockOSThread()
		return
	}
	k.tid = unix.Gettid()
	err := unix.Unshare(flags)
	if err == nil && flags&unix.CLONE_NEWNS != 0 {
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err != nil {
		ready <- fmt.Errorf("leave the program's namespaces: %w", err)
		return
	}
	ready <- nil
	defer close(k.done)
	for {
		select {
		case job := <-k.jobs:
			job()
		case <-k.quit:
			return
		}
	}
}

// do runs f on the thread and returns its error. Jobs run one at a time.
func (k *keeper) do(f func() error) error {
	result := make(chan error, 1)
	select {
	case k.jobs <- func() { result <- f() }:
		return <-result
	case <-k.quit:
		return errKeeperEnded
	}
}

// end ends the thread after its present job. It must be called once.
func (k *keeper) end() {
	close(k.quit)
	<-k.done
}

// ip makes iproute2 carry out lines in the thread's network namespace, all of them or up to
// the first that fails.
func (k *keeper) ip(lines ...string) error {
	return k.do(func() error {
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(lines, "; "), err, bytes.TrimSpace(said.Bytes()))
		}
		return nil
	})
}
