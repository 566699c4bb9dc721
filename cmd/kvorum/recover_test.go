package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/cluster/recovery"
)

func TestRecover(t *testing.T) {
	dir, other := closedNode(t), closedNode(t)
	check := func(what string, wantCode int, want []string, args ...string) {
		t.Helper()
		code, out := runOn(t, append([]string{"recover"}, args...)...)
		if code != wantCode {
			t.Errorf("%s: exit %d, want %d: %s", what, code, wantCode, out)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: %q is not in %s", what, w, out)
			}
		}
	}
	check("no directory", 2, []string{"name the data directories"})
	empty := t.TempDir()
	check("no node", 1, []string{"kvorum: directory holds no node: " + empty + "\n"}, empty)
	wantKV(t, tree(t, empty), nil)
	nameless := t.TempDir()
	writeFile(t, filepath.Join(nameless, "wal", "MANIFEST"), "")
	check("data without identity", 1, []string{"no node.json", nameless}, nameless)
	check("two clusters", 1, []string{"is of cluster", dir, other}, dir, other)
	check("survey", 0, []string{"n1", "Every acknowledged write", "Nothing was changed"}, dir)
	_, before := runCheck(t, dir)
	check("survey again", 0, []string{"Nothing was changed"}, dir)
	if _, after := runCheck(t, dir); after != before {
		t.Errorf("the survey has changed\n%sto\n%s", before, after)
	}
	check("confirmed", 0, []string{"n1 is the only member of the new cluster"}, dir, "--confirm")
	if _, after := runCheck(t, dir); after == before {
		t.Error("nothing has changed")
	}
}

// TestVerdict shows the texts about lost writes, and their reasons.
func TestVerdict(t *testing.T) {
	node := func(name string) recovery.Survivor {
		return recovery.Survivor{Dir: name, Name: name, Incarnation: "1", LastIndex: 9, Voters: []string{"n1.1", "n2.1", "n3.1"}}
	}
	cut, begun, changed, empty, alone := node("n2"), node("n2"), node("n1"), node("n1"), node("n1")
	cut.LostTail, begun.Interrupted = true, true
	changed.Voters, changed.PreviousVoters = []string{"n1.1"}, changed.Voters
	empty.Voters = nil
	alone.Voters, alone.Interrupted = []string{"n1.1"}, true
	const lost = "Acknowledged writes MAY BE LOST: "
	for _, tc := range []struct {
		survivors []recovery.Survivor
		want      []string
	}{
		{[]recovery.Survivor{node("n1"), node("n2")}, []string{"Every acknowledged write is in one of these directories"}},
		{[]recovery.Survivor{node("n1")}, []string{lost + "of 3 voters too few are left"}},
		{[]recovery.Survivor{node("n1"), cut}, []string{lost + "of 3 voters", "The log of n2 has lost its end"}},
		{[]recovery.Survivor{node("n1"), begun}, []string{lost + "of 3 voters", "A recovery of n2 was interrupted"}},
		{[]recovery.Survivor{changed}, []string{lost + "of 1 voters, or of 3 before the newest change"}},
		{[]recovery.Survivor{empty}, []string{lost + "no directory says"}},
		{[]recovery.Survivor{alone}, []string{lost + "an earlier recovery of n1 was interrupted"}},
	} {
		got := verdict(tc.survivors, tc.survivors[0])
		for _, want := range tc.want {
			if !strings.Contains(got, want) {
				t.Errorf("%+v: %q is not in %s", tc.survivors, want, got)
			}
		}
	}
}
