package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"path"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// ending is how a store ended that a data directory is left of.
type ending struct {
	setup
	closed bool
	// oldest is how many of the last writes a damaged end of the log may take
	// along, since no log can tell it from writes that never finished.
	oldest int
}

// endings leave a log that is not empty, some with a snapshot before it.
var endings = []ending{
	{setup{store.PersistenceFull, true}, false, 1},
	{setup{store.PersistenceWAL, true}, true, 0},
	{setup{store.PersistenceFull, false}, false, 3},
}

func (e ending) String() string { return fmt.Sprintf("%s,closed=%t", e.setup, e.closed) }

// leave makes the data directory: a snapshot, a sealed segment and one behind
// it. It returns what was there after each write.
func (e ending) leave(t testing.TB) (*crashfs.FS, []contents) {
	t.Helper()
	files := crashfs.New()
	s, err := e.open(files)
	if err != nil {
		t.Fatal(err)
	}
	history := []contents{{}}
	do := func(changes ...change) {
		for _, ch := range changes {
			if err := ch.call(s); err != nil {
				t.Fatalf("%s: %v", ch.name, err)
			}
			history = append(history, ch.after(history[len(history)-1]))
		}
	}
	do(setting("a", "1"), setting("b", "2"))
	if err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	do(setting("c", long("3", 1300)), setting("d", long("4", 1300)), setting("e", "5")) // which fills a segment
	do(batching("6", "a", "b", "f"), setting("g", "7"), deleting("e"))
	if e.closed {
		mustClose(t, s, files)
		return files, history
	}
	left := files.Clone()
	files.Halt()
	_ = s.Close() // the process is dead
	return left, history
}

// paths returns the paths of all files of a data directory.
func paths(t testing.TB, files wal.FS) []string {
	t.Helper()
	var all []string
	if _, err := files.Stat("data/FLOOR"); err == nil {
		all = append(all, "data/FLOOR")
	}
	for _, dir := range []string{"data/snapshots", "data/wal"} {
		names, err := files.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			all = append(all, path.Join(dir, name))
		}
	}
	return all
}

