package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/internal/testkit"
)

// writeFile makes a file and the directories above it.
func writeFile(t testing.TB, name, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(data), 0o666); err != nil {
		t.Fatal(err)
	}
}

// weird has keys and values that a tree may have.
func weird() map[string]string {
	return map[string]string{
		"empty": "", "a/b/c": "deep", "a/b.txt": "beside", "large": strings.Repeat("\x00\xff0123", 1<<18),
		"ü ö/ä": "umlauts", "sp ace": " ", "new\nline": "\n", "\xff\xfe": "no UTF-8", "\xff/x": "below it",
		"...": "dots", ".hidden": "h", "a+b%2F": "percent", `quo"te`: `"`, "json": `{"key":"x"}` + "\u2028",
	}
}

// wantKV compares the stored keys and values with the expected ones.
func wantKV(t *testing.T, got, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if g, ok := got[key]; !ok || g != value {
			t.Errorf("key %q: got %.40q (%d bytes, found %v), want %.40q (%d bytes)", key, g, len(g), ok, value, len(value))
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("key %q: got one, want none", key)
		}
	}
}

// TestImportExport_RoundTrip takes a tree through a cluster, a file of JSON
// lines, another cluster, and back to a tree.
func TestImportExport_RoundTrip(t *testing.T) {
	dir := t.TempDir()
	for name, data := range weird() {
		writeFile(t, filepath.Join(dir, "in", name), data)
	}
	first, second, third := newFake(t, nil), newFake(t, nil), newFake(t, nil)
	out := mustRun(t, "", "import", filepath.Join(dir, "in"), endpoints(first))
	if want := fmt.Sprintf("stored %d, failed 0, skipped 0", len(weird())); !strings.HasPrefix(out, want) {
		t.Errorf("got %q, want it to begin with %q", out, want)
	}
	wantKV(t, first.snapshot(), weird())

	lines := filepath.Join(dir, "lines")
	mustRun(t, "", "export", lines, endpoints(first))
	mustRun(t, "", "import", lines, endpoints(second))
	wantKV(t, second.snapshot(), weird())

	tree := filepath.Join(dir, "out") + "/"
	mustRun(t, "", "export", tree, endpoints(second))
	mustRun(t, "", "import", tree, "--prefix", "p/", endpoints(third))
	want := make(map[string]string)
	for key, value := range weird() {
		want["p/"+key] = value
	}
	wantKV(t, third.snapshot(), want)

	mustRun(t, mustRun(t, "", "export", "-", "--prefix", "p/a/", endpoints(third)), "import", "-", endpoints(first))
	want = weird()
	maps.Copy(want, map[string]string{"p/a/b/c": "deep", "p/a/b.txt": "beside"})
	wantKV(t, first.snapshot(), want)
}

func TestImport_SkipsAllButRegularFiles(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "outside"), "secret")
	writeFile(t, filepath.Join(dir, "in", "file"), "v")
	for _, name := range []string{"outside", "nowhere", "in"} {
		if err := os.Symlink(filepath.Join(dir, name), filepath.Join(dir, "in", "link-"+name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "in"), filepath.Join(dir, "alias")); err != nil {
		t.Fatal(err)
	}
	for _, arg := range []string{"in", "alias"} {
		f := newFake(t, nil)
		if out := mustRun(t, "", "import", filepath.Join(dir, arg), endpoints(f)); !strings.HasPrefix(out, "stored 1, failed 0, skipped 3") {
			t.Errorf("%s: got %q", arg, out)
		}
		wantKV(t, f.snapshot(), map[string]string{"file": "v"})
	}
}

