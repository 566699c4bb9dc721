package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// unreachable returns an endpoint where nobody listens.
func unreachable(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestClient_PutGetDel(t *testing.T) {
	f := newFake(t, nil)
	at := endpoints(f)
	if got, want := mustRun(t, "", "put", "a", "x", at), "created, revision 1\n"; got != want {
		t.Errorf("first put: got %q, want %q", got, want)
	}
	if got, want := mustRun(t, "from stdin", "put", "a", "-", at), "replaced, revision 2\n"; got != want {
		t.Errorf("second put: got %q, want %q", got, want)
	}
	if got, want := mustRun(t, "", "get", "a", at), "from stdin"; got != want {
		t.Errorf("get: got %q, want %q", got, want)
	}
	file := filepath.Join(t.TempDir(), "v")
	writeFile(t, file, "\x00\xff")
	mustRun(t, "", "put", "b", "--file", file, at)
	if got, want := mustRun(t, "", "get", "b", at), "\x00\xff"; got != want {
		t.Errorf("get of a file's value: got %q, want %q", got, want)
	}
	if got, want := mustRun(t, "", "del", "b", at), "deleted, revision 4\n"; got != want {
		t.Errorf("del: got %q, want %q", got, want)
	}
	wantFailure(t, runKvorum(t, "", "get", "b", at), exitError, "Key not found: there is no such key")
	wantFailure(t, runKvorum(t, "", "del", "b", at), exitError, "Key not found")
	wantFailure(t, runKvorum(t, "", "put", "c", "--file", file+"?", at), exitError, "no such file")
}

func TestClient_EndpointsFromVariable(t *testing.T) {
	f := newFake(t, nil)
	t.Setenv("KVORUM_ENDPOINTS", strings.TrimPrefix(f.URL, "http://"))
	mustRun(t, "", "put", "a", "x")
	if got := f.snapshot()["a"]; got != "x" {
		t.Errorf("got %q, want x", got)
	}
	t.Setenv("KVORUM_TIMEOUT", "soon")
	wantFailure(t, runKvorum(t, "", "get", "a"), exitUsage, "KVORUM_TIMEOUT")
}

// TestClient_Failover checks when another endpoint is asked: whenever the
// first had no effect for certain, or there is none to have.
func TestClient_Failover(t *testing.T) {
	for _, tc := range []struct {
		name  string
		hook  func(http.ResponseWriter, *http.Request) bool // nil: nobody listens
		write bool
		want  string // empty: the second endpoint did it
	}{
		{"write, refused connection", nil, true, ""},
		{"write, no leader", noLeader, true, ""},
		{"write, unknown outcome", unknownOutcome, true, "Outcome unknown: the answer was lost"},
		{"write, broken connection", breakOff, true, "outcome unknown, the write may or may not have happened"},
		{"write, a proxy's 502", status(http.StatusBadGateway), true, "outcome unknown"},
		{"write, a proxy's redirect", status(http.StatusFound), true, "302 Found"},
		{"read, refused connection", nil, false, ""},
		{"read, no leader", noLeader, false, ""},
		{"read, broken connection", breakOff, false, ""},
		{"read, a proxy's 502", status(http.StatusBadGateway), false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			second := newFake(t, nil)
			second.set(map[string]string{"k": "v"})
			at := "--endpoints=" + unreachable(t) + "," + second.URL
			if tc.hook != nil {
				at = endpoints(newFake(t, tc.hook), second)
			}
			args := []string{"get", "k", at}
			if tc.write {
				args = []string{"put", "k", "w", at}
			}
			r := runKvorum(t, "", args...)
			if tc.want == "" {
				if r.code != exitOK || len(second.seen()) != 1 {
					t.Errorf("got exit code %d and %d requests to the second, want 0 and 1; stderr: %s", r.code, len(second.seen()), r.stderr)
				}
				return
			}
			wantFailure(t, r, exitError, tc.want)
			if n := len(second.seen()); n != 0 {
				t.Errorf("got %d requests to the second endpoint, want none", n)
			}
		})
	}
}

// status answers with a bare status, as a proxy might.
func status(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		return true
	}
}

func TestClient_FinalAnswersAreNotRetried(t *testing.T) {
	tooLarge := newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
		answerProblem(w, http.StatusRequestEntityTooLarge, problem{Title: "Too large", Detail: "value: limit 3 bytes", Outcome: "not_done"})
		return true
	})
	other := newFake(t, nil)
	wantFailure(t, runKvorum(t, "", "put", "k", "long", endpoints(tooLarge, other)), exitError, "Too large: value: limit 3 bytes")
	if n := len(other.seen()); n != 0 {
		t.Errorf("got %d requests to the other endpoint, want none", n)
	}
}