// content returns all bytes of a file.
func content(t testing.TB, files wal.FS, name string) []byte {
	t.Helper()
	f, err := files.OpenRead(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dirContent returns all bytes of all files.
func dirContent(t testing.TB, files wal.FS) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range paths(t, files) {
		all[name] = string(content(t, files, name))
	}
	return all
}

// overwrite changes bytes of a file.
func overwrite(t testing.TB, files wal.FS, name string, off int64, b []byte) {
	t.Helper()
	f, err := files.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// blames checks that an error of New is one of damage or of a format that is
// not known, and names the file and a place in it.
func blames(err error, name string, size int64) error {
	var corrupt *wal.CorruptionError
	var version *wal.VersionError
	switch {
	case errors.As(err, &corrupt):
		if corrupt.File != name || corrupt.Offset < 0 || corrupt.Offset > size || !strings.Contains(err.Error(), name) {
			return fmt.Errorf("%w names another place than one of the %d bytes of %s", err, size, name)
		}
	case errors.As(err, &version):
		if version.File != name || version.Found == version.Supported {
			return fmt.Errorf("%w names not %s", err, name)
		}
	default:
		return fmt.Errorf("got %w, want an error of damage", err)
	}
	return nil
}

// tryDamaged opens a damaged directory: it is refused with an error that names
// the file, and stays as it is; or it has what was there after some write. It
// returns how many writes are gone, -1 for a refusal.
func tryDamaged(t *testing.T, e ending, damaged *crashfs.FS, name string, history []contents) int {
	t.Helper()
	before := content(t, damaged, name)
	s, err := e.open(damaged)
	if err != nil {
		if err := blames(err, name, int64(len(before))); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(content(t, damaged, name), before) || damaged.OpenFiles() != 0 {
			t.Error("New has changed the file that it refused, or left it open")
		}
		return -1
	}
	got := contentsOf(s)
	for gone := range history {
		if maps.Equal(got, history[len(history)-1-gone]) {
			mustClose(t, s, damaged)
			return gone
		}
	}
	t.Errorf("got %.300q, which never was there", got)
	_ = s.Close()
	return -1
}

// masks returns which bits of a byte are inverted, one time after the other.
// Where the tests have to be fast, most bytes are passed over.
func masks(off int, b byte) []byte {
	switch {
	case scaled(5) < 5 && off%16 != 0:
		return nil
	case b == 0:
		return []byte{0xff}
	}
	return []byte{0xff, 1 << (off % 8)}
}

// TestDamage_EveryByte inverts each byte of each file of a data directory, and
// cuts each file at each byte. New refuses and names the file. At the end of the log it
// opens the store without the writes there, which no log can tell from unfinished ones.
func TestDamage_EveryByte(t *testing.T) {
	lessGC(t)
	for _, e := range endings {
		t.Run(e.String(), func(t *testing.T) {
			whole, history := e.leave(t)
			torn := map[string]bool{} // files whose damage took writes along
			for _, name := range paths(t, whole) {
				bytes := content(t, whole, name)
				size := int64(len(bytes))
				tally := map[int]int{}
				for off, b := range bytes {
					for _, mask := range masks(off, b) {
						damaged := whole.Clone()
						overwrite(t, damaged, name, int64(off), []byte{b ^ mask})
						gone := tryDamaged(t, e, damaged, name, history)
						tally[gone]++
						if gone > 0 {
							torn[name] = true
						}
						if gone > e.oldest {
							t.Errorf("%d writes are gone, at most %d may be", gone, e.oldest)
						}
						if gone >= 0 && !strings.Contains(name, "/wal-") {
							t.Error("damage was not found")
						}
						if t.Failed() {
							t.Fatalf("byte %d of %d of %s inverted by %#x", off, size, name, mask)
						}
					}
				}
				t.Logf("%s: %d inversions refused, the rest opened by writes gone: %v", name, tally[-1], tally)
			}
			if len(torn) > 1 {
				t.Errorf("more than one segment has an end that may be torn: %v", torn)
			}
		})
	}
}

// TestDamage_Cut cuts each file at each byte, or at some of each sector of the
// log's.
func TestDamage_Cut(t *testing.T) {
	lessGC(t)
	for _, e := range endings {
		t.Run(e.String(), func(t *testing.T) {
			whole, history := e.leave(t)
			for _, name := range paths(t, whole) {
				size, step := int64(len(content(t, whole, name))), int64(1)
				if size > 1000 {
					step = 61
				}
				for end := int64(0); end < size; end += step {
					damaged := whole.Clone()
					f, err := damaged.Open(name)
					if err != nil {
						t.Fatal(err)
					}
					if err := errors.Join(f.Truncate(end), f.Close()); err != nil {
						t.Fatal(err)
					}
					if gone := tryDamaged(t, e, damaged, name, history); gone >= 0 {
						t.Errorf("opened with %d writes gone", gone)
					}
					if t.Failed() {
						t.Fatalf("%s of %d bytes cut at %d", name, size, end)
					}
				}
			}
		})
	}
}

// TestDamage_Missing removes each file of a data directory in turn: New says
// which is missing.
func TestDamage_Missing(t *testing.T) {
	all := append([]ending{{setup{store.PersistenceFull, true}, true, 0}}, endings...)
	for _, e := range all {
		t.Run(e.String(), func(t *testing.T) {
			whole, _ := e.leave(t)
			for _, name := range paths(t, whole) {
				damaged := whole.Clone()
				if err := damaged.Remove(name); err != nil {
					t.Fatal(err)
				}
				before := dirContent(t, damaged)
				s, err := e.open(damaged)
				if err == nil {
					t.Errorf("without %s: opened with %.200q", name, contentsOf(s))
					_ = s.Close()
					continue
				}
				if err := blames(err, name, 4<<10); err != nil {
					t.Errorf("without %s: %v", name, err)
				}
				if !maps.Equal(dirContent(t, damaged), before) {
					t.Errorf("without %s: New has changed the directory that it refused", name)
				}
			}
		})
	}
}

// TestDamage_MissingDirectory removes the whole log, or all snapshots, of a data
// directory: New refuses in every mode and names what is missing.
func TestDamage_MissingDirectory(t *testing.T) {
	for _, c := range setups {
		for _, dir := range []string{"data/wal", "data/snapshots"} {
			t.Run(fmt.Sprintf("%s/%s", c, path.Base(dir)), func(t *testing.T) {
				files := crashfs.New()
				s, err := c.open(files)
				if err != nil {
					t.Fatal(err)
				}
				mustSet(t, s, "k", "v")
				if err := s.Snapshot(); err != nil {
					t.Fatal(err)
				}
				mustSet(t, s, "k", "w")
				mustClose(t, s, files)
				if _, err := files.Stat(dir); err != nil {
					t.Skip("this mode has none")
				}
				if err := files.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				_, err = c.open(files)
				var corrupt *wal.CorruptionError
				if !errors.As(err, &corrupt) || path.Dir(corrupt.File) != dir || !strings.Contains(corrupt.Reason, "missing") {
					t.Errorf("got %v, want an error of a file that is missing in %s", err, dir)
				}
				if files.OpenFiles() != 0 {
					t.Error("New has left files open")
				}
			})
		}
	}
}

// TestDamage_NewerFormat gives each file the version after the one that this
// program knows, with a checksum that fits. Files whose checksum ends them are
// longer in it.
func TestDamage_NewerFormat(t *testing.T) {
	const version = 8 // its offset in every file, behind the magic
	for _, e := range endings {
		t.Run(e.String(), func(t *testing.T) {
			whole, _ := e.leave(t)
			for _, name := range paths(t, whole) {
				b := content(t, whole, name)
				known := binary.BigEndian.Uint32(b[version:])
				head := map[bool]int{true: 36, false: 1020}[strings.Contains(name, "snapshot")] // bytes under the checksum
				if strings.HasSuffix(name, "MANIFEST") || strings.HasSuffix(name, "FLOOR") {
					b = append(b[:len(b)-4], "what only the newer version has, and its sum"...)
					head = len(b) - 4
				}
				binary.BigEndian.PutUint32(b[version:], known+1)
				binary.BigEndian.PutUint32(b[head:], crc32.Checksum(b[:head], crc32.MakeTable(crc32.Castagnoli)))
				newer := whole.Clone()
				overwrite(t, newer, name, 0, b)
				before := dirContent(t, newer)
				_, err := e.open(newer)
				var unknown *wal.VersionError
				if !errors.Is(err, wal.ErrVersion) || !errors.As(err, &unknown) ||
					*unknown != (wal.VersionError{File: name, Found: known + 1, Supported: known}) {
					t.Errorf("%s: got %v", name, err)
				}
				if !maps.Equal(dirContent(t, newer), before) {
					t.Errorf("%s: New has changed the directory that it refused", name)
				}
			}
		})
	}
}
