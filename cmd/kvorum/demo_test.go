package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/internal/testkit"
)

func TestPlanDemo(t *testing.T) {
	plan, err := planDemo(3, 8001)
	if err != nil {
		t.Fatal(err)
	}
	want := []demoNode{
		{"n1", "127.0.0.1:8001", "127.0.0.1:7001", "127.0.0.1:6001"},
		{"n2", "127.0.0.1:8002", "127.0.0.1:7002", "127.0.0.1:6002"},
		{"n3", "127.0.0.1:8003", "127.0.0.1:7003", "127.0.0.1:6003"},
	}
	if !slices.Equal(plan, want) {
		t.Errorf("got %v, want %v", plan, want)
	}
	for _, tc := range []struct {
		nodes, basePort int
		ok              bool
	}{{1, 2001, true}, {1, 2000, false}, {9, 65527, true}, {9, 65528, false}, {0, 8001, false}, {10, 8001, false}} {
		if _, err := planDemo(tc.nodes, tc.basePort); (err == nil) != tc.ok {
			t.Errorf("%d nodes from port %d: got error %v, want none: %v", tc.nodes, tc.basePort, err, tc.ok)
		}
	}
}

// freeDemoPort returns a port for --http-base-port of a demo of three nodes. It is below the
// ephemeral ports, which other connections may use at any time.
func freeDemoPort(t *testing.T) int {
	t.Helper()
	var last error
	for range 200 {
		port := 14_000 + rand.IntN(18_000)
		plan, err := planDemo(3, port)
		if err == nil {
			err = checkPorts(plan)
		}
		if last = err; err == nil {
			return port
		}
	}
	t.Fatalf("no free ports for a demo: %v", last)
	return 0
}

// endpoint returns the HTTP address of node i of a demo.
func endpoint(basePort, i int) string { return fmt.Sprintf("127.0.0.1:%d", basePort+i-1) }

// wantGone waits until no process listens on a demo's HTTP ports.
func wantGone(t *testing.T, basePort int) {
	t.Helper()
	for i := range 3 {
		poll(t, "a node to end", func() bool {
			conn, err := net.Dial("tcp", endpoint(basePort, i+1))
			if err != nil {
				return true
			}
			conn.Close()
			return false
		})
	}
}

// TestDemo_RunsStopsAndResumes runs a demo twice in one directory, with this
// test binary as its nodes, and kills a node of the second.
func TestDemo_RunsStopsAndResumes(t *testing.T) {
	t.Setenv(mainEnv, "1")
	t.Setenv("KVORUM_LOG_LEVEL", "none: must not reach the nodes")
	dir, port := t.TempDir(), freeDemoPort(t)
	args := []string{"demo", "--data-dir", dir, "--http-base-port", strconv.Itoa(port)}

	for _, try := range []string{"first", "second"} {
		ctx, cancel := context.WithCancel(t.Context())
		stdout, stderr, code := new(testkit.Log), new(testkit.Log), make(chan int, 1)
		go func() { code <- run(ctx, args, nil, stdout, stderr) }()
		poll(t, "the demo to be ready", func() bool {
			if len(code) > 0 {
				t.Fatalf("%s run: the demo ended early; stderr:\n%s", try, stderr)
			}
			return strings.HasSuffix(stdout.String(), "\nready\n")
		})
		if try == "first" {
			mustRun(t, "", "put", "k", "v", "--endpoints", endpoint(port, 1))
			r := runKvorum(t, "", args...)
			wantFailure(t, r, exitError, "node n1: listen on HTTP address "+endpoint(port, 1)+": address already in use")
		} else {
			killNode(t, stdout.String(), "n3")
			poll(t, "the report", func() bool { return strings.Contains(stderr.String(), "node n3 ended (signal: killed)") })
		}
		if got := mustRun(t, "", "get", "k", "--endpoints", endpoint(port, 2)); got != "v" {
			t.Errorf("%s run: got %q, want v", try, got)
		}
		cancel()
		if c := <-code; c != exitOK {
			t.Errorf("%s run: got exit code %d, want 0; stderr:\n%s", try, c, stderr)
		}
		wantGone(t, port)
	}
	wantFailure(t, runKvorum(t, "", append(args, "--nodes", "2")...), exitUsage, "holds a cluster of 3 nodes, not 2")
}

// killNode kills the process of a node, whose number it takes from the demo's output.
func killNode(t *testing.T, output, id string) {
	t.Helper()
	for line := range strings.Lines(output) {
		var pid int
		if n, _ := fmt.Sscanf(line, id+"  http://127.0.0.1:%d  pid %d", new(int), &pid); n == 2 {
			process, err := os.FindProcess(pid)
			if err == nil {
				err = process.Kill()
			}
			if err != nil {
				t.Fatalf("kill %s: %v", id, err)
			}
			return
		}
	}
	t.Fatalf("no process of %s in %q", id, output)
}

// TestDemo_KilledTakesItsNodesAlong kills a demo with a signal that it can't handle: its
// nodes end too.
func TestDemo_KilledTakesItsNodesAlong(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	port, dir := freeDemoPort(t), t.TempDir()
	stdout := new(testkit.Log)
	cmd := exec.Command(program, "demo", "--data-dir", dir, "--http-base-port", strconv.Itoa(port))
	cmd.Env = append(os.Environ(), mainEnv+"=1")
	cmd.Stdout, cmd.Stderr = stdout, io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	poll(t, "the demo to be ready", func() bool { return strings.HasSuffix(stdout.String(), "\nready\n") })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	wantGone(t, port)
	for _, id := range []string{"n1", "n2", "n3"} {
		poll(t, id+" to release its directory", func() bool {
			lock, err := dirlock.Acquire(filepath.Join(dir, id))
			return err == nil && lock.Close() == nil
		})
	}
}

// TestDemo_NodeEndsEarly checks that a demo whose node can't run prints the reason.
func TestDemo_NodeEndsEarly(t *testing.T) {
	t.Setenv(mainEnv, "1")
	dir, port := t.TempDir(), freeDemoPort(t)
	for _, id := range []string{"n1", "n2", "n3"} {
		writeFile(t, filepath.Join(dir, id, "node.json"), "damaged")
	}
	r := runKvorum(t, "", "demo", "--data-dir", dir, "--http-base-port", strconv.Itoa(port))
	if r.code != exitError || !strings.Contains(r.stderr, "last log lines of node n") || !strings.Contains(r.stderr, "node.json") ||
		!strings.Contains(r.stderr, "ended early: exit status 1") || strings.Contains(r.stdout, "\nready\n") {
		t.Errorf("got exit code %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
	}
	wantGone(t, port)
}

// TestDemo_TemporaryDirectoryIsRemoved checks that nothing is left of a demo without a directory.
func TestDemo_TemporaryDirectoryIsRemoved(t *testing.T) {
	t.Setenv(mainEnv, "1")
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, stderr, code := new(testkit.Log), new(testkit.Log), make(chan int, 1)
	port := freeDemoPort(t)
	go func() {
		code <- run(ctx, []string{"demo", "--nodes", "1", "--http-base-port", strconv.Itoa(port)}, nil, stdout, stderr)
	}()
	poll(t, "the demo to start", func() bool { return strings.Contains(stdout.String(), "try: curl") })
	cancel()
	if c := <-code; c != exitOK {
		t.Errorf("got exit code %d, want 0; stderr:\n%s", c, stderr)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v, want nothing left", left, err)
	}
}
