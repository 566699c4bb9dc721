package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/wal"
)

// TestSealed_NewerFormat shows that a file of a newer format is refused, whichever
// of a node's files it is: the error names the file, the version that was found and
// the one that is known, and the file stays as it is.
func TestSealed_NewerFormat(t *testing.T) {
	const id = "2-7-1"
	snapshots := filepath.Join("data", snapshotsDir)
	for _, f := range []struct {
		path   string
		format int
		load   func(files wal.FS) error
	}{
		{filepath.Join("data", identityFile), identityFormat, func(files wal.FS) error {
			_, _, err := loadIdentity(files, "data")
			return err
		}},
		{filepath.Join("data", floorFile), floorFormat, func(files wal.FS) error {
			_, _, err := loadFloor(files, "data")
			return err
		}},
		{planPath("data"), planFormat, func(files wal.FS) error {
			_, err := loadPlan(files, "data")
			return err
		}},
		{filepath.Join("data", divergenceFile), divergenceFormat, func(files wal.FS) error {
			_, err := loadDivergence(files, "data")
			return err
		}},
		{filepath.Join("data", bookFile), bookFormat, func(files wal.FS) error {
			b, err := openAddressBook(files, filepath.Join("data", bookFile), slog.New(slog.DiscardHandler))
			if err == nil {
				err = b.Close()
			}
			return err
		}},
		{filepath.Join(snapshots, id, metaFile), metaFormat, func(files wal.FS) error {
			s := &snapshotStore{fs: files, dir: snapshots, log: slog.New(slog.DiscardHandler)}
			_, err := s.load(snapshotName{id: id, term: 2, index: 7, millis: 1})
			return err
		}},
	} {
		files := newDataDir(t)
		for _, dir := range []string{snapshots, filepath.Join(snapshots, id)} {
			if err := wal.MakeDir(files, dir); err != nil {
				t.Fatal(err)
			}
		}
		content, err := sealJSON(f.format+1, map[string]string{"zone": "a"})
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
		if left, err := readSmallFile(files, f.path); err != nil || string(left) != string(content) {
			t.Errorf("%s: holds %q now, %v", f.path, left, err)
		}
	}
}
