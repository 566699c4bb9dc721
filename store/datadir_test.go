package store_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// asNobody says whether the test runs without the rights of root. As root it runs
// the test in another process without them, fails if that one does, and says no.
func asNobody(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	child := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v") // its directory may be root's alone
	child.Env = append(os.Environ(), "TMPDIR=/tmp")
	child.Dir = "/"
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
	return false
}

// chmod changes the rights of a file or directory until the end of the test.
func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(path, info.Mode()) }) // so that it can be removed
}

// TestDataDir_Rights shows that a data directory that may not be made, or written
// to, is an error that names it; and that one below a directory which may be
// passed but not read is none.
func TestDataDir_Rights(t *testing.T) {
	if !asNobody(t) {
		return
	}
	dir := t.TempDir()
	locked := filepath.Join(dir, "locked")
	if err := os.MkdirAll(filepath.Join(locked, "old"), 0o700); err != nil {
		t.Fatal(err)
	}
	chmod(t, locked, 0o500)
	for _, path := range []string{filepath.Join(locked, "new"), locked} {
		if s, err := store.New(store.WithDataDir(path)); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), locked) {
			t.Errorf("New in %s: got %v, %v", path, s, err)
		}
	}
	chmod(t, dir, 0o300)
	for range 2 { // made, and found
		s := mustNew(t, store.WithDataDir(filepath.Join(dir, "data")))
		mustSet(t, s, "k", "v")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDataDir_Nested shows that a synced write survives a loss of power where
// several levels of the data directory were new.
func TestDataDir_Nested(t *testing.T) {
	files := crashfs.New()
	opts := append(persistent(files, true), store.WithDataDir("srv/app/data"))
	s := mustNew(t, opts...)
	mustSet(t, s, "k", "v")
	left := files.Crash(crashfs.CrashOptions{})
	s = mustNew(t, append(opts, store.WithFS(left))...)
	expect(t, s, "k", "v")
}

// TestDataDir_Strays shows that files beside a store's snapshots, whose names only
// look like theirs, are passed over by New and Check, and stay.
func TestDataDir_Strays(t *testing.T) {
	dir := t.TempDir()
	s := mustNew(t, store.WithDataDir(dir))
	mustSet(t, s, "k", "v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var strays []string
	for _, name := range []string{
		"snapshot-0000000000000009.snap.bak", "snapshot-9.snap", "snapshot-+000000000000009.snap",
		"snapshot-0000000000000009.snap.bak.tmp", "notes.tmp", "notes",
	} {
		path := filepath.Join(dir, "snapshots", name)
		strays = append(strays, path)
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unfinished := filepath.Join(dir, "snapshots", "snapshot-0000000000000009.snap.tmp")
	if err := os.WriteFile(unfinished, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if report, err := store.Check(dir); err != nil || len(report.Snapshots) != 1 {
		t.Errorf("Check: got %+v, %v", report, err)
	}
	s = mustNew(t, store.WithDataDir(dir))
	mustHave(t, s, contents{"k": "v"})
	mustSet(t, s, "k", "w") // and the snapshot of Close removes older ones
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range strays {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(unfinished); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what an interrupted snapshot left: got %v", err)
	}
}

// checkAsNew checks that Check and New refuse a directory with the same words.
func checkAsNew(t *testing.T, dir string, mode store.PersistenceMode, want string) {
	t.Helper()
	_, checked := store.Check(dir)
	s, opened := store.New(store.WithDataDir(dir), store.WithPersistenceMode(mode))
	if opened == nil {
		_ = s.Close()
	}
	for call, err := range map[string]error{"Check": checked, "New": opened} {
		if !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrForeign) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want damage of %s", call, err, want)
		}
	}
}

// TestCheck_AsNew shows that Check finds what New does besides damaged bytes.
func TestCheck_AsNew(t *testing.T) {
	for name, tt := range map[string]struct {
		mode   store.PersistenceMode
		damage func(dir string) error
		want   string
	}{
		"RenamedSnapshot": {store.PersistenceSnapshot, func(dir string) error {
			return os.Rename(filepath.Join(dir, "snapshots/snapshot-0000000000000001.snap"), filepath.Join(dir, "snapshots/snapshot-0000000000000007.snap"))
		}, "holds sequence 1"},
		"NoSnapshot": {store.PersistenceSnapshot, func(dir string) error {
			return os.RemoveAll(filepath.Join(dir, "snapshots"))
		}, "snapshot-0000000000000001.snap"},
		"NoLog":   {store.PersistenceWAL, func(dir string) error { return os.RemoveAll(filepath.Join(dir, "wal")) }, "MANIFEST"},
		"NoFloor": {store.PersistenceWAL, func(dir string) error { return os.Remove(filepath.Join(dir, "FLOOR")) }, "FLOOR"},
		"ForeignLog": {store.PersistenceWAL, func(dir string) error {
			dir = filepath.Join(dir, "wal")
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			w, err := wal.Open(dir, wal.Options{Owner: wal.Owner{Node: "n1"}})
			if err != nil {
				return err
			}
			return w.Close()
		}, `node "n1"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustNew(t, store.WithDataDir(dir), store.WithPersistenceMode(tt.mode))
			mustSet(t, s, "k", "v")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := store.Check(dir); err != nil {
				t.Fatal(err)
			}
			if err := tt.damage(dir); err != nil {
				t.Fatal(err)
			}
			checkAsNew(t, dir, tt.mode, tt.want)
		})
	}
}

// TestCheck_ReadOnly shows that a directory is checked that may not be written to,
// with a lock file or without, and that it stays as it is.
func TestCheck_ReadOnly(t *testing.T) {
	if !asNobody(t) {
		return
	}
	dir := t.TempDir()
	s := mustNew(t, store.WithDataDir(dir), store.WithPersistenceMode(store.PersistenceWAL))
	mustSet(t, s, "k", "v")
	if err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	mustSet(t, s, "k", "w")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(dir, "LOCK")
	for _, locked := range []bool{true, false} {
		if !locked {
			if err := os.Remove(lock); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(map[bool]string{true: "LOCK", false: "NoLOCK"}[locked], func(t *testing.T) {
			protect(t, dir)
			report, err := store.Check(dir)
			if err != nil || len(report.Snapshots) != 1 || report.Log == nil || report.Log.Last != 2 {
				t.Errorf("got %+v, %v", report, err)
			}
		})
	}
	held, err := dirlock.Acquire(dir) // by one who may write
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	protect(t, dir)
	if _, err := store.Check(dir); !errors.Is(err, store.ErrDataDirInUse) {
		t.Errorf("while somebody has it open: got %v", err)
	}
}

// protect takes the right to write away from a directory and all in it.
func protect(t *testing.T, dir string) {
	t.Helper()
	modes := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		modes[path] = 0o400
		if err == nil && d.IsDir() {
			modes[path] = 0o500
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, mode := range modes {
		chmod(t, path, mode)
	}
}

// TestStore_InUse shows that two stores don't share a directory.
func TestStore_InUse(t *testing.T) {
	dir := t.TempDir()
	mustNew(t, store.WithDataDir(dir))
	if _, err := store.New(store.WithDataDir(dir)); !errors.Is(err, store.ErrDataDirInUse) {
		t.Errorf("got %v", err)
	}
}
