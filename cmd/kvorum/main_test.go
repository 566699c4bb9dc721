package main

// The tests are in package main, as nothing else can import it. Most of them
// drive the whole program through run.

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// mainEnv is the name of an environment variable. It makes the test binary behave as the
// program itself, for tests of child processes.
const mainEnv = "TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// result has the exit code and the output of a run of the program.
type result struct {
	code           int
	stdout, stderr string
}

// runKvorum runs the program with standard input.
func runKvorum(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// mustRun runs the program, which must succeed, and returns its output.
func mustRun(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	r := runKvorum(t, stdin, args...)
	if r.code != exitOK {
		t.Fatalf("kvorum %v: got exit code %d, want 0; stderr: %s", args, r.code, r.stderr)
	}
	return r.stdout
}

// wantFailure checks an exit code and the one line that goes with it.
func wantFailure(t *testing.T, r result, code int, part string) {
	t.Helper()
	if r.code != code {
		t.Errorf("got exit code %d, want %d; stderr: %s", r.code, code, r.stderr)
	}
	if !strings.HasPrefix(r.stderr, "kvorum: ") || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, part) {
		t.Errorf("got stderr %q, want one line that begins with %q and holds %q", r.stderr, "kvorum: ", part)
	}
}

// poll waits until cond holds.
func poll(t *testing.T, what string, cond func() bool) {
	t.Helper()
	testkit.Until(t, 30*time.Second, what, cond)
}

func TestRun_Usage(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		part string
	}{
		{"unknown command", []string{"frobnicate"}, `unknown command "frobnicate"`},
		{"near miss", []string{"gett"}, `did you mean "get"?`},
		{"unknown flag", []string{"get", "a", "--nope"}, "unknown flag: --nope"},
		{"bad flag value", []string{"ls", "--limit", "many"}, `"many"`},
		{"missing argument", []string{"get"}, "use: kvorum get KEY"},
		{"too many arguments", []string{"get", "a", "b"}, "wrong number of arguments"},
		{"empty key", []string{"get", ""}, "the key is empty"},
		{"value and file", []string{"put", "a", "b", "--file", "c"}, "either a value or --file"},
		{"neither value nor file", []string{"put", "a"}, "either a value or --file"},
		{"consistency", []string{"get", "a", "--consistency", "eventual"}, "linearizable, leader, stale"},
		{"max stale", []string{"ls", "--max-stale", "1s"}, "--max-stale is for --consistency stale"},
		{"negative max stale", []string{"export", "-", "--max-stale=-1s", "--consistency", "stale"}, "--max-stale must not be negative"},
		{"minimum revision", []string{"get", "a", "--min-revision", "new"}, `"new"`},
		{"endpoint", []string{"get", "a", "--endpoints", "ftp://x"}, `endpoint "ftp://x"`},
		{"endpoint with a path", []string{"get", "a", "--endpoints", "x:1/kv"}, `endpoint "x:1/kv"`},
		{"no endpoint", []string{"get", "a", "--endpoints", ""}, "endpoint"},
		{"timeout", []string{"get", "a", "--timeout", "0s"}, "--timeout"},
		{"negative limit", []string{"ls", "--limit=-1"}, "--limit"},
		{"concurrency", []string{"import", "x", "--concurrency", "0"}, "--concurrency"},
		{"join without flags", []string{"join"}, "--id, --peer-addr and --http-addr"},
		{"leave without a name", []string{"leave", "--endpoints", "a:1,b:1"}, "name the node"},
		{"demo nodes", []string{"demo", "--nodes", "10"}, "between 1 and 9"},
		{"demo ports", []string{"demo", "--http-base-port", "2000"}, "between 2001 and 65533"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantFailure(t, runKvorum(t, "", tc.args...), exitUsage, tc.part)
		})
	}
}

// TestTrial_F8_DashAndUnknown gives arguments that begin with a dash, and
// commands that don't exist together with --help.
func TestTrial_F8_DashAndUnknown(t *testing.T) {
	f := newFake(t, nil)
	count := 0
	for _, cmd := range newRootCommand().Commands() {
		if arguments(cmd) == "" || cmd.Name() == "help" || cmd.Name() == "completion" {
			continue
		}
		count++
		wantFailure(t, runKvorum(t, "", cmd.Name(), "-5"), exitUsage, `follow "--": kvorum `+cmd.Name()+" -- ")
		if out := mustRun(t, "", cmd.Name(), "--help"); !strings.Contains(out, "kvorum "+cmd.Name()+" -- ") {
			t.Errorf("help of %s does not name --: %s", cmd.Name(), out)
		}
	}
	if count < 8 {
		t.Errorf("only %d commands take arguments", count)
	}
	wantFailure(t, runKvorum(t, "", "put", "t", "-5"), exitUsage, "kvorum put -- KEY VALUE|-")
	mustRun(t, "", "put", endpoints(f), "--", "t", "-5")
	if got := mustRun(t, "", "get", endpoints(f), "t"); got != "-5" {
		t.Errorf("got %q, want -5", got)
	}
	for _, args := range [][]string{
		{"nosuch"}, {"nosuch", "--help"}, {"--help", "nosuch"}, {"nosuch", "-h"}, {"help", "nosuch"},
		{"help", "nosuch", "--help"}, {"nosuch", "put", "--help"}, {"completion", "nosuch"}, {"completion", "nosuch", "--help"},
	} {
		if args[0] == "help" && len(args) == 3 {
			continue // the help of help
		}
		wantFailure(t, runKvorum(t, "", args...), exitUsage, `unknown command "nosuch"`)
	}
	for _, args := range [][]string{{"--help"}, {"help"}, {"help", "put"}, {"put", "--help"}, {"completion", "bash"}, {"__complete", "g"}} {
		if out := mustRun(t, "", args...); out == "" {
			t.Errorf("%v: no output", args)
		}
	}
	testkit.Outcome(t, "F8", "the error and the help of %d commands name --; an unknown command is an error with exit code 2, also with --help", count)
}

func TestRun_HelpShowsExamples(t *testing.T) {
	for _, cmd := range newRootCommand().Commands() {
		if cmd.Name() == "help" {
			continue
		}
		out := mustRun(t, "", cmd.Name(), "--help")
		if !strings.Contains(out, "Examples:\n  kvorum "+cmd.Name()) {
			t.Errorf("help of %s: got no example in %q", cmd.Name(), out)
		}
		if strings.Contains(out, stdinFlag) {
			t.Errorf("help of %s shows the hidden flag", cmd.Name())
		}
	}
	if out := mustRun(t, ""); !strings.Contains(out, "Available Commands") {
		t.Errorf("without arguments: got %q, want the help", out)
	}
}

// TestRun_DocNamesEveryCommand reads the package's documentation.
func TestRun_DocNamesEveryCommand(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	use, _, _ := strings.Cut(string(doc), "This package holds")
	for _, cmd := range newRootCommand().Commands() {
		if name := cmd.Name(); name != "help" && name != "completion" && !regexp.MustCompile(`\b`+name+`\b`).MatchString(use) {
			t.Errorf("doc.go does not name %s", name)
		}
	}
}

func TestRun_Version(t *testing.T) {
	version = "v1.2.3"
	t.Cleanup(func() { version = "" })
	if got, want := mustRun(t, "", "version"), "kvorum v1.2.3 go"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want it to begin with %q", got, want)
	}
	version = ""
	if got := buildVersion(); got == "" {
		t.Error("without a linked version: got an empty one")
	}
}

// failingWriter is a full disk or a closed pipe.
type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
