package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// process is a node in a process of its own. It ends by itself when this process ends,
// which holds the other end of its standard input.
type process struct {
	id, http, dir, program string
	args                   []string

	cmd *exec.Cmd // nil while the node does not run
}

// processes are the nodes of one cluster.
type processes []*process

// buildProgram builds kvorum into dir and returns its path.
func buildProgram(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "kvorum")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/kvorum")
	build.Dir = ".." // the program's own module
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return program, nil
}

// newProcesses returns n nodes that will form a cluster, with their data below dir.
func newProcesses(program, dir string, n int) (processes, error) {
	addrs, err := freeAddrs(3 * n)
	if err != nil {
		return nil, err
	}
	join := strings.Join(addrs[2*n:], ",")
	var ps processes
	for i := range n {
		p := &process{id: fmt.Sprintf("n%d", i+1), http: addrs[i], dir: dir, program: program}
		p.args = []string{
			"server", "--id", p.id, "--data-dir", filepath.Join(dir, p.id),
			"--http-addr", p.http, "--peer-addr", addrs[n+i], "--gossip-addr", addrs[2*n+i],
			"--bootstrap-expect", fmt.Sprint(n), "--join", join, "--exit-on-stdin-eof",
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// start runs the node, which must not be running.
func (p *process) start() error {
	log, err := os.OpenFile(filepath.Join(p.dir, p.id+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own descriptor
	cmd := exec.Command(p.program, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.id, err)
	}
	p.cmd = cmd
	return nil
}

// kill ends the node with SIGKILL, if it runs, and waits for its end.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // an error means that it has ended
	_ = p.cmd.Wait()         // the error says that it was killed
	p.cmd = nil
}

// kill ends all of them.
func (ps processes) kill() {
	for _, p := range ps {
		p.kill()
	}
}

// without returns all of them except one.
func (ps processes) without(one *process) processes {
	var others processes
	for _, p := range ps {
		if p != one {
			others = append(others, p)
		}
	}
	return others
}

// awaitReady waits until every node serves.
func (ps processes) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for _, p := range ps {
		for {
			err := p.do(ctx, http.MethodGet, "/readyz", nil)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("%s is not ready: %w", p.id, err)
			}
			time.Sleep(10 * readyPoll)
		}
	}
	return nil
}

// leader returns the node that is the leader according to the first one.
func (ps processes) leader(ctx context.Context) (*process, error) {
	var s kv.Status
	if err := ps[0].do(ctx, http.MethodGet, "/status", &s); err != nil {
		return nil, err
	}
	for _, p := range ps {
		if s.Leader != nil && s.Leader.ID == p.id {
			return p, nil
		}
	}
	return nil, errors.New("nobody leads")
}

// put writes key, and returns nil when the write is acknowledged.
func (p *process) put(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return p.do(ctx, http.MethodPut, "/kv/"+key, nil)
}

// do makes a request without a body. It decodes the JSON answer into the value that into
// points to, unless into is nil. Every answer other than success is an error.
func (p *process) do(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.http+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	if into == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