// TestImport_Retries checks that a key is tried again, at all endpoints, until it is stored,
// also after an unknown outcome.
func TestImport_Retries(t *testing.T) {
	for name, hook := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"no leader":         noLeader,
		"unknown outcome":   unknownOutcome,
		"broken connection": breakOff,
		"overload": func(w http.ResponseWriter, _ *http.Request) bool {
			answerProblem(w, http.StatusTooManyRequests, api.Problem{Title: "Overloaded", Retryable: true, Outcome: "not_done"})
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failures atomic.Int32
			flaky := newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
				return failures.Add(1) <= 2 && hook(w, r)
			})
			at := flaky.URL + "," + unreachable(t)
			out := mustRun(t, `{"key":"a","value":"1"}`, "import", "-", "--endpoints", at)
			if !strings.HasPrefix(out, "stored 1, failed 0") {
				t.Errorf("got %q", out)
			}
			wantKV(t, flaky.snapshot(), map[string]string{"a": "1"})
		})
	}
}

// TestImport_GivesUp checks that an import ends when no key can be stored, and does not try
// each of the remaining keys for as long.
func TestImport_GivesUp(t *testing.T) {
	f := newFake(t, noLeader)
	in := strings.Repeat(`{"key":"a","value":"1"}`+"\n", 1000)
	r := runKvorum(t, in, "import", "-", "--concurrency", "2", "--retry-for", "100ms", endpoints(f))
	if r.code != exitError || !strings.Contains(r.stderr, "failed: line 1: No leader") ||
		!strings.Contains(r.stderr, "kvorum: nothing could be stored for 100ms: No leader") {
		t.Errorf("got exit code %d, stderr %q", r.code, r.stderr)
	}
	if n := len(f.seen()); n > 10 {
		t.Errorf("got %d requests, want only those of the first keys", n)
	}
}

// TestImporter_Outage checks the conditions under which a failed key ends the whole import.
func TestImporter_Outage(t *testing.T) {
	refused := &client.Error{Outcome: client.NotDone, Retryable: true}
	tooLarge := &client.Error{Outcome: client.NotDone}
	for _, tc := range []struct {
		name     string
		retryFor time.Duration
		stored   time.Duration // when another key was last stored, after the failed one's first attempt
		err      error
		want     bool
	}{
		{"nothing stored meanwhile", time.Second, -time.Second, refused, true},
		{"another stored meanwhile", time.Second, time.Second, refused, false},
		{"outcome unknown", time.Second, -time.Second, &client.Error{Outcome: client.Unknown}, true},
		{"refused for good", time.Second, -time.Second, tooLarge, false},
		{"no retries wanted", 0, -time.Second, refused, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			imp := newImporter(nil, importOptions{retryFor: tc.retryFor}, nil)
			var cause error
			imp.stop = func(err error) { cause = err }
			began := imp.start.Add(time.Minute)
			imp.lastStored.Store(int64(time.Minute + tc.stored))
			imp.checkOutage(began, tc.err)
			if got := errors.Is(cause, errOutage); got != tc.want {
				t.Errorf("got %v, want the import stopped: %v", cause, tc.want)
			}
		})
	}
}

// TestImport_RefusalsAreFinal checks that a key that a server refuses for good is sent once
// and reported with the reason.
func TestImport_RefusalsAreFinal(t *testing.T) {
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/kv/big") {
			return false
		}
		answerProblem(w, http.StatusRequestEntityTooLarge, api.Problem{Title: "Too large", Detail: "limit 1 byte", Outcome: "not_done"})
		return true
	})
	var in strings.Builder
	for i := range 13 {
		fmt.Fprintf(&in, `{"key":"big%d","value":"xx"}`+"\n", i)
	}
	in.WriteString(`{"key":"ok","value":"x"}` + "\n")
	r := runKvorum(t, in.String(), "import", "-", endpoints(f))
	if r.code != exitError || !strings.HasPrefix(r.stdout, "stored 1, failed 13, ") {
		t.Errorf("got exit code %d, stdout %q", r.code, r.stdout)
	}
	if n := strings.Count(r.stderr, "Too large: limit 1 byte\n"); n != shownFailures || !strings.Contains(r.stderr, "failed: and 3 more\n") {
		t.Errorf("got %d failures in %q, want %d and a count", n, r.stderr, shownFailures)
	}
	if n := len(f.seen()); n != 14 {
		t.Errorf("got %d requests, want 14", n)
	}
}

