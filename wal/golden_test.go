package wal_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/kvorum/kvorum/wal"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

const goldenDir = "testdata/golden"

// goldenModel is the content of the golden log.
func goldenModel() model {
	m := model{}.append(100, batch(100, 0, 0, 1, 30))
	m = m.append(103, []wal.Frame{{Type: wal.RecordTypePut, Payload: []byte("put")}, {Type: wal.RecordTypeDelete}})
	m = m.append(105, batch(105, 0, 850))
	return m.append(106, []wal.Frame{{Type: wal.RecordTypeBatch, Payload: []byte("batch")}})
}

// writeGolden makes the golden log: two segments and a marker.
func writeGolden(t *testing.T, dir string) {
	t.Helper()
	w, err := wal.Open(dir, testOptions(wal.OS()))
	if err != nil {
		t.Fatal(err)
	}
	m := goldenModel()
	for at := 0; at < len(m.frames); {
		n := []int{3, 0, 0, 2, 0, 1, 1}[at]
		mustAppend(t, w, m.first+uint64(at), m.frames[at:at+n])
		at += n
	}
	if err := w.TruncateFront(101); err != nil {
		t.Fatal(err)
	}
	mustClose(t, w)
}

// TestGolden reads files of an earlier release, and writes the same bytes again.
func TestGolden(t *testing.T) {
	dir := t.TempDir()
	if *update {
		if err := os.RemoveAll(goldenDir); err != nil {
			t.Fatal(err)
		}
		writeGolden(t, goldenDir)
		_ = os.Remove(filepath.Join(goldenDir, "wal-0000000000000003.log")) // prepared, perhaps
	}
	writeGolden(t, dir)
	entries, err := os.ReadDir(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3 {
		t.Fatalf("got %d golden files, want a manifest and two segments", len(entries))
	}
	old := t.TempDir()
	for _, e := range entries {
		want, err := os.ReadFile(filepath.Join(goldenDir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from what is written today: the format has changed", e.Name())
		}
		if err := os.WriteFile(filepath.Join(old, e.Name()), want, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w, err := wal.Open(old, testOptions(wal.OS()))
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, w)
	mustEqual(t, w, goldenModel().truncateFront(101))
}
