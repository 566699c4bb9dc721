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
	// childStopTimeout is how long a node may take to stop before it is killed: more
	// than the sum of the limits of its own shutdown.
	childStopTimeout = drainTimeout + transferTimeout + closeTimeout + 5*time.Second
	// tailBytes and tailLines are the maximum of a log's end that is shown.
	tailBytes = 4 << 10
	tailLines = 15
	// probeTimeout is the maximum time for one request whether a node is ready.
	probeTimeout = 2 * time.Second
)

// child is a node in a process of its own. Its standard input is a pipe whose other end
// only this process has. The node stops when that end closes: stop closes it, and so does
// the end of this process.
type child struct {
	node    demoNode
	logPath string

	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{} // closed when the process has ended
	err   error         // of the process's end; written before ended is closed
}

// startChild starts a node, which appends to the log at logPath. When the process has
// ended, the child is sent to exits, which must have room for it.
func startChild(n demoNode, program string, args []string, logPath string, exits chan<- *child) (*child, error) {
	log, err := os.OpenFile(logPath, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own descriptor
	c := &child{node: n, logPath: logPath, ended: make(chan struct{})}
	c.cmd = exec.Command(program, append(args, "--"+stdinFlag)...)
	c.cmd.Env = childEnv(os.Environ())
	c.cmd.Stdout, c.cmd.Stderr = log, log
	// The terminal's Ctrl-C must reach only this process, which stops the nodes in order.
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

// childEnv returns env without the variables that set flags: the user may have set them for
// another node, not for the demo's.
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

// stop asks the node to stop and waits for it. A node that does not stop is killed.
func (c *child) stop() {
	_ = c.stdin.Close() // an error means that the process has ended
	select {
	case <-c.ended:
	case <-time.After(childStopTimeout):
		_ = c.cmd.Process.Kill() // an error means that the process has ended
		<-c.ended
	}
}

// outcome describes the process's end. It is called only after ended is closed.
func (c *child) outcome() string {
	if c.err == nil {
		return "exit status 0"
	}
	return c.err.Error()
}

// ready reports whether the node serves.
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
