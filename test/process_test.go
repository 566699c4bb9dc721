package test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
)

// program is one build of the program.
type program struct {
	build func() (path string, err error) // once for all tests of this package
	built atomic.Bool                     // build was called
}

// The builds that are tested: this version, and one that lacks the newest commands.
var (
	newBuild = newProgram("")
	oldBuild = newProgram("kvorum_v2")
)

func newProgram(tags string) *program {
	return &program{build: sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp("", "kvorum-test-")
		if err != nil {
			return "", err
		}
		path := filepath.Join(dir, "kvorum")
		out, err := exec.Command("go", "build", "-tags", tags, "-o", path, module+"cmd/kvorum").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("build: %w\n%s", err, out)
		}
		return path, nil
	})}
}

// TestMain removes the programs that were built.
func TestMain(m *testing.M) {
	code := m.Run()
	for _, p := range []*program{newBuild, oldBuild} {
		if p.built.Load() {
			if path, err := p.build(); err == nil {
				_ = os.RemoveAll(filepath.Dir(path))
			}
		}
	}
	os.Exit(code)
}

// path returns the path of the program.
func (p *program) path(t testing.TB) string {
	t.Helper()
	p.built.Store(true)
	path, err := p.build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func mustBinary(t testing.TB) string { return newBuild.path(t) }

// hosts counts the loopback addresses that were handed out.
var hosts atomic.Uint32

// loopback returns an address of 127.0.0.0/8 that no other test uses. Each
// process of the tests takes its own second and third byte from its id, so
// packages tested at the same time don't meet either.
func loopback() string {
	pid, n := os.Getpid(), hosts.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 1+pid%250, pid/250%250, n%250+2)
}

// proc is one server process, or its place while it is down.
type proc struct {
	name, ip, dir string
	extra         []string
	build         *program // nil means newBuild
	under         []string // the program that runs the server, and its arguments; empty for none
	logs          *testkit.Log
	prepare       func(*exec.Cmd) // changes the command before it is started; may be nil

	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	err    error         // of cmd, set before exited is closed
}

func (p *proc) http() string { return net.JoinHostPort(p.ip, "8001") }

// procs is a cluster of server processes.
type procs []*proc

// newProcs starts n servers that form one cluster, and ends them with the test.
func newProcs(t testing.TB, n int, extra ...string) procs {
	t.Helper()
	return newProcsWith(t, n, nil, extra...)
}

// newProcsIn is newProcs with a place of the test's choice for each server's data.
func newProcsIn(t testing.TB, n int, place func() string, extra ...string) procs {
	t.Helper()
	return startProcs(t, n, func(p *proc) { p.dir = filepath.Join(place(), "data") }, extra...)
}

// newProcsWith is newProcs, and calls prepare with each server's command before it is
// started.
func newProcsWith(t testing.TB, n int, prepare func(*exec.Cmd), extra ...string) procs {
	t.Helper()
	return startProcs(t, n, func(p *proc) { p.prepare = prepare }, extra...)
}

// startProcs is newProcs, and calls change with each server before it is started.
func startProcs(t testing.TB, n int, change func(*proc), extra ...string) procs {
	t.Helper()
	var ps procs
	var seeds []string
	for i := range n {
		p := &proc{name: fmt.Sprintf("n%d", i+1), ip: loopback(), dir: filepath.Join(t.TempDir(), "data"), logs: new(testkit.Log)}
		change(p)
		ps = append(ps, p)
		seeds = append(seeds, net.JoinHostPort(p.ip, "6001"))
	}
	for _, p := range ps {
		p.extra = append([]string{"--bootstrap-expect", fmt.Sprint(n), "--join", strings.Join(seeds, ",")}, extra...)
		p.start(t)
	}
	t.Cleanup(func() {
		for _, p := range ps {
			p.kill()
			if t.Failed() {
				t.Logf("log of %s:\n%s", p.name, p.logs.Tail(6000))
			}
		}
	})
	ps.waitReady(t)
	return ps
}

