//go:build linux

package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// dockerWatch follows the engine's events of the lab's containers. The engine restarts
// containers that end by themselves with an error, so only its events show these ends.
type dockerWatch struct {
	lab    *dockerLab
	cmd    *exec.Cmd
	ending atomic.Bool
	done   chan struct{} // closed when the goroutine has ended; err is set before
	err    error
}

// engineEvent is one line of "docker events".
type engineEvent struct {
	Action string
	Actor  struct{ Attributes map[string]string }
	Time   int64 `json:"timeNano"`
}

// startWatch follows the project's events from now on.
func (l *dockerLab) startWatch() (*dockerWatch, error) {
	now := time.Now()
	w := &dockerWatch{lab: l, done: make(chan struct{})}
	// When the client has connected, the engine also sends earlier events since this time.
	w.cmd = exec.Command("docker", "events", "--since", fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond()), "--format", "{{json .}}",
		"--filter", "type=container", "--filter", "label="+projectLabel+"="+l.engine.project, "--filter", "event=start", "--filter", "event=die")
	w.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	out, err := w.cmd.StdoutPipe()
	if err == nil {
		err = l.tools.do(w.cmd.Start)
	}
	if err != nil {
		return nil, fmt.Errorf("watch the engine: %w", err)
	}
	go w.run(out)
	return w, nil
}

func (w *dockerWatch) run(out io.Reader) {
	defer close(w.done)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e engineEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			w.err = errors.Join(w.err, fmt.Errorf("event of the engine: %w", err))
			continue
		}
		w.handle(e)
	}
	if err := errors.Join(lines.Err(), w.cmd.Wait()); err != nil && !w.ending.Load() {
		w.err = errors.Join(w.err, fmt.Errorf("the engine's events ended early: %w", err))
	}
}

// handle makes the host of an event ask for the state of its container.
func (w *dockerWatch) handle(e engineEvent) {
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	for _, h := range w.lab.hosts {
		if h.name != e.Actor.Attributes[serviceLabel] {
			continue
		}
		if e.Action == "die" {
			h.died(ctx, time.Unix(0, e.Time), exitCode(e))
		} else if err := h.look(ctx); err != nil {
			w.lab.logger.Warn("container can't be looked at", "host", h.name, "err", err)
		}
	}
}

// exitCode returns the exit code of a container, -1 if the engine does not report it.
func exitCode(e engineEvent) int {
	code, err := strconv.Atoi(e.Actor.Attributes["exitCode"])
	if err != nil {
		return -1
	}
	return code
}

// end ends the watch after the containers were removed and all events were handled.
func (w *dockerWatch) end() error {
	w.ending.Store(true)
	_ = w.cmd.Process.Signal(unix.SIGTERM) // it may have ended
	<-w.done
	return w.err
}
