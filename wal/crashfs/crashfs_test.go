package crashfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, f wal.FS, name string, content []byte) wal.File {
	t.Helper()
	file, err := f.Create(name)
	must(t, err)
	_, err = file.Write(content)
	must(t, err)
	return file
}

// content returns a file's bytes, or nil if there is no such file.
func content(t *testing.T, f wal.FS, name string) []byte {
	t.Helper()
	file, err := f.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	must(t, err)
	b, err := io.ReadAll(file)
	must(t, err)
	must(t, file.Close())
	return append([]byte{}, b...)
}

func TestCrash_LosesWhatIsNotSynced(t *testing.T) {
	f := crashfs.New()
	must(t, f.MkdirAll("/d"))
	must(t, f.SyncDir("/"))
	synced := create(t, f, "/d/synced", []byte("synced"))
	must(t, synced.Sync())
	create(t, f, "/d/unsynced", []byte("unsynced"))
	must(t, f.SyncDir("/d"))
	noEntry := create(t, f, "/d/no-entry", []byte("synced, but nobody knows"))
	must(t, noEntry.Sync())
	_, err := synced.WriteAt([]byte("SYNCED and more"), 0)
	must(t, err)

	left := f.Crash(crashfs.CrashOptions{})
	for name, want := range map[string][]byte{
		"/d/synced": []byte("synced"), "/d/unsynced": {}, "/d/no-entry": nil,
	} {
		if got := content(t, left, name); !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	kept := f.Crash(crashfs.CrashOptions{Keep: 1})
	clone := f.Clone()
	for name, want := range map[string]string{
		"/d/synced": "SYNCED and more", "/d/unsynced": "unsynced", "/d/no-entry": "synced, but nobody knows",
	} {
		for _, fsys := range []*crashfs.FS{f, kept, clone} {
			if got := content(t, fsys, name); string(got) != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
	}
	if got := content(t, clone.Crash(crashfs.CrashOptions{}), "/d/synced"); string(got) != "synced" {
		t.Errorf("crash of a clone: got %q, want what was synced", got)
	}
	if got := content(t, kept.Crash(crashfs.CrashOptions{}), "/d/unsynced"); string(got) != "unsynced" {
		t.Errorf("crash after a crash: got %q, want what survived", got)
	}
}

// TestLoseTail_LosesSyncedBytes loses the end of a file in both versions, and
// gives it back from an older copy.
func TestLoseTail_LosesSyncedBytes(t *testing.T) {
	f := crashfs.New()
	file := create(t, f, "/a", append(bytes.Repeat([]byte{7}, 1500), make([]byte, 500)...))
	must(t, errors.Join(file.Sync(), file.Close(), f.SyncDir("/")))
	whole := f.Clone()
	if used, err := f.Used("/a"); used != 1500 || err != nil {
		t.Fatalf("got %d used bytes, %v; want 1500", used, err)
	}
	for loss, size := range map[crashfs.Loss]int{crashfs.Zeroed: 2000, crashfs.Cut: 700} {
		harmed := f.Clone()
		must(t, harmed.LoseTail("/a", 700, loss))
		want := make([]byte, size)
		copy(want, bytes.Repeat([]byte{7}, 700))
		for _, left := range []*crashfs.FS{harmed, harmed.Crash(crashfs.CrashOptions{})} {
			if got := content(t, left, "/a"); !bytes.Equal(got, want) {
				t.Errorf("loss %d: got %d bytes, %d of them not zero", loss, len(got), bytes.Count(got, []byte{7}))
			}
		}
		must(t, harmed.Restore("/a", whole))
		if got := content(t, harmed.Crash(crashfs.CrashOptions{}), "/a"); !bytes.Equal(got, content(t, whole, "/a")) {
			t.Errorf("loss %d: the older copy is not back", loss)
		}
	}
	if err := f.LoseTail("/a", 2001, crashfs.Zeroed); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("an offset behind the end: got %v", err)
	}
}

func TestCrash_RenameAndRemove(t *testing.T) {
	f := crashfs.New()
	for _, name := range []string{"/a", "/b", "/c"} {
		must(t, create(t, f, name, []byte(name)).Sync())
	}
	must(t, f.SyncDir("/"))
	must(t, f.Rename("/a", "/b"))
	must(t, f.Remove("/c"))
	check := func(what string, fsys *crashfs.FS, names []string, b string) {
		t.Helper()
		got, err := fsys.ReadDir("/")
		must(t, err)
		if !slices.Equal(got, names) || string(content(t, fsys, "/b")) != b {
			t.Errorf("%s: got %q and b = %q, want %q and %q", what, got, content(t, fsys, "/b"), names, b)
		}
	}
	check("before", f, []string{"b"}, "/a")
	check("nothing kept", f.Crash(crashfs.CrashOptions{}), []string{"a", "b", "c"}, "/b")
	check("all kept", f.Crash(crashfs.CrashOptions{Keep: 1}), []string{"b"}, "/a")
	must(t, f.SyncDir("/"))
	check("synced", f.Crash(crashfs.CrashOptions{}), []string{"b"}, "/a")
}

func TestCrash_TornSectors(t *testing.T) {
	f := crashfs.New()
	old, changed := bytes.Repeat([]byte{1}, 8*512), bytes.Repeat([]byte{2}, 12*512)
	file := create(t, f, "/f", old)
	must(t, file.Sync())
	must(t, f.SyncDir("/"))
	_, err := file.WriteAt(changed, 0)
	must(t, err)
	torn, reordered := 0, 0
	for seed := range uint64(50) {
		opts := func() crashfs.CrashOptions {
			return crashfs.CrashOptions{Keep: 0.5, Rand: rand.New(rand.NewPCG(seed, 0))}
		}
		got := content(t, f.Crash(opts()), "/f")
		if again := content(t, f.Crash(opts()), "/f"); !bytes.Equal(got, again) {
			t.Fatalf("seed %d: two crashes differ", seed)
		}
		if len(got) != len(old) && len(got) != len(changed) {
			t.Fatalf("seed %d: got %d bytes, want the old or the new size", seed, len(got))
		}
		var kept []bool
		for s := range slices.Chunk(got, 512) {
			if bytes.Count(s, s[:1]) != 512 || s[0] > 2 {
				t.Fatalf("seed %d: a sector is torn", seed)
			}
			kept = append(kept, s[0] == 2)
		}
		if slices.Contains(kept, true) && slices.Contains(kept, false) {
			torn++
		}
		if i := slices.Index(kept, false); i >= 0 && slices.Contains(kept[i:], true) {
			reordered++
		}
	}
	if torn < 40 || reordered < 40 {
		t.Errorf("got %d torn and %d reordered writes of 50, want most", torn, reordered)
	}
}

func TestCrash_Truncate(t *testing.T) {
	f := crashfs.New()
	file := create(t, f, "/f", bytes.Repeat([]byte{1}, 2000))
	must(t, file.Sync())
	must(t, f.SyncDir("/"))
	must(t, file.Truncate(700))
	must(t, file.Truncate(1500))
	want := append(bytes.Repeat([]byte{1}, 700), make([]byte, 800)...)
	if got := content(t, f, "/f"); !bytes.Equal(got, want) {
		t.Errorf("got %x, want ones and then zeros", got)
	}
	if got := content(t, f.Crash(crashfs.CrashOptions{}), "/f"); len(got) != 2000 || bytes.IndexByte(got, 0) >= 0 {
		t.Errorf("got %x, want the old content", got)
	}
	must(t, file.Sync())
	if got := content(t, f.Crash(crashfs.CrashOptions{}), "/f"); !bytes.Equal(got, want) {
		t.Errorf("after a sync: got %x, want ones and then zeros", got)
	}
}

// TestSync_Failed checks that a second sync succeeds without the data, and that
// writing it again helps.
func TestSync_Failed(t *testing.T) {
	f := crashfs.New()
	file := create(t, f, "/f", []byte("data"))
	must(t, f.SyncDir("/"))
	f.SetHook(func(op crashfs.Op, _ string) error {
		if op == crashfs.OpSync {
			return syscall.EIO
		}
		return nil
	})
	if err := file.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v, want EIO", err)
	}
	f.SetHook(nil)
	must(t, file.Sync())
	if got := content(t, f.Crash(crashfs.CrashOptions{Keep: 1}), "/f"); bytes.Contains(got, []byte("data")) {
		t.Errorf("got %q, want the data lost", got)
	}
	if got := content(t, f, "/f"); string(got) != "data" {
		t.Errorf("got %q, want the data visible", got)
	}
	_, err := file.WriteAt([]byte("data"), 0)
	must(t, err)
	must(t, file.Sync())
	if got := content(t, f.Crash(crashfs.CrashOptions{}), "/f"); string(got) != "data" {
		t.Errorf("got %q, want the data", got)
	}
}

