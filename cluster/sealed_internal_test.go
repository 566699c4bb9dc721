package cluster

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
)

// TestPlan_NewerFormat shows that a bootstrap plan of a newer format is refused. The error
// names the file, the version that was found and the one that is known, and the file stays
// as it is. (raftstore, discovery, recovery and nodeid test their files.)
func TestPlan_NewerFormat(t *testing.T) {
	files, path := newDataDir(t), planPath("data")
	content, err := sealed.Encode(planFormat+1, map[string]string{"zone": "a"})
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, files, path, content)
	_, err = loadPlan(files, "data")
	var version *wal.VersionError
	if !errors.As(err, &version) || version.File != path || version.Found != planFormat+1 || version.Supported != planFormat {
		t.Fatalf("got %v", err)
	}
	for _, fact := range []string{path, fmt.Sprintf("version %d,", planFormat+1), fmt.Sprintf("version %d", planFormat)} {
		if !strings.Contains(err.Error(), fact) {
			t.Errorf("%q does not say %q", err, fact)
		}
	}
	if left := mustRead(t, files, path); string(left) != string(content) {
		t.Errorf("the file holds %q now", left)
	}
}

func mustRead(t *testing.T, files wal.FS, path string) []byte {
	t.Helper()
	file, err := files.OpenRead(path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return content
}
