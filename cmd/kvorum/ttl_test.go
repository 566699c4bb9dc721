package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// expiring answers each write with a deadline, and reads with a key that has one.
func expiring(w http.ResponseWriter, r *http.Request) bool {
	const item = `{"key":"k","value":"v","create_revision":3,"mod_revision":8,"version":2,"expires_at":"2026-01-01T00:00:30.000Z"`
	h := w.Header()
	h.Set("Kvorum-Revision", "8")
	h.Set("Content-Type", "application/octet-stream")
	switch {
	case r.URL.Path == "/kv/" && r.URL.Query().Has("revision"):
		fmt.Fprintln(w, item+"}\n"+`{"end":true,"count":1}`)
		return true
	case r.URL.Path == "/kv/":
		fmt.Fprintln(w, item+`,"ttl_ms":29500}`+"\n"+`{"key":"l","value":"","create_revision":4,"mod_revision":4,"version":1}`+"\n"+`{"end":true,"count":2}`)
		return true
	case r.URL.Query().Get("op") != "persist":
		h.Set("Kvorum-Expires-At", "2026-01-01T00:00:30.000Z")
	}
	if r.Method == http.MethodGet {
		h.Set("ETag", `"8"`)
		h.Set("Kvorum-Version", "2")
		h.Set("Kvorum-Create-Revision", "3")
		if !r.URL.Query().Has("revision") {
			h.Set("Kvorum-Expires-In-Ms", "29500")
		}
	}
	fmt.Fprint(w, "7")
	return true
}

// TestTTL_Commands checks the request and the output of each command with times to live.
func TestTTL_Commands(t *testing.T) {
	for _, test := range []struct{ command, sent, want string }{
		{"put k v --ttl 30s", "ttl=30s", "replaced, revision 8, expires 2026-01-01T00:00:30.000Z\n"},
		{"put k v --ttl=1500ms", "ttl=1.5s", "replaced, revision 8, expires 2026-01-01T00:00:30.000Z\n"},
		{"touch k --ttl 1h", "op=touch&ttl=1h0m0s", "touched, revision 8, expires 2026-01-01T00:00:30.000Z\n"},
		{"persist k", "op=persist", "persisted, revision 8\n"},
		{"incr k 5 --ttl 1m", "delta=5&op=incr&ttl=1m0s", "7\n"},
		{"get k", "consistency=linearizable", "7"},
		{"get k -o table", "consistency=linearizable", "KEY  VERSION  CREATED  MODIFIED  EXPIRES   VALUE\nk    2        3        8         in 29.5s  7\n"},
		{"get k -o json", "consistency=linearizable", `{"key":"k","value":"7","expires_at":"2026-01-01T00:00:30.000Z","create_revision":3,"mod_revision":8,"version":2,"ttl_ms":29500}` + "\n"},
		{"get k -o json --revision 8", "consistency=linearizable&revision=8", `{"key":"k","value":"7","expires_at":"2026-01-01T00:00:30.000Z","create_revision":3,"mod_revision":8,"version":2}` + "\n"},
		{"ls -o table", "consistency=linearizable&keys_only=true&prefix=", "KEY  VERSION  CREATED  MODIFIED  EXPIRES\nk    2        3        8         in 29.5s\nl    1        4        4         -\n"},
		{"ls -o table --revision 8", "consistency=linearizable&keys_only=true&prefix=&revision=8", "KEY  VERSION  CREATED  MODIFIED  EXPIRES\nk    2        3        8         2026-01-01T00:00:30.000Z\n"},
	} {
		f := newFake(t, expiring)
		if got := mustRun(t, "", append(strings.Fields(test.command), endpoints(f))...); got != test.want {
			t.Errorf("%s: got\n%swant\n%s", test.command, got, test.want)
		}
		if f.queries[0] != test.sent {
			t.Errorf("%s: sent %s, want %s", test.command, f.queries[0], test.sent)
		}
	}
}

// TestTTL_CommandsRefuse checks that a bad time to live is an error of use, and that nothing is
// sent.
func TestTTL_CommandsRefuse(t *testing.T) {
	f := newFake(t, expiring)
	for _, test := range []struct{ command, want string }{
		{"put k v --ttl 30", "is a number without a unit, and must be a duration with its unit, such as 30s, 1500ms or 1h30m"},
		{"put k v --ttl 0s", "is 0s, the minimum is 1ms"},
		{"put k v --ttl=-1s", "is -1s, the minimum is 1ms"},
		{"incr k --ttl 1.5ms", "is 1.5ms, which is no whole number of milliseconds"},
		{"touch k --ttl 876001h", "the maximum is 876000h (100 years)"},
		{"touch k", "--ttl is required"},
		{"persist k --ttl 1s", "unknown flag: --ttl"},
		{"get k --ttl 1s", "unknown flag: --ttl"},
	} {
		wantFailure(t, runKvorum(t, "", append(strings.Fields(test.command), endpoints(f))...), exitUsage, test.want)
	}
	if seen := f.seen(); len(seen) != 0 {
		t.Errorf("sent %q", seen)
	}
}

// TestTTL_ExportImport checks that a file of JSON lines keeps deadlines, and that an expired line
// is skipped and counted.
func TestTTL_ExportImport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lines")
	mustRun(t, "", "export", file, endpoints(newFake(t, expiring)))
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := string(data)
	if want := `{"key":"k","value":"v","expires_at":"2026-01-01T00:00:30.000Z"}` + "\n" + `{"key":"l","value":""}` + "\n"; lines != want {
		t.Errorf("got\n%swant\n%s", lines, want)
	}
	in := time.Now().Add(time.Hour).UnixMilli()
	later := `{"key":"later","value":"x","expires_at":"` + api.FormatDeadline(in) + `"}` + "\n"
	gone := strings.Replace(lines, "2026-01-01T00:00:30.000Z", api.FormatDeadline(time.Now().UnixMilli()-1), 1)
	f := newFake(t, nil)
	out := mustRun(t, gone+later, "import", "-", "--concurrency=1", endpoints(f))
	if !strings.HasPrefix(out, "stored 2, failed 0, skipped 1 (1 expired), unfinished 0, 1 bytes") {
		t.Errorf("got %q", out)
	}
	if got := strings.Join(f.seen(), " "); got != "PUT /kv/l PUT /kv/later" {
		t.Errorf("sent %s", got)
	}
	ttl := regexp.MustCompile(`^ttl=(\S+)$`).FindStringSubmatch(f.queries[1])
	if ttl == nil || f.queries[0] != "" {
		t.Fatalf("sent the parameters %q", f.queries)
	}
	if d, err := api.ParseTTL(ttl[1]); err != nil || d > time.Hour || d < time.Hour-time.Minute || d%kv.MinTTL != 0 {
		t.Errorf("sent %s, want almost an hour", ttl[1])
	}
	r := runKvorum(t, `{"key":"k","value":"v","expires_at":"soon"}`, "import", "-", endpoints(f))
	if r.code != exitError || !strings.HasPrefix(r.stderr, `failed: line 1: expires_at "soon" is no time of RFC 3339`) {
		t.Errorf("got exit code %d, stderr %q", r.code, r.stderr)
	}
}