// TestImport_PrintsNames checks that a name that could not be read on one line is quoted.
func TestImport_PrintsNames(t *testing.T) {
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request) bool {
		answerProblem(w, http.StatusRequestEntityTooLarge, api.Problem{Title: "Too large", Outcome: "not_done"})
		return true
	})
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a\nfailed: b\x1b[2J"), "x")
	r := runKvorum(t, "", "import", dir, endpoints(f))
	if want := "failed: \"a\\nfailed: b\\x1b[2J\": Too large\nkvorum: 1 of 1 keys failed\n"; r.code != exitError || r.stderr != want {
		t.Errorf("got exit code %d and stderr %q, want %q", r.code, r.stderr, want)
	}
}

func TestImport_BadLines(t *testing.T) {
	f := newFake(t, nil)
	in := strings.Join([]string{
		`{"key":"a","value":"1"}`,
		``,
		`not JSON`,
		`{"key":"","value":"1"}`,
		`{"value":"1"}`,
		`{"key":"b"}`,
		`{"key":"b","value":null}`,
		`{"key":"b","key_b64":"Yg==","value":"1"}`,
		`{"key":"b","value":"1","value_b64":""}`,
		`{"key_b64":"!","value":"1"}`,
		"{\"key\":\"\xff\",\"value\":\"1\"}",
		`{"key":"c","value_b64":"","lease":7}` + "\r",
		`{"key":"d","value":"no end"}`,
	}, "\n")
	r := runKvorum(t, in, "import", "-", endpoints(f))
	if r.code != exitError || !strings.HasPrefix(r.stdout, "stored 3, failed 9, ") {
		t.Errorf("got exit code %d, stdout %q", r.code, r.stdout)
	}
	for _, number := range []int{3, 4, 5, 6, 7, 8, 9, 10, 11} {
		if !strings.Contains(r.stderr, fmt.Sprintf("failed: line %d: ", number)) {
			t.Errorf("line %d is not reported in %q", number, r.stderr)
		}
	}
	wantKV(t, f.snapshot(), map[string]string{"a": "1", "c": "", "d": "no end"})
}

func TestImport_MissingSource(t *testing.T) {
	wantFailure(t, runKvorum(t, "", "import", filepath.Join(t.TempDir(), "none"), endpoints(newFake(t, nil))), exitError, "no such file")
}

// TestImport_LastLineOfAKeyWins checks the order of lines with one key.
func TestImport_LastLineOfAKeyWins(t *testing.T) {
	f := newFake(t, nil)
	var in strings.Builder
	for i := range 500 {
		fmt.Fprintf(&in, `{"key":"k%d","value":"%d"}`+"\n", i%3, i)
	}
	mustRun(t, in.String(), "import", "-", endpoints(f))
	wantKV(t, f.snapshot(), map[string]string{"k0": "498", "k1": "499", "k2": "497"})
}

// TestImport_Interrupted stops an import whose server hangs and whose input
// never ends.
func TestImport_Interrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reached := make(chan struct{}, 1)
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/kv/hang" {
			return false
		}
		reached <- struct{}{}
		return hang(w, r)
	})
	in, feed := io.Pipe()
	defer feed.Close() // ends the reader that the program left behind
	go func() {
		fmt.Fprintln(feed, `{"key":"a","value":"1"}`)
		fmt.Fprintln(feed, `{"key":"hang","value":"1"}`)
		<-reached // then the only worker has the answer for the first key
		cancel()
	}()
	var stdout, stderr testkit.Log
	code := run(ctx, []string{"import", "-", "--concurrency", "1", endpoints(f)}, in, &stdout, &stderr)
	if code != exitError || !strings.HasPrefix(stdout.String(), "stored 1, failed 0, skipped 0, unfinished 1,") ||
		!strings.Contains(stderr.String(), "kvorum: interrupted before the end") {
		t.Errorf("got exit code %d, stdout %q, stderr %q", code, stdout.String(), stderr.String())
	}
}

