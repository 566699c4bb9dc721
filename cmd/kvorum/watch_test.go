package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// watched returns a node whose watches send some lines, and then wait or break off.
func watched(t *testing.T, broken bool, lines ...string) *fakeNode {
	return newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/watch" {
			return false
		}
		for _, line := range lines {
			fmt.Fprintln(w, line)
		}
		_ = http.NewResponseController(w).Flush()
		if broken {
			panic(http.ErrAbortHandler)
		}
		<-r.Context().Done()
		return true
	})
}

// output is written by one goroutine, and read by another.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// interrupt runs a command, interrupts it once its output is as wanted, and returns what it
// wrote to standard error.
func interrupt(t *testing.T, want string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr output
	code := make(chan int, 1)
	go func() { code <- run(ctx, args, strings.NewReader(""), &stdout, &stderr) }()
	poll(t, "the output", func() bool { return len(stdout.String()) >= len(want) })
	cancel()
	if got := stdout.String(); got != want {
		t.Errorf("%v: got\n%swant\n%s", args, got, want)
	}
	if got := <-code; got != exitOK {
		t.Errorf("%v: got exit code %d, stderr %q", args, got, stderr.String())
	}
	return stderr.String()
}

var someChanges = []string{
	`{"type":"state","revision":5,"items":[{"key":"a","value":"x","create_revision":2,"mod_revision":4,"version":2}]}`,
	`{"type":"synced","revision":5}`,
	`{"type":"changes","revision":6,"events":[{"op":"put","key":"a","value":"y","create_revision":2,"mod_revision":6,"version":3,"flags":7,"prev":{"key":"a","value":"x","create_revision":2,"mod_revision":4,"version":2}},{"op":"delete","key_b64":"/w==","mod_revision":6}]}`,
}

// TestWatch_Formats prints the state and changes in each format, until it is interrupted.
func TestWatch_Formats(t *testing.T) {
	f := watched(t, false, someChanges...)
	for format, want := range map[string]string{
		"table": "REVISION    OP      KEY\tVALUE\n" +
			"4           state   a\tx\n" +
			"5           synced  \t\n" +
			"6           put     a\ty\twas x\n" +
			"6           delete  \"\\xff\"\t\n",
		"json": `{"revision":5,"op":"state","key":"a","value":"x","create_revision":2,"mod_revision":4,"version":2}` + "\n" +
			`{"revision":5,"op":"synced"}` + "\n" +
			`{"revision":6,"op":"put","partial":true,"key":"a","value":"y","flags":7,"create_revision":2,"mod_revision":6,"version":3,"prev":{"key":"a","value":"x","create_revision":2,"mod_revision":4,"version":2}}` + "\n" +
			`{"revision":6,"op":"delete","key_b64":"/w==","mod_revision":6}` + "\n",
		"raw": "x\ny\n",
	} {
		if stderr := interrupt(t, want, "watch", "--snapshot", "--prev", "-o", format, endpoints(f)); stderr != "" {
			t.Errorf("%s: got stderr %q", format, stderr)
		}
	}
}

// TestWatch_Partial shows that each line but the last of a revision is partial, also where its
// changes come in parts.
func TestWatch_Partial(t *testing.T) {
	f := watched(t, false, `{"type":"start","revision":5}`,
		`{"type":"changes","revision":6,"partial":true,"events":[{"op":"put","key":"a","value":"x"},{"op":"put","key":"b","value":"x"}]}`,
		`{"type":"changes","revision":6,"events":[{"op":"put","key":"c","value":"x"},{"op":"delete","key":"d"}]}`,
		`{"type":"changes","revision":7,"events":[{"op":"delete","key":"a"}]}`)
	want := `{"revision":6,"op":"put","partial":true,"key":"a","value":"x"}
{"revision":6,"op":"put","partial":true,"key":"b","value":"x"}
{"revision":6,"op":"put","partial":true,"key":"c","value":"x"}
{"revision":6,"op":"delete","key":"d"}
{"revision":7,"op":"delete","key":"a"}
`
	interrupt(t, want, "watch", "-o", "json", endpoints(f))
}

