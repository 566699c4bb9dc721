package cluster

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
)

// TestSealed_NewerFormat shows that a file of a newer format is refused, whichever of a
// node's own files it is (raftstore, discovery and nodeid test theirs). The error names the
// file, the version that was found and the one that is known, and the file stays as it is.
func TestSealed_NewerFormat(t *testing.T) {
	for _, f := range []struct {
		path   string
		format int
		load   func(files wal.FS) error
	}{
		{planPath("data"), planFormat, func(files wal.FS) error {
			_, err := loadPlan(files, "data")
			return err
		}},
		{filepath.Join("data", divergenceFile), divergenceFormat, func(files wal.FS) error {
			_, err := loadDivergence(files, "data")
			return err
		}},
	} {
		files := newDataDir(t)
		content, err := sealed.Encode(f.format+1, map[string]string{"zone": "a"})
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, files, f.path, content)
		err = f.load(files)
		var version *wal.VersionError
		if !errors.As(err, &version) || version.File != f.path || version.Found != uint32(f.format)+1 || version.Supported != uint32(f.format) {
			t.Errorf("%s: got %v", f.path, err)
			continue
		}
		for _, fact := range []string{f.path, fmt.Sprintf("version %d,", f.format+1), fmt.Sprintf("version %d", f.format)} {
			if !strings.Contains(err.Error(), fact) {
				t.Errorf("%s: %q does not say %q", f.path, err, fact)
			}
		}
		if left := mustRead(t, files, f.path); string(left) != string(content) {
			t.Errorf("%s: holds %q now", f.path, left)
		}
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
