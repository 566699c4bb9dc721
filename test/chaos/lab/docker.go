//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// dockerHosts is the number of services of docker-compose.yml, which are called n1, n2
// and so on.
const dockerHosts = 3

// Sorts, for removers, of things that a Lab of containers makes and that outlive the
// process.
const (
	madeFiles   = "directory of a compose project"
	madeProject = "compose project"
	madeChain   = "iptables chain"
)

// dockerLab is the Lab of containers. Image, containers, volumes and network have names of
// their own, so a cluster that was started by "make cluster-up" is not affected.
type dockerLab struct {
	engine *engine
	logger *slog.Logger
	claim  *claim
	tools  *keeper // starts the programs that watch the containers and their processes
	hosts  []*dockerHost
	net    *dockerNet
	watch  *dockerWatch
	*exits

	mu     sync.Mutex
	closed bool // guarded by mu
}

var _ Lab = (*dockerLab)(nil)

// OpenDocker makes a Lab of the cluster in docker-compose.yml. No container runs yet. It
// returns an ErrNoEngine if there is no engine, and an ErrBusy if there is another Lab on
// this machine.
func OpenDocker(ctx context.Context, cfg DockerConfig) (Lab, error) {
	if cfg.Program == "" {
		cfg.Program = filepath.Join(cfg.Root, "bin", "kvorum")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	compose, err := findEngine(ctx)
	if err != nil {
		return nil, err
	}
	claim, err := claimMachine()
	if err != nil {
		return nil, fmt.Errorf("open lab: %w", err)
	}
	l := &dockerLab{logger: cfg.Logger, claim: claim, exits: newExits()}
	if err := l.open(ctx, cfg, compose); err != nil {
		return nil, errors.Join(fmt.Errorf("open lab: %w", err), l.Close())
	}
	return l, nil
}

// open makes all things of the lab. If it fails, Close removes the things that were made.
func (l *dockerLab) open(ctx context.Context, cfg DockerConfig, compose []string) error {
	project := fmt.Sprintf(prefix+"-%d", os.Getpid())
	dir := filepath.Join(os.TempDir(), project)
	l.engine = &engine{project: project}
	l.net = &dockerNet{lab: l, chain: project}
	var err error
	if l.tools, err = newKeeper(0); err != nil {
		return err
	}
	if err := l.claim.add(madeFiles, dir); err != nil {
		return err
	}
	if err := copyProject(dir, cfg, project); err != nil {
		return err
	}
	ports, err := freePorts(dockerHosts)
	if err != nil {
		return err
	}
	// The old builder leaves only the image on the machine.
	l.engine.env = []string{"DOCKER_BUILDKIT=0", "COMPOSE_DOCKER_CLI_BUILD=0"}
	l.engine.compose = append(compose, "--project-name", project,
		"--file", filepath.Join(dir, "docker-compose.yml"), "--file", filepath.Join(dir, imageFile))
	for i, port := range ports {
		h := newDockerHost(l, fmt.Sprintf("n%d", i+1), port)
		l.hosts = append(l.hosts, h)
		l.engine.env = append(l.engine.env, fmt.Sprintf("KVORUM_N%d_PORT=%d", i+1, port))
	}
	if err := l.claim.add(madeProject, project); err != nil {
		return err
	}
	if l.watch, err = l.startWatch(); err != nil {
		return err
	}
	if err := l.engine.up(ctx, "--build"); err != nil {
		return err
	}
	for _, h := range l.hosts {
		if err := h.find(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// imageFile is the name of a file that gives the services' image another name, so that the
// image of "make cluster-up" does not change.
const imageFile = "kvchaos.yml"

// copyProject makes a directory in which Compose finds the cluster.
func copyProject(dir string, cfg DockerConfig, image string) error {
	for _, d := range []string{dir, filepath.Join(dir, "bin")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	for _, name := range []string{"docker-compose.yml", "Dockerfile", ".dockerignore"} {
		if err := copyFile(filepath.Join(dir, name), filepath.Join(cfg.Root, name), 0o600); err != nil {
			return err
		}
	}
	if err := copyFile(filepath.Join(dir, "bin", "kvorum"), cfg.Program, 0o755); err != nil {
		return err
	}
	var text strings.Builder
	text.WriteString("services:\n")
	for i := range dockerHosts {
		fmt.Fprintf(&text, "  n%d:\n    image: %s\n", i+1, image)
	}
	return os.WriteFile(filepath.Join(dir, imageFile), []byte(text.String()), 0o600)
}

func copyFile(to, from string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// minPort and maxPort are the limits of the hosts' ports. They are below the ports that the
// kernel gives to outgoing connections, so that no connection takes a host's port while its
// container is down.
const minPort, maxPort = 20000, 32000

// freePorts returns ports of 127.0.0.1 on which no process listens now. The first one is
// random, because the ports of another Lab are free until its containers run.
func freePorts(n int) ([]int, error) {
	var ports []int
	first := rand.IntN(maxPort - minPort)
	for i := 0; i < maxPort-minPort && len(ports) < n; i++ {
		port := minPort + (first+i)%(maxPort-minPort)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	if len(ports) < n {
		return nil, fmt.Errorf("127.0.0.1 has %d free ports between %d and %d, not %d", len(ports), minPort, maxPort, n)
	}
	return ports, nil
}

// Kind implements Lab.
func (l *dockerLab) Kind() string { return KindDocker }

// Hosts implements Lab.
func (l *dockerLab) Hosts() []Host {
	hosts := make([]Host, len(l.hosts))
	for i, h := range l.hosts {
		hosts[i] = h
	}
	return hosts
}

// Initial implements Lab.
func (l *dockerLab) Initial() int { return len(l.hosts) }

// CutsOneWay implements Lab.
func (l *dockerLab) CutsOneWay() bool { return true }

// Cut implements Lab.
func (l *dockerLab) Cut(ctx context.Context, from, to Host) error {
	if err := l.net.set(ctx, from, to, 1); err != nil {
		return fmt.Errorf("cut %s from %s: %w", to.Name(), from.Name(), err)
	}
	return nil
}

// Shape implements Lab. It can only make loss.
func (l *dockerLab) Shape(ctx context.Context, from, to Host, how Shape) error {
	err := how.validate()
	if err == nil && (how.Delay != 0 || how.Jitter != 0 || how.Reorder != 0 || how.BytesPerSecond != 0) {
		err = notCovered("between containers only loss is made; delay, reordering and a rate are made between processes")
	}
	if err == nil {
		err = l.net.set(ctx, from, to, how.Loss)
	}
	if err != nil {
		return fmt.Errorf("shape what %s sends to %s: %w", from.Name(), to.Name(), err)
	}
	return nil
}

// Heal implements Lab.
func (l *dockerLab) Heal(ctx context.Context) error {
	if err := l.net.heal(ctx); err != nil {
		return fmt.Errorf("heal the network: %w", err)
	}
	return nil
}

// Close implements Lab. A second call does nothing.
func (l *dockerLab) Close() error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	for _, h := range l.hosts {
		errs = append(errs, h.retire())
	}
	if l.net != nil {
		l.net.close()
	}
	errs = append(errs, l.claim.release())
	if l.watch != nil {
		errs = append(errs, l.watch.end())
	}
	if l.tools != nil {
		l.tools.end()
	}
	return errors.Join(append(errs, l.missed())...)
}
