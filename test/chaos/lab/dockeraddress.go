//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
)

// holderLabel is the label of a container that occupies an address; its value is the
// project.
const holderLabel = "kvchaos.holder"

var _ Unplugger = (*dockerHost)(nil)

// Readdress implements Host. The container has the other address when it is started.
func (h *dockerHost) Readdress(ctx context.Context) error {
	return h.failed("readdress", h.down(ctx, func() error {
		h.avoid = h.latest()
		return nil
	}))
}

// Unplug implements Unplugger.
func (h *dockerHost) Unplug(ctx context.Context) error {
	h.life.Lock()
	defer h.life.Unlock()
	network, err := h.lab.engine.only(ctx, "network")
	if err == nil {
		_, err = h.lab.engine.docker(ctx, "network", "disconnect", network, h.container())
	}
	if err == nil {
		err = h.look(ctx)
	}
	return h.failed("unplug", err)
}

// Plug implements Unplugger.
func (h *dockerHost) Plug(ctx context.Context) error {
	h.life.Lock()
	defer h.life.Unlock()
	network, err := h.lab.engine.only(ctx, "network")
	if err == nil {
		h.avoid = h.latest()
		err = h.elsewhere(ctx, func() error {
			_, err := h.lab.engine.docker(ctx, "network", "connect", "--alias", h.name, network, h.container())
			return err
		})
	}
	return h.failed("plug", err)
}

// latest returns the newest address that the container has, or had.
func (h *dockerHost) latest() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.address
}

// elsewhere runs f, in which the engine chooses an address for the container, so that it is
// not the one to avoid. h.life is held.
func (h *dockerHost) elsewhere(ctx context.Context, f func() error) error {
	if h.avoid == "" {
		return errors.Join(f(), h.look(ctx))
	}
	release, err := h.hold(ctx)
	if err != nil {
		return fmt.Errorf("hold address %s: %w", h.avoid, err)
	}
	if err := errors.Join(f(), h.look(ctx), release()); err != nil {
		return err
	}
	if h.now().address == h.avoid {
		return fmt.Errorf("the engine gave it its former address %s", h.avoid)
	}
	h.avoid = ""
	return nil
}

// hold keeps the address to avoid occupied until release is called. The engine gives the
// same free address to the next container that starts. If that is the address to avoid,
// hold starts a container that only occupies it.
func (h *dockerHost) hold(ctx context.Context) (release func() error, err error) {
	e := h.lab.engine
	network, err := e.only(ctx, "network")
	if err != nil {
		return nil, err
	}
	// A server without the addresses of others waits for them.
	id, err := e.docker(ctx, "run", "--detach", "--label", holderLabel+"="+e.project, "--network", network,
		e.project, "server", "--id", "holder", "--data-dir", "/data")
	if err != nil {
		return nil, err
	}
	release = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), engineTimeout)
		defer cancel()
		_, err := e.docker(ctx, "container", "rm", "--force", "--volumes", id)
		return err
	}
	held, err := e.docker(ctx, "container", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", id)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	if held == h.avoid {
		return release, nil
	}
	return func() error { return nil }, release()
}
