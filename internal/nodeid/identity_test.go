package nodeid_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// format is the version of node.json.
const format = 1

var errFault = errors.New("injected fault")

// data are names of directories that only a node with an identity writes.
var data = []string{"stable", "wal", "snapshots"}

func load(files wal.FS) (nodeid.Identity, bool, error) { return nodeid.Load(files, "data", data) }

func mustMkdir(t testing.TB, files wal.FS, dir string) {
	t.Helper()
	if err := files.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
}

func mustTruncate(t testing.TB, files wal.FS, name string, size int64) {
	t.Helper()
	f, err := files.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// newDataDir returns a filesystem with a durable directory "data".
func newDataDir(t testing.TB) *crashfs.FS {
	t.Helper()
	fsys := crashfs.New()
	mustMkdir(t, fsys, "data")
	if err := fsys.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	return fsys
}

func testIdentity() nodeid.Identity {
	return nodeid.Identity{Name: "n1", Incarnation: nodeid.NewIncarnation(), Cluster: nodeid.NewClusterID()}
}

func TestIdentity_WrittenOnce(t *testing.T) {
	fsys, want := newDataDir(t), testIdentity()
	if _, found, err := load(fsys); found || err != nil {
		t.Fatalf("new directory: found %v, %v", found, err)
	}
	if err := nodeid.Write(fsys, "data", want); err != nil {
		t.Fatal(err)
	}
	fsys = fsys.Crash(crashfs.CrashOptions{})
	mustMkdir(t, fsys, "data/wal")
	if got, found, err := load(fsys); err != nil || !found || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v, %v, want %+v", got, found, err, want)
	}
	if err := nodeid.Write(fsys, "data", testIdentity()); !errors.Is(err, nodeid.ErrExists) {
		t.Fatalf("second write: got %v, want %v", err, nodeid.ErrExists)
	}
	if got, _, err := load(fsys); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("after a second write: got %+v, %v, want %+v", got, err, want)
	}
}

func TestIdentity_Invalid(t *testing.T) {
	for name, change := range map[string]func(*nodeid.Identity){
		"name":        func(id *nodeid.Identity) { id.Name = "a.b" },
		"incarnation": func(id *nodeid.Identity) { id.Incarnation = "xyz" },
		"cluster":     func(id *nodeid.Identity) { id.Cluster = "" },
	} {
		t.Run(name, func(t *testing.T) {
			fsys, id := newDataDir(t), testIdentity()
			change(&id)
			if err := nodeid.Write(fsys, "data", id); err == nil {
				t.Fatalf("%+v was written", id)
			}
			content, err := sealed.Encode(format, id)
			if err != nil {
				t.Fatal(err)
			}
			mustWrite(t, fsys, "data/node.json", content)
			if _, _, err := load(fsys); !errors.Is(err, wal.ErrCorrupt) {
				t.Fatalf("got %v, want %v", err, wal.ErrCorrupt)
			}
		})
	}
}

func mustWrite(t testing.TB, fsys wal.FS, path string, content []byte) {
	t.Helper()
	if err := wal.WriteFileAtomic(fsys, path, content); err != nil {
		t.Fatal(err)
	}
}

// TestIdentity_Missing: a directory with data but without an identity is not a new one.
func TestIdentity_Missing(t *testing.T) {
	for _, dir := range data {
		fsys := newDataDir(t)
		mustMkdir(t, fsys, "data/"+dir)
		if _, _, err := load(fsys); !errors.Is(err, nodeid.ErrMissing) || !strings.Contains(err.Error(), dir) {
			t.Fatalf("%s without node.json: got %v, want %v", dir, err, nodeid.ErrMissing)
		}
	}
	fsys := newDataDir(t)
	mustWrite(t, fsys, "data/peers.json", []byte("{}"))
	mustWrite(t, fsys, "data/LOCK", nil)
	if _, found, err := load(fsys); found || err != nil {
		t.Fatalf("hints and a lock without node.json: found %v, %v", found, err)
	}
}

// TestIdentity_Damage flips each bit of the file, and truncates it: Load never returns a
// wrong identity, and never reports that there is none.
func TestIdentity_Damage(t *testing.T) {
	fsys := newDataDir(t)
	if err := nodeid.Write(fsys, "data", testIdentity()); err != nil {
		t.Fatal(err)
	}
	info, err := fsys.Stat("data/node.json")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(damaged *crashfs.FS, at int64) {
		t.Helper()
		id, found, err := load(damaged)
		var version *wal.VersionError
		if !errors.Is(err, wal.ErrCorrupt) && !errors.As(err, &version) || !strings.Contains(err.Error(), "data/node.json") {
			t.Fatalf("damage at %d: got %+v, %v, %v, want an error that names the file", at, id, found, err)
		}
	}
	for at := range info.Size() {
		for bit := range uint(8) {
			damaged := fsys.Clone()
			if err := damaged.FlipBit("data/node.json", at, bit); err != nil {
				t.Fatal(err)
			}
			refused(damaged, at)
		}
		damaged := fsys.Clone()
		mustTruncate(t, damaged, "data/node.json", at)
		refused(damaged, at)
	}
	damaged := fsys.Clone()
	mustTruncate(t, damaged, "data/node.json", sealed.MaxBytes+1)
	refused(damaged, sealed.MaxBytes)
}

