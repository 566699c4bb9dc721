package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	// childStopTimeout is what a node is given to stop before it is killed: more
	// than the bounds of its own shutdown add up to.
	childStopTimeout = drainTimeout + transferTimeout + closeTimeout + 5*time.Second
	// tailBytes bounds what is shown of a log.
	tailBytes = 4 << 10
	tailLines = 15
	// probeTimeout bounds one question whether a node is ready.
	probeTimeout = 2 * time.Second
)

// child is a node in a process of its own. Its standard input is a pipe that
// only this process holds the other end of: when that closes, because stop
// closed it or because this process is gone, the node stops.
type child struct {
	node    demoNode
	logPath string

	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{} // closed when the process has ended
	err   error         // how it ended; written before ended is closed
}

// startChild starts a node, which appends to the log at logPath. When it has
// ended the child is sent to exits, which must have room for it.
func startChild(n demoNode, program string, args []string, logPath string, exits chan<- *child) (*child, error) {
	log, err := os.OpenFile(logPath, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	c := &child{node: n, logPath: logPath, ended: make(chan struct{})}
	c.cmd = exec.Command(program, append(args, "--"+stdinFlag)...)
	c.cmd.Env = childEnv(os.Environ())
	c.cmd.Stdout, c.cmd.Stderr = log, log
	// The terminal's Ctrl-C must reach this process alone, which stops the nodes in order.
	c.cmd.SysProcAttr = ownGroup()
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process, which stop waits for
		c.err = c.cmd.Wait()
		close(c.ended)
		exits <- c
	}()
	return c, nil
}

// childEnv returns env without the variables that set flags: those of a node
// that this process's user runs elsewhere are not meant for the demo's.
func childEnv(env []string) []string {
	var kept []string
	for _, v := range env {
		if !strings.HasPrefix(v, "KVORUM_") {
			kept = append(kept, v)
		}
	}
	return kept
}

// pid returns the process id.
func (c *child) pid() int { return c.cmd.Process.Pid }

// stop asks the node to stop and waits for it; one that does not is killed.
func (c *child) stop() {
	_ = c.stdin.Close() // an error means that the process is gone
	select {
	case <-c.ended:
	case <-time.After(childStopTimeout):
		_ = c.cmd.Process.Kill() // likewise
		<-c.ended
	}
}

// outcome says how the process ended; only after ended is closed.
func (c *child) outcome() string {
	if c.err == nil {
		return "exit status 0"
	}
	return c.err.Error()
}

// ready says whether the node serves.
func (c *child) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.node.http+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // only its status counts
	return resp.StatusCode == http.StatusOK
}

// logTail returns the last lines of the node's log.
func (c *child) logTail() string {
	text, err := readTail(c.logPath)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// readTail returns the last tailBytes of a file.
func readTail(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	tail := make([]byte, min(info.Size(), tailBytes))
	n, err := file.ReadAt(tail, info.Size()-int64(len(tail)))
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return string(tail[:n]), nil
}