func TestClient_AllEndpointsFail(t *testing.T) {
	r := runKvorum(t, "", "put", "k", "v", "--endpoints", unreachable(t)+","+unreachable(t))
	wantFailure(t, r, exitError, "connection refused; 127.0.0.1:")
	if strings.Contains(r.stderr, "unknown") {
		t.Errorf("got %q, but nothing was sent", r.stderr)
	}
}

func TestClient_Timeout(t *testing.T) {
	f := newFake(t, hang)
	r := runKvorum(t, "", "put", "k", "v", endpoints(f), "--timeout", "50ms")
	wantFailure(t, r, exitError, "outcome unknown")
	if !strings.Contains(r.stderr, "no answer within 50ms") {
		t.Errorf("got %q, want it to name the time-out", r.stderr)
	}
	wantFailure(t, runKvorum(t, "", "ls", endpoints(f), "--timeout", "50ms"), exitError, "no answer within 50ms")
}

// TestClient_LargeValuesAwaitConsent checks that a refusal comes before the value is sent.
func TestClient_LargeValuesAwaitConsent(t *testing.T) {
	f := newFake(t, nil)
	large := strings.Repeat("x", expectBytes+1)
	mustRun(t, large, "put", "k", "-", endpoints(f))
	mustRun(t, "small", "put", "l", "-", endpoints(f))
	if got := f.snapshot()["k"]; got != large {
		t.Errorf("got a value of %d bytes, want %d", len(got), len(large))
	}
	if f.expects != 1 {
		t.Errorf("got %d requests that wait for consent, want the large one alone", f.expects)
	}
}

// TestClient_KeysSurvive checks that a key of any bytes reaches the server as it is.
func TestClient_KeysSurvive(t *testing.T) {
	f := newFake(t, nil)
	c, err := newClient([]string{f.URL}, 10*time.Second, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	roundTrip := func(t interface{ Fatalf(string, ...any) }, key string) {
		want := fmt.Sprintf("value of %q", key)
		if _, _, err := c.put(context.Background(), key, []byte(want)); err != nil {
			t.Fatalf("put %q: %v", key, err)
		}
		if got := f.snapshot()[key]; got != want {
			t.Fatalf("stored under %q: got %q, want %q", key, got, want)
		}
		got, err := c.get(context.Background(), key, url.Values{"consistency": {"stale"}})
		if err != nil || string(got) != want {
			t.Fatalf("get %q: got %q, %v, want %q", key, got, err, want)
		}
		if _, err := c.del(context.Background(), key); err != nil {
			t.Fatalf("del %q: %v", key, err)
		}
	}
	for _, key := range []string{
		".", "..", "/", "//", "a//b", "/a", "a/", "a/./b", "a/../b", "../../etc", "...", ".a", "a.b",
		"%2F", "%", "a b", "a+b", "a?b=c", "a#b", "\x00", "\xff\xfe", "ü", "a\nb", "\\", ":", "a;b", "*",
	} {
		roundTrip(t, key)
	}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.OneOf(
			rapid.StringOfN(rapid.RuneFrom([]rune("./%+a ")), 1, 12, -1),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 40), func(b []byte) string { return string(b) }),
		).Draw(t, "key")
		roundTrip(t, key)
	})
}

func TestList(t *testing.T) {
	f := newFake(t, nil)
	f.set(map[string]string{"a": "1", "b\nc": "2\t", `"q"`: "3", "ü": "4", "\xff": "\x00"})
	if got, want := mustRun(t, "", "ls", endpoints(f)), "\"\\\"q\\\"\"\na\n\"b\\nc\"\nü\n\"\\xff\"\n"; got != want {
		t.Errorf("ls: got %q, want %q", got, want)
	}
	if got, want := mustRun(t, "", "ls", "b", "--values", endpoints(f)), "\"b\\nc\"\t\"2\\t\"\n"; got != want {
		t.Errorf("ls --values: got %q, want %q", got, want)
	}
	if got, want := mustRun(t, "", "ls", "--limit", "2", endpoints(f)), "\"\\\"q\\\"\"\na\n"; got != want {
		t.Errorf("ls --limit: got %q, want %q", got, want)
	}
}

