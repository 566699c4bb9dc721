package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// members polls until every running node sees exactly the named members, all voters.
func (ps procs) waitMembers(t *testing.T, names ...string) {
	t.Helper()
	for _, p := range ps {
		testkit.Eventually(t, 60*time.Second, fmt.Sprintf("%s sees members %v", p.name, names), func() error {
			s, err := p.status()
			if err != nil {
				return err
			}
			var got []string
			for _, m := range s.Members {
				if m.Voter {
					got = append(got, m.ID)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(names) || len(s.Members) != len(names) {
				return fmt.Errorf("members: %+v", s.Members)
			}
			return nil
		})
	}
}

// TestMembership shows the life of a cluster: every address changes with a restart, a node
// joins by command through a follower, the leader leaves, a removed node is not admitted
// again, and a wiped node comes back as a new incarnation and votes. The data is there all
// the time.
func TestMembership(t *testing.T) {
	ps := newProcs(t, 3)
	mustPut := func(p *proc, key string) {
		t.Helper()
		if resp, err := p.put(key, "value of "+key); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("put %s through %s: %v %v", key, p.name, resp, err)
		}
	}
	check := func(at procs, keys ...string) {
		t.Helper()
		for _, p := range at {
			for _, key := range keys {
				if resp, body, err := p.get(key, ""); err != nil || body != "value of "+key {
					t.Fatalf("get %s from %s: %v %q %v", key, p.name, resp, body, err)
				}
			}
		}
	}
	mustPut(ps[0], "first")

	// Every address changes.
	for _, p := range ps {
		if err := p.stop(t); err != nil {
			t.Fatalf("stop %s: %v", p.name, err)
		}
	}
	for _, p := range ps {
		p.ip = loopback()
	}
	for _, p := range ps {
		p.extra = []string{"--join", net.JoinHostPort(ps[0].ip, "6001")}
		p.start(t)
	}
	ps.waitReady(t)
	check(ps, "first")

	// A fourth node is joined by command, through a follower.
	fourth := &proc{name: "n4", ip: loopback(), dir: t.TempDir(), logs: new(testkit.Log)}
	fourth.start(t)
	t.Cleanup(fourth.kill)
	testkit.Eventually(t, 20*time.Second, "n4 answers", func() error { _, err := fourth.status(); return err })
	if _, stderr, err := kvorum(t, "join", "--id", "n4", "--peer-addr", net.JoinHostPort(fourth.ip, "7001"),
		"--http-addr", fourth.http(), "--endpoints", ps.followers(t)[0].http()); err != nil {
		t.Fatalf("join: %v %s", err, stderr)
	}
	all := append(ps[:3:3], fourth)
	all.waitReady(t)
	all.waitMembers(t, "n1", "n2", "n3", "n4")
	check(all, "first")
	mustPut(fourth, "second")

	// The leader leaves: its process ends with success and is not admitted again.
	leader := all.leader(t)
	if _, stderr, err := kvorum(t, "leave", "--endpoints", leader.http()); err != nil {
		t.Fatalf("leave of the leader: %v %s", err, stderr)
	}
	if err := leader.wait(t, 30*time.Second); err != nil {
		t.Errorf("the leader that left exits with %v, want 0", err)
	}
	var rest procs
	var names []string
	for _, p := range all {
		if p != leader {
			rest, names = append(rest, p), append(names, p.name)
		}
	}
	rest.waitMembers(t, names...)
	check(rest, "first", "second")
	leader.extra = []string{"--join", net.JoinHostPort(rest[0].ip, "6001")}
	leader.start(t)
	if err := leader.wait(t, 30*time.Second); err == nil || !strings.Contains(leader.logs.Tail(300), "empty its data directory "+leader.dir) {
		t.Errorf("started again, the leader that left exits with %v, want an error that says what to do", err)
	}
	rest.waitMembers(t, names...)

	// A node's disk is lost: it comes back under its name as a new incarnation.
	wiped := rest.followers(t)[0]
	wiped.kill()
	if err := os.RemoveAll(wiped.dir); err != nil {
		t.Fatal(err)
	}
	mustPut(rest.others(wiped)[0], "third")
	wiped.extra = []string{"--join", net.JoinHostPort(rest.others(wiped)[0].ip, "6001")}
	wiped.start(t)
	rest.waitReady(t)
	rest.waitMembers(t, names...)
	check(rest, "first", "second", "third")

	if _, stderr, err := kvorum(t, "leave", "nobody", "--endpoints", rest[0].http()); err == nil {
		t.Error("leave of an unknown node succeeds")
	} else {
		t.Logf("leave of an unknown node: %s", stderr)
	}
}

// others returns all but p.
func (ps procs) others(p *proc) procs {
	var rest procs
	for _, q := range ps {
		if q != p {
			rest = append(rest, q)
		}
	}
	return rest
}
