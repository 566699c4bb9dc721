//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// engineTimeout is the maximum time of a command of the engine that removes something.
	engineTimeout = time.Minute
	// buildTimeout is the maximum time in which image and containers are made.
	buildTimeout = 5 * time.Minute
)

// Labels that every version of Compose puts on the things that it makes.
const (
	projectLabel = "com.docker.compose.project"
	serviceLabel = "com.docker.compose.service"
	volumeLabel  = "com.docker.compose.volume"
)

// engine is the Docker engine as one project of Compose sees it. It has no state, and
// its methods are safe for concurrent use.
type engine struct {
	compose []string // the command and the arguments that name project and files
	env     []string // settings beside those of this process
	project string
}

// findEngine returns the command that runs Compose: the plugin, otherwise docker-compose.
// It returns an ErrNoEngine if there is neither, or if no engine answers.
func findEngine(ctx context.Context) ([]string, error) {
	if _, err := tool(ctx, nil, "docker", "version", "--format", "{{.Server.Version}}"); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoEngine, err)
	}
	var errs []error
	for _, argv := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		_, err := tool(ctx, nil, append(argv[:len(argv):len(argv)], "version")...)
		if err == nil {
			return argv, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("%w that could be used: there is neither 'docker compose' nor docker-compose: %w", ErrNoEngine, errors.Join(errs...))
}

// docker runs the engine's client and returns what it printed.
func (e *engine) docker(ctx context.Context, args ...string) (string, error) {
	return tool(ctx, nil, append([]string{"docker"}, args...)...)
}

// up makes Compose make the missing things of a service, or of all of them: image, network,
// volumes and containers, none of which runs. It can't be interrupted, because an
// interrupted build leaves layers without a name.
func (e *engine) up(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), buildTimeout)
	defer cancel()
	argv := append(e.compose[:len(e.compose):len(e.compose)], "up", "--no-start")
	_, err := tool(ctx, e.env, append(argv, args...)...)
	return err
}

// list returns the IDs of the containers, networks or volumes that have these labels.
func list(ctx context.Context, what string, labels ...string) ([]string, error) {
	argv := []string{"docker", what, "ls", "--quiet"}
	if what == "container" {
		argv = append(argv, "--all", "--no-trunc")
	}
	for _, label := range labels {
		argv = append(argv, "--filter", "label="+label)
	}
	out, err := tool(ctx, nil, argv...)
	return strings.Fields(out), err
}

// only returns the only thing of a sort in the project with these labels.
func (e *engine) only(ctx context.Context, what string, labels ...string) (string, error) {
	found, err := list(ctx, what, append(labels, projectLabel+"="+e.project)...)
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%d %ss with %s", len(found), what, strings.Join(labels, ", "))
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// removals is how things of each sort are found and removed, in the order in which nothing
// that is removed is in use. Compose begins the names of all that it makes with the project's,
// and gives it the project's label.
var removals = []struct{ what, list, remove string }{
	{"container", "docker container ls --all --quiet --no-trunc --filter label=" + holderLabel + "=PROJECT", "docker container rm --force --volumes"},
	{"container", "docker container ls --all --quiet --no-trunc --filter label=" + projectLabel + "=PROJECT", "docker container rm --force --volumes"},
	{"container", "docker container ls --all --quiet --no-trunc --filter name=^PROJECT[-_]", "docker container rm --force --volumes"},
	{"network", "docker network ls --quiet --no-trunc --filter label=" + projectLabel + "=PROJECT", "docker network rm"},
	{"network", "docker network ls --quiet --no-trunc --filter name=^PROJECT[-_]", "docker network rm"},
	{"volume", "docker volume ls --quiet --filter label=" + projectLabel + "=PROJECT", "docker volume rm"},
	{"volume", "docker volume ls --quiet --filter name=^PROJECT[-_]", "docker volume rm"},
}

// removeProject removes all things with a project's label or name. It is the remover of the
// sort madeProject. It looks again afterwards, and says what it could not remove.
func removeProject(project string) error {
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	for {
		left, err := removeOnce(ctx, project)
		if err != nil {
			return err
		}
		if left == "" {
			return removeImage(ctx, project)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("the engine still has %s, which it was told to remove", left)
		}
	}
}

// removeImage removes the image with a project's name.
func removeImage(ctx context.Context, project string) error {
	image, err := tool(ctx, nil, "docker", "image", "ls", "--quiet", project)
	if err == nil && image != "" {
		_, err = tool(ctx, nil, "docker", "image", "rm", project)
	}
	return err
}

// removeOnce removes all things of a project, and returns what there was.
func removeOnce(ctx context.Context, project string) (left string, err error) {
	for _, r := range removals {
		found, err := tool(ctx, nil, strings.Fields(strings.ReplaceAll(r.list, "PROJECT", project))...)
		if err != nil {
			return "", err
		}
		if found == "" {
			continue
		}
		left = r.what + " " + found
		if _, err := tool(ctx, nil, append(strings.Fields(r.remove), strings.Fields(found)...)...); err != nil {
			return "", err
		}
	}
	return left, nil
}

// tool runs a command with further settings, and returns its output without surrounding
// spaces. The command has a process group of its own, so the terminal's Ctrl-C does not
// reach it: the Lab ends in order.
func tool(ctx context.Context, env []string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(cmd.Environ(), env...)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Second
	var said, complained bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &complained
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(complained.Bytes()))
	}
	return strings.TrimSpace(said.String()), nil
}