func TestHook_SeesAndFails(t *testing.T) {
	f := crashfs.New()
	var seen []string
	f.SetHook(func(op crashfs.Op, name string) error {
		seen = append(seen, op.String()+" "+name)
		switch op {
		case crashfs.OpWrite:
			return &crashfs.ShortWrite{N: 3, Err: crashfs.ErrNoSpace}
		case crashfs.OpRead, crashfs.OpRemove:
			return syscall.EIO
		}
		return nil
	})
	file, err := f.Create("/f")
	must(t, err)
	if n, err := file.Write([]byte("hello")); n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %d, %v; want 3 bytes and ENOSPC", n, err)
	}
	if _, err := file.ReadAt(make([]byte, 3), 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v, want EIO", err)
	}
	if err := f.Remove("/f"); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v, want EIO", err)
	}
	f.SetHook(nil)
	if got := content(t, f, "/f"); string(got) != "hel" {
		t.Errorf("got %q, want the part that was written", got)
	}
	if want := []string{"create /f", "write /f", "read /f", "remove /f"}; !slices.Equal(seen, want) {
		t.Errorf("the hook saw %q, want %q", seen, want)
	}
}

func TestHalt(t *testing.T) {
	f := crashfs.New()
	file := create(t, f, "/f", []byte("x"))
	must(t, file.Sync())
	must(t, f.SyncDir("/"))
	f.Halt()
	_, werr := file.Write([]byte("y"))
	_, cerr := f.Create("/g")
	for name, err := range map[string]error{
		"write": werr, "create": cerr, "sync": file.Sync(), "rename": f.Rename("/f", "/g"), "close": file.Close(),
	} {
		if !errors.Is(err, crashfs.ErrHalted) {
			t.Errorf("%s: got %v, want ErrHalted", name, err)
		}
	}
	if n := f.OpenFiles(); n != 0 {
		t.Errorf("got %d files open after Close, want 0", n)
	}
	if got := content(t, f.Crash(crashfs.CrashOptions{}), "/f"); string(got) != "x" {
		t.Errorf("got %q, want x", got)
	}
}