func (p *proc) args() []string {
	return append([]string{
		"server", "--id", p.name, "--data-dir", p.dir,
		"--http-addr", p.http(), "--peer-addr", net.JoinHostPort(p.ip, "7001"), "--gossip-addr", net.JoinHostPort(p.ip, "6001"),
	}, p.extra...)
}

// start runs the server; it must not be running.
func (p *proc) start(t testing.TB) {
	t.Helper()
	argv := append(append(slices.Clone(p.under), cmp.Or(p.build, newBuild).path(t)), p.args()...)
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = p.logs, p.logs
	if p.prepare != nil {
		p.prepare(p.cmd)
	}
	p.exited = make(chan struct{})
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func(cmd *exec.Cmd, exited chan struct{}) {
		p.err = cmd.Wait()
		close(exited)
	}(p.cmd, p.exited)
}

// kill ends the server with SIGKILL and waits for its end.
func (p *proc) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// stop ends the server with SIGTERM and returns how it exited.
func (p *proc) stop(t testing.TB) error {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("stop %s: %v", p.name, err)
	}
	return p.wait(t, 20*time.Second)
}

// wait waits for the server's own end.
func (p *proc) wait(t testing.TB, limit time.Duration) error {
	t.Helper()
	select {
	case <-p.exited:
		return p.err
	case <-time.After(limit):
		t.Fatalf("%s did not end in %v; its log:\n%s", p.name, limit, p.logs.Tail(4000))
		return nil
	}
}

// waitReady waits until every running server can serve.
func (ps procs) waitReady(t testing.TB) {
	t.Helper()
	for _, p := range ps {
		testkit.Eventually(t, 60*time.Second, p.name+" is ready", func() error {
			resp, err := http.Get("http://" + p.http() + "/readyz")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				body, _ := io.ReadAll(resp.Body)
				return fmt.Errorf("%s: %s", resp.Status, body)
			}
			return nil
		})
	}
}

func (p *proc) status() (kv.Status, error) {
	var s kv.Status
	resp, err := http.Get("http://" + p.http() + "/status")
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// leader returns the process that is the leader according to all of them.
func (ps procs) leader(t testing.TB) *proc {
	t.Helper()
	var leader *proc
	testkit.Eventually(t, 30*time.Second, "all agree on a leader", func() error {
		names := map[string]bool{}
		for _, p := range ps {
			s, err := p.status()
			if err != nil {
				return err
			}
			if s.Leader == nil {
				return fmt.Errorf("%s knows no leader", p.name)
			}
			names[s.Leader.ID] = true
			if s.Leader.ID == p.name {
				leader = p
			}
		}
		if len(names) != 1 || leader == nil {
			return fmt.Errorf("leaders: %v", names)
		}
		return nil
	})
	return leader
}

// followers returns the servers that don't lead.
func (ps procs) followers(t testing.TB) procs {
	leader := ps.leader(t)
	return slices.DeleteFunc(slices.Clone(ps), func(p *proc) bool { return p == leader })
}

// kvorum runs a command of the program to its end.
func kvorum(t testing.TB, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, mustBinary(t), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// keyURL returns the URL of a key on p; every byte of the key survives in it.
func (p *proc) keyURL(key string) string {
	return "http://" + p.http() + "/kv/" + url.PathEscape(key)
}

func (p *proc) put(key, value string) (*http.Response, error) {
	req, err := http.NewRequest(http.MethodPut, p.keyURL(key), strings.NewReader(value))
	if err != nil {
		return nil, err
	}
	return do(req)
}

func (p *proc) get(key, query string) (*http.Response, string, error) {
	req, err := http.NewRequest(http.MethodGet, p.keyURL(key)+query, nil)
	if err != nil {
		return nil, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// do sends req and throws the body away.
func do(req *http.Request) (*http.Response, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp, err
}