func TestList_CutStreamIsAnError(t *testing.T) {
	for name, end := range map[string]func(http.ResponseWriter){
		"in a line": func(w http.ResponseWriter) {
			fmt.Fprint(w, `{"key":"b","val`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"between lines": func(w http.ResponseWriter) {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"in a line, then a proper end": func(w http.ResponseWriter) { fmt.Fprint(w, `{"key":"b","value":"2"}`) },
		"no last line":                 func(http.ResponseWriter) {},
		"a last line that counts more": func(w http.ResponseWriter) { fmt.Fprintln(w, `{"end":true,"count":2}`) },
		"a last line without a count":  func(w http.ResponseWriter) { fmt.Fprintln(w, `{"end":true}`) },
		"a line after the last":        func(w http.ResponseWriter) { fmt.Fprintln(w, `{"end":true,"count":1}`+"\n"+`{"key":"b","value":"2"}`) },
		"a bad line":                   func(w http.ResponseWriter) { fmt.Fprintln(w, `{"key":"b"}`) },
		"no end to be seen": func(w http.ResponseWriter) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				conn.Close()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, func(w http.ResponseWriter, _ *http.Request) bool {
				fmt.Fprintln(w, `{"key":"a","value":"1"}`)
				end(w)
				return true
			})
			for _, args := range [][]string{{"ls", "--values"}, {"export", "-"}} {
				if r := runKvorum(t, "", append(args, endpoints(f))...); r.code != exitError {
					t.Errorf("%v: got exit code %d, want 1; stdout: %s", args, r.code, r.stdout)
				}
			}
		})
	}
}

// TestList_WithoutChunks checks that a list without chunks and a length, as over
// HTTP/1.0, is whole when its last line says so, and that import takes it as it is.
func TestList_WithoutChunks(t *testing.T) {
	const lines = `{"key":"a","value":"1"}` + "\n" + `{"end":true,"count":1,"next":"b"}` + "\n"
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/kv/" {
			return false
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			fmt.Fprintf(conn, "HTTP/1.0 200 OK\r\n\r\n%s", lines)
			conn.Close()
		}
		return true
	})
	if got, want := mustRun(t, "", "ls", "--values", endpoints(f)), "a\t1\n"; got != want {
		t.Errorf("ls: got %q, want %q", got, want)
	}
	if out := mustRun(t, lines, "import", "-", endpoints(f)); !strings.HasPrefix(out, "stored 1, failed 0") {
		t.Errorf("import of a list: got %q", out)
	}
}

func TestStatus(t *testing.T) {
	f := newFake(t, nil)
	out := mustRun(t, "", "status", endpoints(f))
	for _, want := range []string{"node           n1", "ready          yes", "leader         n1 (h:1)", "n2    h:2   p:2   no     no"} {
		if !strings.Contains(out, want) {
			t.Errorf("status: got %q, want it to hold %q", out, want)
		}
	}
	if out := mustRun(t, "", "status", "--json", endpoints(f)); !strings.HasPrefix(out, `{"id":"n1"`) {
		t.Errorf("status --json: got %q", out)
	}
	if out := mustRun(t, "", "members", endpoints(f)); !strings.HasPrefix(out, "NAME  HTTP  PEER  VOTER  LEADER\nn1    h:1   p:1   yes    yes\n") {
		t.Errorf("members: got %q", out)
	}
}

// TestStatus_NotReady checks that readiness is asked of the node that gave the status.
func TestStatus_NotReady(t *testing.T) {
	notReady := newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
		return r.URL.Path == "/readyz" && noLeader(w, r)
	})
	ready := newFake(t, nil)
	r := runKvorum(t, "", "status", endpoints(notReady, ready))
	wantFailure(t, r, exitError, "No leader: no leader is known")
	if !strings.Contains(r.stdout, "ready          no") {
		t.Errorf("got %q, want the status all the same", r.stdout)
	}
	wantFailure(t, runKvorum(t, "", "status", endpoints(notReady), "--json"), exitError, "No leader")
	if n := len(ready.seen()); n != 0 {
		t.Errorf("got %d requests to the other node, want none", n)
	}
}

