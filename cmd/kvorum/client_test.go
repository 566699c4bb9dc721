package main

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/internal/api"
)

// unreachable returns an endpoint where no server listens.
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

// TestList_CutStreamIsAnError checks that an incomplete list is an error for the commands
// too. Package client tests each way in which a list may be incomplete.
func TestList_CutStreamIsAnError(t *testing.T) {
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request) bool {
		fmt.Fprintln(w, `{"key":"a","value":"1"}`)
		return true
	})
	for _, args := range [][]string{{"ls", "--values"}, {"export", "-"}} {
		wantFailure(t, runKvorum(t, "", append(args, endpoints(f))...), exitError, "listing broke off: its last line is missing after 1 keys")
	}
}

// TestList_WithoutChunks checks that a list without chunks and a length, as over HTTP/1.0,
// is complete if it has its last line, and that import accepts it.
func TestList_WithoutChunks(t *testing.T) {
	const lines = `{"key":"a","value":"1"}` + "\n" + `{"end":true,"count":1,"next":"b"}` + "\n"
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/kv/" {
			return false
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			fmt.Fprintf(conn, "HTTP/1.0 200 OK\r\nKvorum-Node: n1\r\n\r\n%s", lines)
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
	for _, want := range []string{"node           n1", "ready          yes", "leader         n1 (h:1)",
		"commands       understands version 3, announces 2, writes 1, held back by n2, n3", "settings       history.max_age=1h0m0s max_request_ops=256\n", "n2    h:2   p:2   no     no"} {
		if !strings.Contains(out, want) {
			t.Errorf("status: got %q, want it to hold %q", out, want)
		}
	}
	if out := mustRun(t, "", "status", "--json", endpoints(f)); !strings.HasPrefix(out, `{"id":"n1"`) {
		t.Errorf("status --json: got %q", out)
	}
	if out := mustRun(t, "", "members", endpoints(f)); !strings.HasPrefix(out, "NAME  HTTP  PEER  VOTER  LEADER  COMMANDS\nn1    h:1   p:1   yes    yes     2\n") {
		t.Errorf("members: got %q", out)
	}
}

// TestStatus_NotReady checks that the readiness is that of the node that gave the status.
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

// TestClient_EmptyNameIsNone shows that an empty name is refused and does not mean the node
// that is asked: most likely it is a script's unset variable.
func TestClient_EmptyNameIsNone(t *testing.T) {
	f := newFake(t, nil)
	for command, advice := range map[string]string{"leave": "this node", "snapshot": "this node", "transfer": "any voter"} {
		wantFailure(t, runKvorum(t, "", command, "", endpoints(f)), exitError, "kvorum: Invalid request: id: must not be empty; leave it out for "+advice)
	}
	if n := len(f.seen()); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}

// TestClient_TextsNameFlags shows that errors of package client name flags and not fields.
func TestClient_TextsNameFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"--endpoints names no endpoint":                                                     {"get", "a", "--endpoints", ""},
		"--timeout must be greater than 0":                                                  {"get", "a", "--timeout", "0s"},
		"--ca: open /nonexistent: no such file or directory":                                {"ls", "--ca", "/nonexistent"},
		"--limit must not be negative":                                                      {"ls", "--limit=-1"},
		`--consistency "eventual" is none of: linearizable, leader, stale`:                  {"get", "a", "--consistency", "eventual"},
		"--max-stale is for --consistency stale only":                                       {"ls", "--max-stale", "1s"},
		"--max-stale must not be negative":                                                  {"export", "-", "--max-stale=-1s"},
		`endpoint "ftp://x" is not host:port, http://host:port or https://host:port`:        {"import", "-", "--endpoints", "ftp://x"},
		"name the node, or give the one endpoint of the node that is to leave":              {"leave", "--endpoints", "a:1,b:1"},
		"name the node, or give its one endpoint: another node's snapshot makes no room on": {"snapshot", "--endpoints", "a:1,b:1"},
	} {
		wantFailure(t, runKvorum(t, "", args...), exitUsage, "kvorum: "+want)
	}
}

// TestSnapshot_OfTheNodeAsked checks that no other node is asked if a node has no room for a
// snapshot.
func TestSnapshot_OfTheNodeAsked(t *testing.T) {
	full := newFake(t, func(w http.ResponseWriter, _ *http.Request) bool {
		answerProblem(w, http.StatusInsufficientStorage, api.Problem{
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

// TestClient_ReadLevels checks the request of each command that reads.
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
