package wal_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestFS_Behaviour runs the same calls on the operating system's filesystem and
// on the one that tests crash: they must agree.
func TestFS_Behaviour(t *testing.T) {
	for name, fsys := range map[string]wal.FS{"OS": wal.OS(), "crashfs": crashfs.New()} {
		t.Run(name, func(t *testing.T) { testFS(t, fsys, filepath.Join(t.TempDir(), "sub", "dir")) })
	}
}

func testFS(t *testing.T, fsys wal.FS, dir string) {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	want := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Fatalf("%s: got %v, want %v", what, err, want)
		}
	}
	_, err := fsys.Create(a)
	want("create without directory", err, fs.ErrNotExist)
	want("mkdir", fsys.MkdirAll(dir), nil)
	want("mkdir again", fsys.MkdirAll(dir), nil)
	_, err = fsys.Open(a)
	want("open nothing", err, fs.ErrNotExist)
	_, err = fsys.Stat(a)
	want("stat nothing", err, fs.ErrNotExist)
	want("remove nothing", fsys.Remove(a), fs.ErrNotExist)
	want("remove all of nothing", fsys.RemoveAll(a), nil)
	want("rename nothing", fsys.Rename(a, b), fs.ErrNotExist)

	f, err := fsys.Create(a)
	want("create", err, nil)
	_, err = f.Write([]byte("hello "))
	want("write", err, nil)
	_, err = f.Write([]byte("world"))
	want("write", err, nil)
	_, err = f.WriteAt([]byte("W"), 6)
	want("write at", err, nil)
	want("sync", f.Sync(), nil)
	buf := make([]byte, 8)
	n, err := f.ReadAt(buf, 6)
	if string(buf[:n]) != "World" {
		t.Fatalf("read %q, want World", buf[:n])
	}
	want("read at the end", err, io.EOF)
	_, err = f.WriteAt([]byte("!"), 1000)
	want("write behind the end", err, nil)
	size, err := f.Size()
	want("size", err, nil)
	if size != 1001 {
		t.Fatalf("got size %d, want 1001", size)
	}
	want("truncate", f.Truncate(5), nil)
	want("close", f.Close(), nil)
	want("close again", f.Close(), fs.ErrClosed)
	want("sync after close", f.Sync(), fs.ErrClosed)

	r, err := fsys.OpenRead(a)
	want("open to read", err, nil)
	if _, err := r.WriteAt([]byte("x"), 0); err == nil {
		t.Fatal("a file opened to read was written")
	}
	want("rename", fsys.Rename(a, b), nil)
	want("remove an open file", fsys.Remove(b), nil)
	all, err := io.ReadAll(r)
	want("read a removed file", err, nil)
	if string(all) != "hello" {
		t.Fatalf("read %q, want hello", all)
	}
	want("close", r.Close(), nil)

	want("write atomically", wal.WriteFileAtomic(fsys, b, []byte("1")), nil)
	want("write atomically", wal.WriteFileAtomic(fsys, b, []byte("22")), nil)
	want("write atomically", wal.WriteFileAtomic(fsys, a, []byte("333")), nil)
	want("sync dir", fsys.SyncDir(dir), nil)
	names, err := fsys.ReadDir(dir)
	want("read dir", err, nil)
	if !slices.Equal(names, []string{"a", "b"}) {
		t.Fatalf("got %q, want a and b", names)
	}
	info, err := fsys.Stat(b)
	want("stat", err, nil)
	if info.Size() != 2 || info.IsDir() || info.Name() != "b" {
		t.Fatalf("got %v of %d bytes, want file b of 2", info, info.Size())
	}
	if err := fsys.Remove(dir); err == nil {
		t.Fatal("a directory with files was removed")
	}
	want("remove all", fsys.RemoveAll(dir), nil)
	_, err = fsys.ReadDir(dir)
	want("read a removed dir", err, fs.ErrNotExist)
}

func TestOS_Log(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wal")
	opts := testOptions(nil)
	opts.MaxSegmentSize = 16 << 10
	var m model
	for range 3 {
		w, err := wal.Open(dir, opts)
		if err != nil {
			t.Fatal(err)
		}
		mustEqual(t, w, m)
		for range 20 {
			first := max(m.next, 1)
			frames := batch(first, 0, 0, 500, 1500)
			mustAppend(t, w, first, frames)
			m = m.append(first, frames)
		}
		if err := errors.Join(w.TruncateBack(m.next-2), w.TruncateFront(m.next-30)); err != nil {
			t.Fatal(err)
		}
		m = m.truncateBack(m.next - 2)
		m = m.truncateFront(m.next + 1 - 30)
		mustEqual(t, w, m)
		mustClose(t, w)
	}
	info, err := os.Stat(filepath.Join(dir, "MANIFEST"))
	if err != nil {
		t.Fatal(err)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		t.Errorf("got permissions %v, want the owner's alone", perm)
	}
}
