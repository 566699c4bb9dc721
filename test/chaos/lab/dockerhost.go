//go:build linux

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// dockerHost is a Host that is a container.
type dockerHost struct {
	lab  *dockerLab
	name string // of the service
	url  string

	// life is held while the container is started, replaced or given another address.
	// Methods that end a process do not wait for it.
	life    sync.Mutex
	avoid   string // guarded by life; the address not to start with, "" for none
	retired bool   // guarded by life; no process is started any more

	calls failingCalls

	looking sync.Mutex // held while the engine is asked and state is set from its answer

	mu      sync.Mutex
	id      string         // guarded by mu; of the container
	state   containerState // guarded by mu; when the engine was asked last
	asked   time.Time      // guarded by mu; when the Lab began to end the process; zero if it did not
	address string         // guarded by mu; the newest that state has had
	ended   time.Time      // guarded by mu; when the newest process ended
	changed chan struct{}  // guarded by mu; closed, and replaced, when ended changes
}

// containerState is the state of a container as the engine reports it.
type containerState struct {
	Status     string    // "created", "running", "paused", "restarting", "exited"
	PID        int       `json:"Pid"` // on this machine
	FinishedAt time.Time // when the newest ended process has ended
	address    string    // "" while it has none
}

// alive reports whether a process runs, paused or not.
func (s containerState) alive() bool { return s.Status == "running" || s.Status == "paused" }

var _ Host = (*dockerHost)(nil)

func newDockerHost(l *dockerLab, name string, port int) *dockerHost {
	return &dockerHost{lab: l, name: name, url: fmt.Sprintf("http://127.0.0.1:%d", port), changed: make(chan struct{})}
}

// Name implements Host.
func (h *dockerHost) Name() string { return h.name }

// URL implements Host.
func (h *dockerHost) URL() string { return h.url }

// failed adds the host's name to an error.
func (h *dockerHost) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, h.name, err)
}

// find finds the host's container, which is another one each time that Compose has made it.
func (h *dockerHost) find(ctx context.Context) error {
	id, err := h.lab.engine.only(ctx, "container", serviceLabel+"="+h.name)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.id = id
	h.mu.Unlock()
	return h.look(ctx)
}

// container returns the ID of the host's container.
func (h *dockerHost) container() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.id
}

// now returns the newest state that the engine has reported.
func (h *dockerHost) now() containerState {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// look asks the engine for the container's state, and updates the rules of the network.
func (h *dockerHost) look(ctx context.Context) error {
	h.looking.Lock()
	defer h.looking.Unlock()
	out, err := h.lab.engine.docker(ctx, "container", "inspect", "--format",
		"{{json .State}}\n{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", h.container())
	if err != nil {
		return err
	}
	text, address, _ := strings.Cut(out, "\n")
	state := containerState{address: address}
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		return fmt.Errorf("state of the container: %w", err)
	}
	h.mu.Lock()
	moved := h.state.address != state.address
	h.state = state
	if state.address != "" {
		h.address = state.address
	}
	h.mu.Unlock()
	if !moved {
		return nil
	}
	return h.lab.net.follow(ctx)
}

// died reports the end of a process.
func (h *dockerHost) died(ctx context.Context, at time.Time, code int) {
	e := Exit{Host: h, At: at, Code: code, Log: h.tail(ctx, exitLogBytes, "--until", at.Format(time.RFC3339Nano))}
	if code > 128 && code < 128+65 {
		e.Code, e.Signal = -1, unix.Signal(code-128).String()
	}
	err := h.look(ctx)
	h.mu.Lock()
	e.Asked = !h.asked.IsZero() && !at.Before(h.asked)
	h.ended = at
	close(h.changed)
	h.changed = make(chan struct{})
	h.mu.Unlock()
	h.lab.report(e)
	if err != nil {
		h.lab.logger.Warn("container can't be looked at", "host", h.name, "err", err)
	}
}

// Running implements Host.
func (h *dockerHost) Running() bool { return h.now().alive() }

// down runs f while no process runs, and none is started.
func (h *dockerHost) down(ctx context.Context, f func() error) error {
	h.life.Lock()
	defer h.life.Unlock()
	if h.retired {
		return errKeeperEnded
	}
	if err := h.look(ctx); err != nil {
		return err
	}
	if h.now().alive() {
		return ErrRunning
	}
	return f()
}