// TestImport_InterruptedBetweenKeys checks that an import is not reported as complete when
// the user stops it while it waits for more input.
func TestImport_InterruptedBetweenKeys(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in, feed := io.Pipe()
	defer feed.Close()
	var stderr testkit.Log
	code := run(ctx, []string{"import", "-", endpoints(newFake(t, nil))}, in, io.Discard, &stderr)
	if code != exitError || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("got exit code %d, stderr %q", code, stderr.String())
	}
}

// TestReadWhole checks that a file that changes while it is read is an error.
func TestReadWhole(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"shorter": func(p string) error { return os.Truncate(p, 2) },
		"longer":  func(p string) error { return os.WriteFile(p, []byte("longer than it was"), 0o666) },
		"touched": func(p string) error { return os.Chtimes(p, time.Time{}, time.Unix(1, 0)) },
		"same":    func(string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			writeFile(t, path, "value")
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			info, err := file.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			value, err := readWhole(file, info)
			if name == "same" {
				if err != nil || string(value) != "value" {
					t.Errorf("got %q, %v, want the value", value, err)
				}
			} else if err != errChanged {
				t.Errorf("got %q, %v, want %v", value, err, errChanged)
			}
		})
	}
}

// TestImporter_Budget checks that values in memory are bounded: the source waits for its
// units, and releases those it has when it is interrupted.
func TestImporter_Budget(t *testing.T) {
	imp := newImporter(nil, importOptions{}, nil)
	all, err := imp.reserve(t.Context(), api.MaxValueBytes)
	if err != nil || all != budgetUnits {
		t.Fatalf("reserve the largest value: got %d, %v, want all %d units", all, err, budgetUnits)
	}
	imp.release(10)
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := make(chan error)
	go func() {
		_, err := imp.reserve(ctx, 20*budgetUnit)
		cancelled <- err
	}()
	poll(t, "the source to take what is free", func() bool { return len(imp.budget) == budgetUnits })
	cancel()
	if err := <-cancelled; err == nil {
		t.Error("reserve beyond the budget: got no error when it was interrupted")
	}
	if got, want := len(imp.budget), budgetUnits-10; got != want {
		t.Errorf("after the interruption: got %d units taken, want %d", got, want)
	}
}

// TestImport_Attributes shows that content types and flags are stored, and that the lines of an
// export have them. Lines without them are those of older exports.
func TestImport_Attributes(t *testing.T) {
	const lines = `{"key":"a","value":"x","flags":7,"content_type":"text/html"}` + "\n" + `{"key":"b","value":"y"}` + "\n"
	var mu sync.Mutex
	put := make(map[string]string)
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodPut:
			mu.Lock()
			defer mu.Unlock()
			put[r.URL.Path] = r.Header.Get("Content-Type") + " " + r.Header.Get("Kvorum-Flags")
			return false
		case r.URL.Path == "/kv/":
			fmt.Fprint(w, lines, `{"end":true,"count":2}`, "\n")
			return true
		}
		return false
	})
	mustRun(t, lines, "import", "-", endpoints(f))
	wantKV(t, put, map[string]string{"/kv/a": "text/html 7", "/kv/b": "application/octet-stream "})
	if got := mustRun(t, "", "export", "-", endpoints(f)); got != lines {
		t.Errorf("export: got %s, want %s", got, lines)
	}
	for _, contentType := range []string{"a/b ", `a\n`, "application/x-www-form-urlencoded"} { // no retry
		r := runKvorum(t, `{"key":"a","value":"x","content_type":"`+contentType+`"}`, "import", "-", "--retry-for=1h", endpoints(f))
		if r.code != exitError || !strings.Contains(r.stderr, "content type") {
			t.Errorf("%s: got exit code %d, %s", contentType, r.code, r.stderr)
		}
	}
	r := runKvorum(t, `{"key":"a","value":"x","flags":-1}`, "import", "-", endpoints(f))
	if r.code != exitError || !strings.Contains(r.stderr, "flags") {
		t.Errorf("flags that are no number of 32 bits: got exit code %d, %s", r.code, r.stderr)
	}
}
