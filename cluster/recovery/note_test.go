package recovery_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

const incarnation = "0123456789abcdef"

var quiet = slog.New(slog.DiscardHandler)

// moved are the names of all files of an incarnation, in the order in which they are set
// aside.
func moved() []string {
	return append(append([]string{nodeid.File}, raftstore.Names()...), noteFile)
}

// newDisk returns a disk with a durable directory "/data" that has all files of an
// incarnation except the note.
func newDisk(t testing.TB) *crashfs.FS {
	t.Helper()
	disk := crashfs.New()
	for _, name := range moved() {
		if name == noteFile {
			continue
		}
		if err := wal.MakeDir(disk, filepath.Join("/data", name)); err != nil {
			t.Fatal(err)
		}
	}
	return disk
}

// TestNote_IsKept writes notes: each is durable and counted, and a forgotten one is gone.
func TestNote_IsKept(t *testing.T) {
	disk := newDisk(t)
	want := recovery.Note{Incarnation: incarnation, Index: 7, Own: "00000000000000aa", Majority: "00000000000000bb"}
	for want.Times = 1; want.Times <= 2; want.Times++ {
		written := want
		written.Times = 99 // WriteNote ignores it
		if err := recovery.WriteNote(disk, "/data", written); err != nil {
			t.Fatal(err)
		}
		disk = disk.Crash(crashfs.CrashOptions{})
		if got, err := recovery.ReadNote(disk, "/data"); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	for range 2 { // the second one finds none
		if err := recovery.ForgetNote(disk, "/data"); err != nil {
			t.Fatal(err)
		}
		if got, err := recovery.ReadNote(disk, "/data"); err != nil || got != (recovery.Note{}) {
			t.Errorf("got %+v, %v, want none", got, err)
		}
	}
	lost := recovery.Note{Incarnation: incarnation, Index: 9, LostTail: "it ends at 4"}
	if err := recovery.WriteNote(disk, "/data", lost); err != nil {
		t.Fatal(err)
	}
	lost.Times = 2
	if got, err := recovery.ReadNote(disk, "/data"); err != nil || got != lost {
		t.Errorf("got %+v, %v, want %+v", got, err, lost)
	}
}

// TestNote_Refused shows that every reader refuses a damaged note and one of a newer format.
// The error names the file. The note and all other files stay as they are.
func TestNote_Refused(t *testing.T) {
	path := filepath.Join("/data", noteFile)
	newer, err := sealed.Encode(noteFormat+1, map[string]string{"zone": "a"})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"newer": newer, "damaged": bytes.Replace(newer, []byte("zone"), []byte("zonf"), 1)} {
		disk := newDisk(t)
		if err := wal.WriteFileAtomic(disk, path, content); err != nil {
			t.Fatal(err)
		}
		_, read := recovery.ReadNote(disk, "/data")
		for _, err := range []error{
			read, recovery.ActOnNote(disk, "/data", quiet), recovery.WriteNote(disk, "/data", recovery.Note{Incarnation: incarnation}),
		} {
			var version *wal.VersionError
			if name == "newer" {
				if !errors.As(err, &version) || version.File != path || version.Found != noteFormat+1 || version.Supported != noteFormat {
					t.Errorf("%s: got %v", name, err)
				}
				for _, fact := range []string{path, fmt.Sprintf("version %d,", noteFormat+1), fmt.Sprintf("version %d", noteFormat)} {
					if err != nil && !strings.Contains(err.Error(), fact) {
						t.Errorf("%q does not say %q", err, fact)
					}
				}
			} else if !errors.As(err, &version) && !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		file, err := disk.OpenRead(path)
		if err != nil {
			t.Fatal(err)
		}
		left := make([]byte, len(content)+1)
		if n, _ := file.ReadAt(left, 0); string(left[:n]) != string(content) {
			t.Errorf("%s: the file holds %q now", name, left[:n])
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		wantNames(t, disk, moved())
	}
}

// wantNames fails the test unless "/data" has exactly these names.
func wantNames(t testing.TB, disk *crashfs.FS, want []string) {
	t.Helper()
	got, err := disk.ReadDir("/data")
	if err != nil {
		t.Fatal(err)
	}
	in := func(names []string) map[string]bool {
		set := map[string]bool{}
		for _, name := range names {
			set[name] = true
		}
		return set
	}
	if !reflect.DeepEqual(in(got), in(want)) {
		t.Errorf("the directory has %v, want %v", got, want)
	}
}

// TestActOnNote_LeavesTheRest shows that nothing is moved without a note, and after the
// first divergence, which is logged.
func TestActOnNote_LeavesTheRest(t *testing.T) {
	disk := newDisk(t)
	var lines bytes.Buffer
	log := slog.New(slog.NewTextHandler(&lines, nil))
	if err := recovery.ActOnNote(disk, "/data", log); err != nil || lines.Len() > 0 {
		t.Errorf("no note: %v, %s", err, lines.String())
	}
	if err := recovery.WriteNote(disk, "/data", recovery.Note{Incarnation: incarnation, Index: 7}); err != nil {
		t.Fatal(err)
	}
	if err := recovery.ActOnNote(disk, "/data", log); err != nil || !strings.Contains(lines.String(), "rebuilt") || !strings.Contains(lines.String(), "index=7") {
		t.Errorf("diverged once: %v, %s", err, lines.String())
	}
	wantNames(t, disk, moved())
}

// TestActOnNote_SetAsideInterrupted ends a start that sets files aside at each of its
// changes to the disk: the next start finishes it, and no files of two incarnations are mixed.
func TestActOnNote_SetAsideInterrupted(t *testing.T) {
	for at := 1; ; at++ {
		disk := newDisk(t)
		for range 2 {
			if err := recovery.WriteNote(disk, "/data", recovery.Note{Incarnation: incarnation, Index: 7}); err != nil {
				t.Fatal(err)
			}
		}
		ops := 0
		disk.SetHook(func(crashfs.Op, string) error {
			if ops++; ops >= at {
				return errFault
			}
			return nil
		})
		err := recovery.ActOnNote(disk, "/data", quiet)
		disk.SetHook(nil)
		if err == nil {
			if at < 10 {
				t.Errorf("it took %d changes only", at)
			}
			return
		}
		if !errors.Is(err, errFault) {
			t.Fatal(err)
		}
		after := disk.Crash(crashfs.CrashOptions{})
		if err := recovery.ActOnNote(after, "/data", quiet); err != nil {
			t.Fatalf("after change %d: %v", at, err)
		}
		for _, name := range moved() {
			if _, err := after.Stat(filepath.Join("/data", fmt.Sprintf(aside, incarnation+"-")+name)); err != nil {
				t.Errorf("after change %d: %v", at, err)
			}
			if _, err := after.Stat(filepath.Join("/data", name)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after change %d: %s is still there (%v)", at, name, err)
			}
		}
	}
}

// TestActOnNote_LostTail starts a node whose log has lost its end: its files are set aside
// at once. If other files have been set aside, it does not start.
func TestActOnNote_LostTail(t *testing.T) {
	disk := crashfs.New()
	for _, of := range []string{incarnation, "123456789abcdef0"} {
		if err := wal.MakeDir(disk, "/data/wal"); err != nil {
			t.Fatal(err)
		}
		if err := recovery.WriteNote(disk, "/data", recovery.Note{Incarnation: of, Index: 9, LostTail: "it ends at 4"}); err != nil {
			t.Fatal(err)
		}
		var lines bytes.Buffer
		err := recovery.ActOnNote(disk, "/data", slog.New(slog.NewTextHandler(&lines, nil)))
		if of != incarnation {
			if !errors.Is(err, recovery.ErrDivergedAgain) {
				t.Fatalf("the second time: got %v, want ErrDivergedAgain", err)
			}
			if _, err := disk.Stat("/data/wal"); err != nil {
				t.Errorf("the second log is not left: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(lines.String(), "it ends at 4") {
			t.Errorf("the log does not say why: %s", lines.String())
		}
		if _, err := disk.Stat("/data/wal"); err == nil {
			t.Error("the log is still there")
		}
		if _, err := disk.Stat("/data/" + fmt.Sprintf(aside, of+"-") + "wal"); err != nil {
			t.Errorf("the log is not kept: %v", err)
		}
	}
}
