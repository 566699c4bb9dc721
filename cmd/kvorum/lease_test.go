package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kvorum/kvorum/internal/api"
)

// leasing answers requests about leases.
func leasing(w http.ResponseWriter, r *http.Request) bool {
	const lease = `{"lease":"00000000000004d2","ttl":"30s"`
	w.Header().Set("Kvorum-Revision", "9")
	switch {
	case r.Method == http.MethodDelete:
		fmt.Fprint(w, `{"deleted":3,"revision":9}`)
	case r.URL.Query().Has("after"):
		fmt.Fprint(w, `{"leases":[{"lease":"ffffffffffffffff","ttl":"2s"}],"more":false}`)
	case r.URL.Path == "/leases" && r.Method == http.MethodGet:
		fmt.Fprint(w, `{"leases":[`+lease+`}],"more":true}`)
	case r.URL.Query().Has("keys"):
		fmt.Fprint(w, lease+`,"ttl_ms":29500,"keys":[{"key":"a b"},{"key_b64":"/w=="}]}`)
	case r.Method == http.MethodGet:
		fmt.Fprint(w, lease+`,"ttl_ms":29500}`)
	default:
		fmt.Fprint(w, lease+"}")
	}
	return true
}

// TestLease_Commands checks the request and the output of each command about leases.
func TestLease_Commands(t *testing.T) {
	const id = "00000000000004d2"
	for _, test := range []struct{ command, sent, want string }{
		{"lease grant 30s", "POST /leases", id + "\n"},
		{"lease grant 30s --id " + id + " -o json", "POST /leases", `{"lease":"` + id + `","ttl":"30s"}` + "\n"},
		{"lease grant 30s -o table", "POST /leases", "LEASE             TTL\n" + id + "  30s\n"},
		{"lease revoke " + id, "DELETE /leases/" + id, "revoked, 3 keys deleted, revision 9\n"},
		{"lease keep-alive --once " + id, "POST /leases/" + id + "/keepalive", "kept alive, ttl 30s\n"},
		{"lease ttl " + id, "GET /leases/" + id, "LEASE             TTL  LEFT\n" + id + "  30s  29.5s\n"},
		{"lease ttl --keys " + id, "GET /leases/" + id, "LEASE             TTL  LEFT\n" + id + "  30s  29.5s\na b\n\"\\xff\"\n"},
		{"lease ttl -o json " + id, "GET /leases/" + id, `{"lease":"` + id + `","ttl":"30s","ttl_ms":29500}` + "\n"},
		{"lease ttl --keys -o json " + id, "GET /leases/" + id, `{"lease":"` + id + `","ttl":"30s","ttl_ms":29500,"keys":[{"key":"a b"},{"key_b64":"/w=="}]}` + "\n"},
		{"lease list", "GET /leases GET /leases", id + "\nffffffffffffffff\n"},
		{"lease list -o json", "GET /leases GET /leases", `{"lease":"` + id + `","ttl":"30s"}` + "\n" + `{"lease":"ffffffffffffffff","ttl":"2s"}` + "\n"},
		{"put k v --lease " + id, "PUT /kv/k", "replaced, revision 9\n"},
	} {
		f := newFake(t, leasing)
		if got := mustRun(t, "", append(strings.Fields(test.command), endpoints(f))...); got != test.want {
			t.Errorf("%s: got\n%swant\n%s", test.command, got, test.want)
		}
		if got := strings.Join(f.seen(), " "); got != test.sent {
			t.Errorf("%s: sent %s, want %s", test.command, got, test.sent)
		}
		if f.queries[0] != "lease="+id && strings.HasPrefix(test.command, "put") {
			t.Errorf("%s: sent %s", test.command, f.queries[0])
		}
	}
}

// TestLease_CommandsRefuse checks that bad arguments are errors of use, and that nothing is sent.
func TestLease_CommandsRefuse(t *testing.T) {
	f := newFake(t, leasing)
	const form = "must be the id of a lease: 16 hexadecimal digits in lower case, such as 00000000000004d2"
	for _, test := range []struct{ command, want string }{
		{"lease grant 30", "is a number without a unit, and must be a duration with its unit, such as 30s, 1500ms or 1h30m"},
		{"lease grant 0s", "is 0s, and must be greater than 0"},
		{"lease grant 1.5ms", "is 1.5ms, which is no whole number of milliseconds"},
		{"lease grant 2500001h", "the maximum is 2500000h"},
		{"lease grant", "wrong number of arguments"},
		{"lease grant 30s --id 4d2", form},
		{"lease grant 30s -o xml", "is none of: table, json, raw"},
		{"lease revoke 4d2", form},
		{"lease revoke 0000000000000000", "is 0, which is no lease"},
		{"lease keep-alive 00000000000004D2", form},
		{"lease ttl x", form},
		{"lease ttl 00000000000004d2 -o raw", "is none of: table, json"},
		{"lease list x", "wrong number of arguments"},
		{"lease renew", `unknown command "renew"`},
		{"put k v --lease 7", form},
		{"touch k --ttl 1s --lease 00000000000004d2", "unknown flag: --lease"},
	} {
		wantFailure(t, runKvorum(t, "", append(strings.Fields(test.command), endpoints(f))...), exitUsage, test.want)
	}
	if seen := f.seen(); len(seen) != 0 {
		t.Errorf("sent %q", seen)
	}
}

// TestLease_KeepAliveLost checks that keep-alive ends with an error once the lease is lost.
func TestLease_KeepAliveLost(t *testing.T) {
	var kept atomic.Int32
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request) bool {
		if kept.Add(1) > 2 {
			answerProblem(w, http.StatusNotFound, api.Problem{Title: "Lease not found", Detail: "the lease does not exist", Code: "lease_not_found", Outcome: "not_done"})
			return true
		}
		fmt.Fprint(w, `{"lease":"00000000000004d2","ttl":"300ms"}`)
		return true
	})
	r := runKvorum(t, "", "lease", "keep-alive", "00000000000004d2", endpoints(f))
	if r.code != exitError || r.stdout != "kept alive, ttl 300ms\n" || !strings.HasPrefix(r.stderr, "kvorum: the lease 00000000000004d2 is lost: ") {
		t.Errorf("got exit code %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
	}
	r = runKvorum(t, "", "lease", "keep-alive", "00000000000004d2", endpoints(f))
	wantFailure(t, r, exitError, "the lease does not exist")
}