// TestWatch_ContinuesElsewhere breaks off the first node, which is said.
func TestWatch_ContinuesElsewhere(t *testing.T) {
	first := watched(t, true, `{"type":"start","revision":5}`, `{"type":"changes","revision":6,"events":[{"op":"put","key":"a","value":"y","mod_revision":6}]}`)
	second := watched(t, false, `{"type":"start","revision":6}`, `{"type":"changes","revision":7,"events":[{"op":"put","key":"a","value":"z","mod_revision":7}]}`)
	stderr := interrupt(t, "y\nz\n", "watch", "a", "--from-revision", "6", "-o", "raw", endpoints(first, second))
	if !strings.HasPrefix(stderr, "kvorum: the watch continues at the next endpoint: ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("got stderr %q", stderr)
	}
	if got := first.queries[0] + " " + second.queries[0]; got != "from_revision=6&key=a&progress=15s from_revision=7&key=a&progress=15s" {
		t.Errorf("got queries %s", got)
	}
}

func TestWatch_Refuses(t *testing.T) {
	f := watched(t, false, `{"type":"start","revision":5}`, `{"type":"compacted","revision":5,"compact_revision":9}`)
	wantFailure(t, runKvorum(t, "", "watch", "-o", "raw", endpoints(f)), exitError, "the oldest that is kept is 9")
	for _, args := range [][]string{
		{"a", "--prefix", "a"}, {"--prefix", "a", "--start", "a"}, {"a", "--end", "b"}, {""}, {"--start", "b", "--end", "a"},
		{"--from-revision", "1", "--snapshot"}, {"--from-revision", "x"}, {"-o", "xml"}, {"a", "b"},
	} {
		r := runKvorum(t, "", append([]string{"watch", endpoints(f)}, args...)...)
		if r.code != exitUsage {
			t.Errorf("%q: got exit code %d, %s", args, r.code, r.stderr)
		}
	}
}

// TestSettings shows and changes the settings of a cluster. What no argument names is put as it
// was: a default stays one.
func TestSettings(t *testing.T) {
	var mu sync.Mutex
	set := `{"history":{"max_bytes":1048576},"max_key_bytes":100}`
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/admin/settings" {
			return false
		}
		body := new(bytes.Buffer)
		_, _ = body.ReadFrom(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodPut {
			set = body.String()
		}
		fmt.Fprint(w, set)
		return true
	})
	const shown = `history.max_age           (10m0s)
history.max_revisions     (unlimited)
history.max_bytes         1048576
max_key_bytes             100
max_value_bytes           (that of each node)
max_request_ops           (128)
idempotency.window        (10m0s)
idempotency.max_keys      (1000000)
idempotency.max_bytes     (67108864)
quota.max_keys            (unlimited)
quota.max_bytes           (unlimited)
quota.eviction            (none)
quota.protected_prefixes  (none)
`
	if got := mustRun(t, "", "settings", endpoints(f)); got != shown {
		t.Errorf("got\n%swant\n%s", got, shown)
	}
	changed := strings.NewReplacer("max_revisions     (unlimited)", "max_revisions     7", "quota.max_bytes           (unlimited)", "quota.max_bytes           1000",
		"(none)\nquota.p", "lru\nquota.p", "prefixes  (none)", "prefixes  a/,b", "1048576", "(268435456)", "100\n", "(that of each node)\n").Replace(shown)
	if got := mustRun(t, "", "settings", "history.max_revisions=7", "history.max_bytes=", "max_key_bytes=", "quota.max_bytes=1000", "quota.eviction=lru", "quota.protected_prefixes=a/,b", endpoints(f)); got != changed {
		t.Errorf("got\n%swant\n%s", got, changed)
	}
	mu.Lock()
	if want := `{"history":{"max_revisions":7},"quota":{"max_bytes":1000,"eviction":"lru","protected_prefixes":["a/","b"]}}`; set != want {
		t.Errorf("%s was put, want %s", set, want)
	}
	mu.Unlock()
	for _, arg := range []string{"max_age=1h", "max_key_bytes", "max_key_bytes=x", "history.max_age=1", "history.max_revisions=-1", "quota.max_keys=x", "quota.eviction=x", "=", ""} {
		if r := runKvorum(t, "", "settings", arg, endpoints(f)); r.code != exitUsage {
			t.Errorf("%q: got exit code %d, %s", arg, r.code, r.stderr)
		}
	}
	if n := len(f.seen()); n != 3 {
		t.Errorf("got %d requests, want 3", n)
	}
}