// up runs f with the PID of the process, which an engine on another machine does not
// report.
func (h *dockerHost) up(f func(pid int) error) error {
	s := h.now()
	if !s.alive() {
		return ErrNotRunning
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", s.PID))
	if err != nil || !strings.Contains(string(text), h.container()) {
		return notCovered("process %d of the container is not one of this machine", s.PID)
	}
	return f(s.PID)
}

// Start implements Host.
func (h *dockerHost) Start(ctx context.Context) error {
	err := h.down(ctx, func() error {
		if err := h.end(ctx, "kill"); err != nil { // the engine may be waiting before it starts the process
			return err
		}
		h.mu.Lock()
		h.asked = time.Time{}
		h.mu.Unlock()
		return h.elsewhere(ctx, func() error {
			_, err := h.lab.engine.docker(ctx, "container", "start", h.container())
			return err
		})
	})
	if errors.Is(err, ErrRunning) {
		return nil
	}
	return h.failed("start", err)
}

// Kill implements Host.
func (h *dockerHost) Kill(ctx context.Context) error {
	return h.failed("kill", h.end(ctx, "kill"))
}

// Stop implements Host. The engine kills the process if it takes longer than the
// stop_grace_period of docker-compose.yml.
func (h *dockerHost) Stop(ctx context.Context) error {
	return h.failed("stop", h.end(ctx, "stop"))
}

// end makes the engine end the process and not start it again, and waits for its end.
func (h *dockerHost) end(ctx context.Context, command string) error {
	if err := h.look(ctx); err != nil {
		return err
	}
	was := h.now()
	if !was.alive() && was.Status != "restarting" {
		return nil
	}
	h.mu.Lock()
	if h.asked.IsZero() {
		h.asked = time.Now()
	}
	h.mu.Unlock()
	_, err := h.lab.engine.docker(ctx, "container", command, h.container())
	if looked := h.look(ctx); looked != nil {
		return errors.Join(err, looked)
	}
	is := h.now()
	if is.alive() || is.Status == "restarting" {
		return errors.Join(err, fmt.Errorf("the engine ended it, and it is %s", is.Status))
	}
	return h.awaitEnd(ctx, is.FinishedAt)
}

// awaitEnd waits until the end of a process at this time, or a later one, was reported.
func (h *dockerHost) awaitEnd(ctx context.Context, at time.Time) error {
	for {
		h.mu.Lock()
		ended, changed := h.ended, h.changed
		h.mu.Unlock()
		if !ended.Before(at) {
			return nil
		}
		select {
		case <-changed:
		case <-h.lab.watch.done:
			return errors.New("the engine tells nothing any more")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Pause implements Host.
func (h *dockerHost) Pause(ctx context.Context) error { return h.freeze(ctx, "pause", "paused") }

// Resume implements Host.
func (h *dockerHost) Resume(ctx context.Context) error { return h.freeze(ctx, "unpause", "running") }

// freeze pauses or continues the process, unless that was done already.
func (h *dockerHost) freeze(ctx context.Context, command, status string) error {
	err := h.look(ctx)
	switch s := h.now(); {
	case err != nil:
	case !s.alive():
		err = ErrNotRunning
	case s.Status != status:
		_, err = h.lab.engine.docker(ctx, "container", command, h.container())
		err = errors.Join(err, h.look(ctx))
	}
	return h.failed(command, err)
}

// Wipe implements Host. Container and volume are removed, and Compose makes new ones.
func (h *dockerHost) Wipe(ctx context.Context) error {
	return h.failed("wipe", h.down(ctx, func() error {
		volume, err := h.lab.engine.only(ctx, "volume", volumeLabel+"="+h.name)
		if err != nil {
			return err
		}
		if _, err := h.lab.engine.docker(ctx, "container", "rm", h.container()); err != nil {
			return err
		}
		if _, err := h.lab.engine.docker(ctx, "volume", "rm", volume); err != nil {
			return err
		}
		if err := h.lab.engine.up(ctx, "--no-deps", h.name); err != nil {
			return err
		}
		return h.find(ctx)
	}))
}

// Log implements Host.
func (h *dockerHost) Log(n int) string {
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	return h.tail(ctx, n)
}

// tail returns the newest bytes of the container's log, up to n; options may exclude some.
// Errors are ignored.
func (h *dockerHost) tail(ctx context.Context, n int, options ...string) string {
	// Few lines have less than 20 bytes: most have a time, a level and a message.
	argv := append([]string{"container", "logs", "--tail", strconv.Itoa(n/20 + 1)}, options...)
	cmd := exec.CommandContext(ctx, "docker", append(argv, h.container())...)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	text, err := cmd.CombinedOutput()
	if err != nil {
		return ""
	}
	return string(text[max(0, len(text)-n):])
}