// TestIdentity_Crash loses power at each operation of Write: afterwards there is the whole
// identity or none. If Write had returned nil, there is one.
func TestIdentity_Crash(t *testing.T) {
	want := testIdentity()
	for at, more := 0, true; more; at++ {
		fsys, count := newDataDir(t), 0
		crashed := (*crashfs.FS)(nil)
		fsys.SetHook(func(crashfs.Op, string) error {
			if count++; count == at+1 {
				crashed = fsys.Crash(crashfs.CrashOptions{Keep: float64(at % 2)})
			}
			return nil
		})
		if err := nodeid.Write(fsys, "data", want); err != nil {
			t.Fatal(err)
		}
		more = crashed != nil
		if !more {
			crashed = fsys.Crash(crashfs.CrashOptions{})
		}
		got, found, err := load(crashed)
		if err != nil || found && !reflect.DeepEqual(got, want) || !found && !more {
			t.Fatalf("crash at operation %d: got %+v, %v, %v", at, got, found, err)
		}
	}
}

func TestIdentity_UnreadableIsNotNew(t *testing.T) {
	fsys := newDataDir(t)
	if err := nodeid.Write(fsys, "data", testIdentity()); err != nil {
		t.Fatal(err)
	}
	for _, op := range []crashfs.Op{crashfs.OpOpenRead, crashfs.OpRead, crashfs.OpSize} {
		fsys.SetHook(func(o crashfs.Op, _ string) error {
			if o == op {
				return errFault
			}
			return nil
		})
		if _, found, err := load(fsys); found || !errors.Is(err, errFault) {
			t.Fatalf("%v fails: got %v, %v, want %v", op, found, err, errFault)
		}
	}
	fsys.SetHook(func(o crashfs.Op, _ string) error {
		switch o {
		case crashfs.OpStat:
			return errFault
		case crashfs.OpOpenRead:
			return fs.ErrNotExist
		}
		return nil
	})
	if _, found, err := load(fsys); found || !errors.Is(err, errFault) {
		t.Fatalf("stat fails: got %v, %v, want %v", found, err, errFault)
	}
}

func TestValidateName(t *testing.T) {
	for name, ok := range map[string]bool{
		"n1": true, "a": true, "Node_1-b": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a.b": false, "a b": false, "a/b": false, "ü": false, "a\n": false, "..": false,
	} {
		if err := nodeid.ValidateName(name); ok != (err == nil) {
			t.Errorf("ValidateName(%q) = %v, want ok %v", name, err, ok)
		}
	}
}

func TestServerID(t *testing.T) {
	id := nodeid.Identity{Name: "n1", Incarnation: "0123456789abcdef"}
	if got, want := id.ServerID(), raft.ServerID("n1.0123456789abcdef"); got != want {
		t.Fatalf("server id %q, want %q", got, want)
	}
	for in, want := range map[raft.ServerID]string{"n1.0123": "n1", "a.b.c": "a.b", "plain": "plain", "": "", ".x": ""} {
		if got := nodeid.NameOf(in); got != want {
			t.Errorf("NameOf(%q) = %q, want %q", in, got, want)
		}
	}
	if a, b := nodeid.NewIncarnation(), nodeid.NewIncarnation(); a == b || !isHex(a, 16) {
		t.Fatalf("incarnations %q and %q", a, b)
	}
	if a, b := nodeid.NewClusterID(), nodeid.NewClusterID(); a == b || !isHex(a, 32) {
		t.Fatalf("cluster ids %q and %q", a, b)
	}
}

func isHex(s string, digits int) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == digits
}

// TestReplace shows that a valid identity replaces an existing one, and an invalid one does
// not.
func TestReplace(t *testing.T) {
	fsys, want := newDataDir(t), testIdentity()
	if err := nodeid.Write(fsys, "data", testIdentity()); err != nil {
		t.Fatal(err)
	}
	want.Former = []string{"a", "b"}
	if err := nodeid.Replace(fsys, "data", want); err != nil {
		t.Fatal(err)
	}
	if err := nodeid.Replace(fsys, "data", nodeid.Identity{Name: "n1"}); err == nil {
		t.Error("an identity without incarnation was written")
	}
	fsys = fsys.Crash(crashfs.CrashOptions{})
	if got, found, err := load(fsys); err != nil || !found || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, %v, want %+v", got, found, err, want)
	}
}

// TestLoad_NewerFormat shows that a file of a newer format is refused. The error names the
// file and both versions, and the file stays as it is.
func TestLoad_NewerFormat(t *testing.T) {
	fsys := newDataDir(t)
	content, err := sealed.Encode(format+1, map[string]string{"zone": "a"})
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, fsys, "data/node.json", content)
	_, _, err = load(fsys)
	var version *wal.VersionError
	if !errors.As(err, &version) || version.File != "data/node.json" || version.Found != format+1 || version.Supported != format {
		t.Fatalf("got %v", err)
	}
	for _, fact := range []string{"data/node.json", fmt.Sprintf("version %d,", format+1), fmt.Sprintf("version %d", format)} {
		if !strings.Contains(err.Error(), fact) {
			t.Errorf("%q does not say %q", err, fact)
		}
	}
	left := make([]byte, len(content)+1)
	file, err := fsys.OpenRead("data/node.json")
	if err != nil {
		t.Fatal(err)
	}
	n, err := file.ReadAt(left, 0)
	if string(left[:n]) != string(content) {
		t.Errorf("the file holds %q now (%v)", left[:n], err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestIncarnationOf(t *testing.T) {
	for id, want := range map[raft.ServerID]string{"n1.0123": "0123", "a.b.c": "c", "plain": ""} {
		if got := nodeid.IncarnationOf(id); got != want {
			t.Errorf("IncarnationOf(%q) = %q, want %q", id, got, want)
		}
	}
}
