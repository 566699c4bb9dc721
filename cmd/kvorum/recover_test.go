package main

import (
	"path/filepath"
	"strings"
	"testing"
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
