package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/internal/testkit"
)

// tree returns the regular files below dir.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		found[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestExport_NoKeyEscapes exports keys that can't be the name of a file below a directory.
func TestExport_NoKeyEscapes(t *testing.T) {
	f := newFake(t, nil)
	bad := []string{"../up", "/etc/x", "a/../../up", ".", "..", "d//e", "d/", "/", "d/./e", "nul\x00", strings.Repeat("n", 300)}
	for _, key := range bad {
		f.set(map[string]string{key: "evil"})
	}
	f.set(map[string]string{"fine": "1", "link/x": "through a link", "clash": "2", "clash/below": "3"})
	outer := t.TempDir()
	dir, elsewhere := filepath.Join(outer, "out"), t.TempDir()
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	r := runKvorum(t, "", "export", dir, endpoints(f))
	want := fmt.Sprintf("exported 2, failed %d, ", len(bad)+2)
	if r.code != exitError || !strings.HasPrefix(r.stdout, want) {
		t.Errorf("got exit code %d, stdout %q, want it to begin with %q; stderr: %s", r.code, r.stdout, want, r.stderr)
	}
	if err := os.Remove(filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	wantKV(t, tree(t, outer), map[string]string{"out/fine": "1", "out/clash": "2"})
	wantKV(t, tree(t, elsewhere), nil)
}

// TestExport_NamesClashes checks that a key whose file can't exist beside another key's file
// is listed with the cause.
func TestExport_NamesClashes(t *testing.T) {
	f := newFake(t, nil)
	f.set(map[string]string{"t/a": "1", "t/a/b/c": "2", "t/a/x": "3", "t/line\nbreak": "4", "t/line\nbreak/x": "5", "there": "6"})
	for _, force := range []bool{false, true} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "there", "x"), "old")
		r := runKvorum(t, "", "export", dir, fmt.Sprintf("--force=%t", force), endpoints(f))
		want := `failed: t/a/b/c: clashes with the file t/a
failed: t/a/x: clashes with the file t/a
failed: "t/line\nbreak/x": clashes with the file "t/line\nbreak"
failed: there: clashes with the directory of that name
kvorum: 4 of 6 keys failed
`
		if r.code != exitError || r.stderr != want {
			t.Errorf("force %t: got exit code %d and stderr\n%swant\n%s", force, r.code, r.stderr, want)
		}
		wantKV(t, tree(t, dir), map[string]string{"t/a": "1", "t/line\nbreak": "4", "there/x": "old"})
	}
}

func TestExport_ReplacesOnlyWithForce(t *testing.T) {
	f := newFake(t, nil)
	f.set(map[string]string{"a": "new", "b": "new"})
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "tree", "a"), "old")
	writeFile(t, filepath.Join(dir, "lines"), "old")

	r := runKvorum(t, "", "export", filepath.Join(dir, "tree"), endpoints(f))
	if r.code != exitError || !strings.Contains(r.stderr, "failed: a: file exists; --force replaces it") {
		t.Errorf("directory: got exit code %d, stderr %q", r.code, r.stderr)
	}
	wantFailure(t, runKvorum(t, "", "export", filepath.Join(dir, "lines"), endpoints(f)), exitError, "exists already; --force replaces it")
	wantKV(t, tree(t, dir), map[string]string{"tree/a": "old", "tree/b": "new", "lines": "old"})

	mustRun(t, "", "export", filepath.Join(dir, "tree"), "--force", endpoints(f))
	mustRun(t, "", "export", filepath.Join(dir, "lines"), "--force", endpoints(f))
	lines := `{"key":"a","value":"new"}` + "\n" + `{"key":"b","value":"new"}` + "\n"
	wantKV(t, tree(t, dir), map[string]string{"tree/a": "new", "tree/b": "new", "lines": lines})
}

// TestExport_CutStreamLeavesNoFile checks that a file is complete or absent.
func TestExport_CutStreamLeavesNoFile(t *testing.T) {
	cut := newFake(t, func(w http.ResponseWriter, _ *http.Request) bool {
		fmt.Fprintln(w, `{"key":"a","value":"1"}`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	dir := t.TempDir()
	wantFailure(t, runKvorum(t, "", "export", filepath.Join(dir, "lines"), endpoints(cut)), exitError, "listing broke off")
	writeFile(t, filepath.Join(dir, "kept"), "old")
	wantFailure(t, runKvorum(t, "", "export", filepath.Join(dir, "kept"), "--force", endpoints(cut)), exitError, "listing broke off")
	wantFailure(t, runKvorum(t, "", "export", filepath.Join(dir, "none", "lines"), endpoints(newFake(t, nil))), exitError, "no such file")
	wantKV(t, tree(t, dir), map[string]string{"kept": "old"})
}

func TestExport_EmptyAndUnwritable(t *testing.T) {
	f := newFake(t, nil)
	name := filepath.Join(t.TempDir(), "lines")
	if out := mustRun(t, "", "export", name, endpoints(f)); !strings.HasPrefix(out, "exported 0, failed 0") {
		t.Errorf("got %q", out)
	}
	wantKV(t, tree(t, filepath.Dir(name)), map[string]string{"lines": ""})

	f.set(map[string]string{"a": "1"})
	var stderr testkit.Log
	if code := run(context.Background(), []string{"export", "-", endpoints(f)}, nil, failingWriter{}, &stderr); code != exitError {
		t.Errorf("to a closed pipe: got exit code %d, want 1; stderr: %s", code, stderr.String())
	}
}