func TestCapacity(t *testing.T) {
	f := crashfs.New()
	f.SetCapacity(1000)
	a := create(t, f, "/a", make([]byte, 600))
	b := create(t, f, "/b", nil)
	if n, err := b.WriteAt(make([]byte, 600), 0); n != 400 || !errors.Is(err, crashfs.ErrNoSpace) {
		t.Errorf("got %d, %v; want 400 bytes and ErrNoSpace", n, err)
	}
	if n, err := a.WriteAt(make([]byte, 600), 0); n != 600 || err != nil {
		t.Errorf("overwriting on a full disk: got %d, %v; want 600 bytes", n, err)
	}
	if err := b.Truncate(401); !errors.Is(err, crashfs.ErrNoSpace) {
		t.Errorf("truncate beyond the capacity: got %v, want ErrNoSpace", err)
	}
	must(t, f.Remove("/a"))
	if n, err := b.WriteAt(make([]byte, 600), 400); n != 600 || err != nil {
		t.Errorf("after a removal: got %d, %v; want 600 bytes", n, err)
	}
}

func TestFlipBit(t *testing.T) {
	f := crashfs.New()
	file := create(t, f, "/f", []byte{0, 0, 0})
	must(t, file.Sync())
	must(t, f.SyncDir("/"))
	must(t, f.FlipBit("/f", 1, 3))
	for _, fsys := range []*crashfs.FS{f, f.Crash(crashfs.CrashOptions{})} {
		if got := content(t, fsys, "/f"); !bytes.Equal(got, []byte{0, 8, 0}) {
			t.Errorf("got %v, want bit 3 of byte 1 flipped", got)
		}
	}
	if err := f.FlipBit("/f", 3, 0); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("flip behind the end: got %v, want ErrInvalid", err)
	}
}
