package cluster

import (
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

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

func testIdentity() identity {
	return identity{Name: "n1", Incarnation: newIncarnation(), Cluster: newClusterID()}
}

func TestIdentity_WrittenOnce(t *testing.T) {
	fsys, want := newDataDir(t), testIdentity()
	if _, found, err := loadIdentity(fsys, "data"); found || err != nil {
		t.Fatalf("new directory: found %v, %v", found, err)
	}
	if err := writeIdentity(fsys, "data", want); err != nil {
		t.Fatal(err)
	}
	fsys = fsys.Crash(crashfs.CrashOptions{})
	mustMkdir(t, fsys, "data/wal")
	if got, found, err := loadIdentity(fsys, "data"); err != nil || !found || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v, %v, want %+v", got, found, err, want)
	}
	if err := writeIdentity(fsys, "data", testIdentity()); !errors.Is(err, errIdentityExists) {
		t.Fatalf("second write: got %v, want %v", err, errIdentityExists)
	}
	if got, _, err := loadIdentity(fsys, "data"); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("after a second write: got %+v, %v, want %+v", got, err, want)
	}
}

func TestIdentity_Invalid(t *testing.T) {
	for name, change := range map[string]func(*identity){
		"name":        func(id *identity) { id.Name = "a.b" },
		"incarnation": func(id *identity) { id.Incarnation = "xyz" },
		"cluster":     func(id *identity) { id.Cluster = "" },
	} {
		t.Run(name, func(t *testing.T) {
			fsys, id := newDataDir(t), testIdentity()
			change(&id)
			if err := writeIdentity(fsys, "data", id); err == nil {
				t.Fatalf("%+v was written", id)
			}
			content, err := sealed.Encode(identityFormat, id)
			if err != nil {
				t.Fatal(err)
			}
			mustWrite(t, fsys, "data/node.json", content)
			if _, _, err := loadIdentity(fsys, "data"); !errors.Is(err, wal.ErrCorrupt) {
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

// TestIdentity_Missing: data without an identity is somebody's, not nobody's.
func TestIdentity_Missing(t *testing.T) {
	for _, dir := range []string{stableDir, walDir, snapshotsDir} {
		fsys := newDataDir(t)
		mustMkdir(t, fsys, "data/"+dir)
		if _, _, err := loadIdentity(fsys, "data"); !errors.Is(err, ErrIdentityMissing) || !strings.Contains(err.Error(), dir) {
			t.Fatalf("%s without node.json: got %v, want %v", dir, err, ErrIdentityMissing)
		}
	}
	fsys := newDataDir(t)
	mustWrite(t, fsys, "data/peers.json", []byte("{}"))
	mustWrite(t, fsys, "data/LOCK", nil)
	if _, found, err := loadIdentity(fsys, "data"); found || err != nil {
		t.Fatalf("hints and a lock without node.json: found %v, %v", found, err)
	}
}

// TestIdentity_Damage flips each bit of the file, and cuts it short: a wrong
// identity is never returned, and no identity never made of one.
func TestIdentity_Damage(t *testing.T) {
	fsys := newDataDir(t)
	if err := writeIdentity(fsys, "data", testIdentity()); err != nil {
		t.Fatal(err)
	}
	info, err := fsys.Stat("data/node.json")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(damaged *crashfs.FS, at int64) {
		t.Helper()
		id, found, err := loadIdentity(damaged, "data")
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

// TestIdentity_Crash loses power at each operation of the writing: afterwards
// there is the whole identity or none, and one once it was reported written.
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
		if err := writeIdentity(fsys, "data", want); err != nil {
			t.Fatal(err)
		}
		more = crashed != nil
		if !more {
			crashed = fsys.Crash(crashfs.CrashOptions{})
		}
		got, found, err := loadIdentity(crashed, "data")
		if err != nil || found && !reflect.DeepEqual(got, want) || !found && !more {
			t.Fatalf("crash at operation %d: got %+v, %v, %v", at, got, found, err)
		}
	}
}

func TestIdentity_UnreadableIsNotNew(t *testing.T) {
	fsys := newDataDir(t)
	if err := writeIdentity(fsys, "data", testIdentity()); err != nil {
		t.Fatal(err)
	}
	for _, op := range []crashfs.Op{crashfs.OpOpenRead, crashfs.OpRead, crashfs.OpSize} {
		fsys.SetHook(func(o crashfs.Op, _ string) error {
			if o == op {
				return errFault
			}
			return nil
		})
		if _, found, err := loadIdentity(fsys, "data"); found || !errors.Is(err, errFault) {
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
	if _, found, err := loadIdentity(fsys, "data"); found || !errors.Is(err, errFault) {
		t.Fatalf("stat fails: got %v, %v, want %v", found, err, errFault)
	}
}

func TestValidateName(t *testing.T) {
	for name, ok := range map[string]bool{
		"n1": true, "a": true, "Node_1-b": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a.b": false, "a b": false, "a/b": false, "ü": false, "a\n": false, "..": false,
	} {
		err := validateName(name)
		var invalid *ValidationError
		if ok != (err == nil) || err != nil && (!errors.As(err, &invalid) || invalid.Field != "id") {
			t.Errorf("validateName(%q) = %v, want ok %v", name, err, ok)
		}
	}
}

func TestServerID(t *testing.T) {
	id := identity{Name: "n1", Incarnation: "0123456789abcdef"}
	if got, want := id.serverID(), raft.ServerID("n1.0123456789abcdef"); got != want {
		t.Fatalf("server id %q, want %q", got, want)
	}
	for in, want := range map[raft.ServerID]string{"n1.0123": "n1", "a.b.c": "a.b", "plain": "plain", "": "", ".x": ""} {
		if got := nameOf(in); got != want {
			t.Errorf("nameOf(%q) = %q, want %q", in, got, want)
		}
	}
	if a, b := newIncarnation(), newIncarnation(); a == b || !isHex(a, 16) {
		t.Fatalf("incarnations %q and %q", a, b)
	}
	if a, b := newClusterID(), newClusterID(); a == b || !isHex(a, 32) {
		t.Fatalf("cluster ids %q and %q", a, b)
	}
}