func TestJoinLeaveTransfer(t *testing.T) {
	f := newFake(t, nil)
	mustRun(t, "", "join", "--id", "n4", "--peer-addr", "h:7004", "--http-addr", "h:8004", endpoints(f))
	mustRun(t, "", "leave", "n2", endpoints(f))
	kv := f.snapshot()
	if got, want := kv["/admin/join"], `{"id":"n4","peer_addr":"h:7004","http_addr":"h:8004"}`; got != want {
		t.Errorf("join: got body %s, want %s", got, want)
	}
	if got, want := kv["/admin/leave"], `{"id":"n2"}`; got != want {
		t.Errorf("leave: got body %s, want %s", got, want)
	}
	mustRun(t, "", "leave", endpoints(f))
	if got := f.snapshot()["/admin/leave"]; got != "{}" {
		t.Errorf("leave without a name: got body %q, want {}", got)
	}
	mustRun(t, "", "leave", "n2", "--force", endpoints(f))
	if got, want := f.snapshot()["/admin/leave"], `{"force":true,"id":"n2"}`; got != want {
		t.Errorf("leave by force: got body %s, want %s", got, want)
	}
	mustRun(t, "", "transfer", "n2", endpoints(f))
	if got, want := f.snapshot()["/admin/transfer"], `{"id":"n2"}`; got != want {
		t.Errorf("transfer: got body %s, want %s", got, want)
	}
	if got, want := mustRun(t, "", "snapshot", "n2", endpoints(f)), "n2: snapshot of 1000 bytes at index 7; the log has 5000 bytes, 9000 before\n"; got != want {
		t.Errorf("snapshot: got %q, want %q", got, want)
	}
	if got, want := f.snapshot()["/admin/snapshot"], `{"id":"n2"}`; got != want {
		t.Errorf("snapshot: got body %s, want %s", got, want)
	}
	if want := []string{"POST /admin/join", "POST /admin/leave", "POST /admin/leave", "POST /admin/leave", "POST /admin/transfer", "POST /admin/snapshot"}; !slices.Equal(f.seen(), want) {
		t.Errorf("got requests %v, want %v", f.seen(), want)
	}
}

// TestSnapshot_OfTheNodeAsked checks that a node that has no room for a snapshot is
// not passed over for another one, whose snapshot nobody has asked for.
func TestSnapshot_OfTheNodeAsked(t *testing.T) {
	full := newFake(t, func(w http.ResponseWriter, _ *http.Request) bool {
		answerProblem(w, http.StatusInsufficientStorage, problem{
			Title: "Disk nearly full", Status: 507, Code: "disk_full", Retryable: true, Outcome: "not_done",
		})
		return true
	})
	other := newFake(t, nil)
	wantFailure(t, runKvorum(t, "", "snapshot", endpoints(full, other)), exitUsage, "name the node, or give its one endpoint")
	wantFailure(t, runKvorum(t, "", "snapshot", endpoints(full)), exitError, "Disk nearly full")
	if n := len(other.seen()); n != 0 {
		t.Errorf("got %d requests to the other node, want none", n)
	}
}

// TestClient_ReadLevels checks what each command that reads asks for.
func TestClient_ReadLevels(t *testing.T) {
	for _, command := range [][]string{{"get", "a"}, {"ls"}, {"export", "-"}} {
		for _, tc := range []struct{ flags, want string }{
			{"", "consistency=linearizable"},
			{"--consistency=leader", "consistency=leader"},
			{"--consistency=stale --max-stale=1.5s", "consistency=stale&max_stale=1.5s"},
			{"--consistency=leader --min-revision=7", "consistency=leader&min_revision=7"},
		} {
			f := newFake(t, nil)
			f.set(map[string]string{"a": "1"})
			mustRun(t, "", append(append(slices.Clone(command), strings.Fields(tc.flags)...), endpoints(f))...)
			for _, param := range strings.Split(tc.want, "&") {
				if got := strings.Split(f.queries[0], "&"); !slices.Contains(got, param) {
					t.Errorf("%s %s: got query %q, want %s in it", command[0], tc.flags, f.queries[0], param)
				}
			}
		}
	}
}

// TestNetReason checks that an error of the network says once what went wrong.
func TestNetReason(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	lookup := &net.DNSError{Err: "no such host", Name: "n9"}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&url.Error{Op: "Get", URL: "http://n9", Err: refused}, "connection refused"},
		{&net.OpError{Op: "listen", Net: "tcp", Err: lookup}, "lookup n9: no such host"},
		{lookup, "lookup n9: no such host"},
	} {
		if got := netReason(tc.err); got.Error() != tc.want {
			t.Errorf("%v: got %q, want %q", tc.err, got, tc.want)
		}
	}
}
