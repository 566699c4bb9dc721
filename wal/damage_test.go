package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// Sizes that package wal documents.
const (
	headerSize = 1024
	batchSize  = 37
	markerSize = 17
)

func segmentPath(id int) string { return path.Join(testDir, fmt.Sprintf("wal-%016d.log", id)) }

var manifestPath = path.Join(testDir, "MANIFEST")

// buildLog makes a log of three segments: one that TruncateBack sealed in the middle of
// a batch, a full one, and the tail. The front of the first is truncated.
func buildLog(t *testing.T) (*crashfs.FS, model, *wal.WAL) {
	t.Helper()
	fsys := newFS(t)
	w := mustOpen(t, testOptions(fsys))
	m := model{}
	for _, s := range []step{
		stepAppend(1, 0, 40), stepAppend(2, 0, 60, 30, 20), stepFront(2), stepBack(3),
		stepAppend(4, 1, 300, 0, 300), stepAppend(7, 1, 200), stepAppend(8, 1, 500), stepAppend(9, 1, 5, 70),
	} {
		if err := s.do(w); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		m = s.want(m)
	}
	mustEqual(t, w, m)
	return fsys, m, w
}

func isRefusal(err error) bool {
	return errors.Is(err, wal.ErrCorrupt) || errors.Is(err, wal.ErrVersion) || errors.Is(err, wal.ErrForeign)
}

// flipAll flips bits of one file, one at a time, in all bytes from one offset up
// to another. It calls check with the result of Open for each.
func flipAll(t *testing.T, fsys *crashfs.FS, name string, from, to int64, check func(off int64, w *wal.WAL, err error)) {
	t.Helper()
	for off := from; off < to; off++ {
		for _, bit := range []uint{uint(off) % 8, uint(off+3) % 8} {
			flipped := fsys.Clone()
			if err := flipped.FlipBit(name, off, bit); err != nil {
				t.Fatal(err)
			}
			w, err := wal.Open(testDir, testOptions(flipped))
			check(off, w, err)
			if w != nil {
				mustClose(t, w)
			}
			if n := flipped.OpenFiles(); n != 0 {
				t.Fatalf("%s: bit %d of byte %d: %d files left open", name, bit, off, n)
			}
		}
	}
}

func fileSize(t *testing.T, fsys wal.FS, name string) int64 {
	t.Helper()
	info, err := fsys.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestDamage_EveryBit flips a bit in every byte of a closed log. Open refuses damage
// to a stored byte, and damage to unused bytes changes nothing.
func TestDamage_EveryBit(t *testing.T) {
	fsys, m, w := buildLog(t)
	mustClose(t, w)
	refused := func(name string, from, to int64) {
		flipAll(t, fsys, name, from, to, func(off int64, _ *wal.WAL, err error) {
			if !isRefusal(err) || !strings.Contains(err.Error(), name) {
				t.Fatalf("%s: flip at %d: got %v, want a refusal that names the file", name, off, err)
			}
		})
	}
	harmless := func(name string, from, to int64) {
		flipAll(t, fsys, name, from, to, func(off int64, w *wal.WAL, err error) {
			if err == nil {
				err = m.diff(w)
			}
			if err != nil {
				t.Fatalf("%s: flip at %d, where nothing is stored: %v", name, off, err)
			}
		})
	}
	end1 := int64(headerSize + batchSize + 9 + 40 + batchSize + 9 + 60 + 9 + 30)
	end2 := int64(headerSize + batchSize + 3*9 + 600 + batchSize + 9 + 200)
	tail := int64(headerSize + batchSize + 9 + 500 + batchSize + 2*9 + 75 + markerSize)
	refused(manifestPath, 0, fileSize(t, fsys, manifestPath))
	for id, end := range map[int]int64{1: end1, 2: end2, 3: tail} {
		refused(segmentPath(id), 0, end)
		harmless(segmentPath(id), end, fileSize(t, fsys, segmentPath(id)))
	}
}

// TestDamage_UnmarkedBatch damages the last batch while nothing behind it
// proves that it was synced: no log can tell that from a torn tail. Only this batch
// may be lost, and only as a whole.
func TestDamage_UnmarkedBatch(t *testing.T) {
	fsys, m, w := buildLog(t)
	fsys = fsys.Crash(crashfs.CrashOptions{}) // the power fails before the marker
	mustClose(t, w)
	start := int64(headerSize + batchSize + 9 + 500)
	end := start + batchSize + 2*9 + 75
	flipAll(t, fsys, segmentPath(3), start, end, func(off int64, w *wal.WAL, err error) {
		if err == nil {
			err = m.truncateBack(8).diff(w)
		}
		if err != nil {
			t.Fatalf("flip at %d: %v", off, err)
		}
	})
	flipAll(t, fsys, segmentPath(3), 0, start, func(off int64, _ *wal.WAL, err error) {
		if !isRefusal(err) {
			t.Fatalf("flip at %d, below the last batch: got %v, want a refusal", off, err)
		}
	})
}

// TestDamage_TornBatch replaces the end of an unsynced batch, beginning at every byte,
// by zeros, garbage, or nothing.
func TestDamage_TornBatch(t *testing.T) {
	fsys, m, w := buildLog(t)
	fsys = fsys.Crash(crashfs.CrashOptions{})
	mustClose(t, w)
	start := int64(headerSize + batchSize + 9 + 500)
	end := start + batchSize + 2*9 + 75
	garbage := bytes.Repeat([]byte{0xA5, 0x00, 0x1D, 0xF0}, int(end-start))
	for cut := start; cut < end; cut++ {
		for name, tail := range map[string][]byte{
			"zeros":   make([]byte, end-cut),
			"garbage": garbage[:end-cut],
		} {
			torn := fsys.Clone()
			overwrite(t, torn, segmentPath(3), cut, tail)
			var logged bytes.Buffer
			opts := testOptions(torn)
			opts.Logger = slog.New(slog.NewTextHandler(&logged, nil))
			w := mustOpen(t, opts)
			mustEqual(t, w, m.truncateBack(8))
			wantCut := name == "garbage" || cut > start+3 // the first bytes of a checksum may be lost as a whole
			if got := strings.Contains(logged.String(), "level=WARN"); wantCut && !got {
				t.Fatalf("%s from byte %d: the cut was not logged", name, cut)
			}
			// The torn bytes stay as they are: the next batch goes to a new segment.
			mustAppend(t, w, 9, batch(9, 5, 90))
			mustClose(t, w)
			want := m.truncateBack(8).append(9, batch(9, 5, 90))
			if err := want.check(torn.Crash(crashfs.CrashOptions{})); err != nil {
				t.Fatalf("%s from byte %d: %v", name, cut, err)
			}
		}
	}
}

func overwrite(t *testing.T, fsys wal.FS, name string, off int64, b []byte) {
	t.Helper()
	f, err := fsys.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, fsys wal.FS, name string) []byte {
	t.Helper()
	f, err := fsys.OpenRead(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// fileDamages are the damages to a log's files in TestDamage_Files, with the error of Open.
var fileDamages = map[string]struct {
	harm func(t *testing.T, fsys *crashfs.FS)
	want error
	file string // that the error names
}{
	"lost manifest": {func(t *testing.T, fsys *crashfs.FS) {
		remove(t, fsys, manifestPath)
	}, wal.ErrCorrupt, "MANIFEST"},
	"lost first segment": {func(t *testing.T, fsys *crashfs.FS) {
		remove(t, fsys, segmentPath(1))
	}, wal.ErrCorrupt, segmentPath(1)},
	"lost tail": {func(t *testing.T, fsys *crashfs.FS) {
		remove(t, fsys, segmentPath(3))
	}, wal.ErrCorrupt, segmentPath(3)},
	"segments swapped": {func(t *testing.T, fsys *crashfs.FS) {
		a, b := readFile(t, fsys, segmentPath(1)), readFile(t, fsys, segmentPath(2))
		overwrite(t, fsys, segmentPath(1), 0, b)
		overwrite(t, fsys, segmentPath(2), 0, a)
	}, wal.ErrCorrupt, segmentPath(1)},
	"tail truncated": {func(t *testing.T, fsys *crashfs.FS) {
		truncate(t, fsys, segmentPath(3), 2000)
	}, wal.ErrCorrupt, segmentPath(3)},
	"sealed segment truncated": {func(t *testing.T, fsys *crashfs.FS) {
		truncate(t, fsys, segmentPath(1), 1100)
	}, wal.ErrCorrupt, segmentPath(1)},
	"large segment truncated": {func(t *testing.T, fsys *crashfs.FS) {
		w := mustOpen(t, testOptions(fsys))
		mustAppend(t, w, 11, batch(11, 0, 5000))
		mustAppend(t, w, 12, batch(12, 0, 5000))
		mustClose(t, w)
		truncate(t, fsys, segmentPath(4), 4096)
	}, wal.ErrCorrupt, segmentPath(4)},
	"tail emptied": {func(t *testing.T, fsys *crashfs.FS) {
		truncate(t, fsys, segmentPath(3), 0)
	}, wal.ErrCorrupt, segmentPath(3)},
	"record moved": {func(t *testing.T, fsys *crashfs.FS) {
		// A copy of the last batch, behind the marker.
		b := readFile(t, fsys, segmentPath(3))
		start := headerSize + batchSize + 9 + 500
		overwrite(t, fsys, segmentPath(3), int64(start)-20, b[start:start+130])
	}, wal.ErrCorrupt, segmentPath(3)},
	"older manifest": {func(t *testing.T, fsys *crashfs.FS) {
		old, _, w := buildLog(t)
		data := readFile(t, old, manifestPath)
		mustClose(t, w)
		w = mustOpen(t, testOptions(fsys))
		mustAppend(t, w, 11, batch(11, 0, 1800))
		mustClose(t, w)
		truncate(t, fsys, manifestPath, 0)
		overwrite(t, fsys, manifestPath, 0, data)
	}, wal.ErrCorrupt, "MANIFEST"},
	"foreign segment": {func(t *testing.T, fsys *crashfs.FS) {
		other := newFS(t)
		opts := testOptions(other)
		opts.Owner = wal.Owner{Node: "n2", Cluster: testOwner.Cluster}
		w := mustOpen(t, opts)
		mustAppend(t, w, 2, batch(2, 0, 40))
		mustClose(t, w)
		overwrite(t, fsys, segmentPath(1), 0, readFile(t, other, segmentPath(1)))
	}, wal.ErrForeign, `"n2"`},
	"newer segment": {func(t *testing.T, fsys *crashfs.FS) {
		overwrite(t, fsys, segmentPath(2), 8, []byte{0, 0, 0, 2})
	}, wal.ErrVersion, segmentPath(2) + ": format version 2"},
	"newer manifest": {func(t *testing.T, fsys *crashfs.FS) {
		overwrite(t, fsys, manifestPath, 8, []byte{0, 0, 0, 9})
	}, wal.ErrVersion, manifestPath + ": format version 9"},
}

// TestDamage_Files loses, swaps and replaces files. Each must be refused.
func TestDamage_Files(t *testing.T) {
	for name, c := range fileDamages {
		t.Run(name, func(t *testing.T) {
			fsys, _, w := buildLog(t)
			mustClose(t, w)
			c.harm(t, fsys)
			before := fsys.Clone()
			w, err := wal.Open(testDir, testOptions(fsys))
			if err == nil {
				mustClose(t, w)
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.file) {
				t.Fatalf("got %v, want %v naming %s", err, c.want, c.file)
			}
			mustSameFiles(t, fsys, before)
		})
	}
}

// mustSameFiles checks that a refused Open changed nothing.
func mustSameFiles(t *testing.T, got, want wal.FS) {
	t.Helper()
	names, err := want.ReadDir(testDir)
	if err != nil {
		t.Fatal(err)
	}
	gotNames, err := got.ReadDir(testDir)
	if err != nil || strings.Join(gotNames, " ") != strings.Join(names, " ") {
		t.Fatalf("Open refused and left %v (%v), want %v", gotNames, err, names)
	}
	for _, name := range names {
		name = path.Join(testDir, name)
		if !bytes.Equal(readFile(t, got, name), readFile(t, want, name)) {
			t.Fatalf("Open refused and changed %s", name)
		}
	}
}

func remove(t *testing.T, fsys wal.FS, name string) {
	t.Helper()
	if err := fsys.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, fsys wal.FS, name string, size int64) {
	t.Helper()
	f, err := fsys.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestDamage_OtherOwner(t *testing.T) {
	fsys, _, w := buildLog(t)
	mustClose(t, w)
	opts := testOptions(fsys)
	opts.Owner = wal.Owner{Node: "n2", Cluster: "elsewhere"}
	_, err := wal.Open(testDir, opts)
	owner, ok := errors.AsType[*wal.OwnerError](err)
	if !ok || owner.Found != testOwner || owner.Want != opts.Owner {
		t.Fatalf("got %v, want an OwnerError naming both", err)
	}
}

func TestDamage_SeenByGet(t *testing.T) {
	fsys, m, w := buildLog(t)
	mustClose(t, w)
	w = mustOpen(t, testOptions(fsys)) // nothing is cached
	if err := fsys.FlipBit(segmentPath(2), headerSize+batchSize+100, 1); err != nil {
		t.Fatal(err)
	}
	_, err := w.Get(4)
	damage, ok := errors.AsType[*wal.CorruptionError](err)
	if !ok || damage.File != segmentPath(2) || damage.Offset != headerSize+batchSize {
		t.Fatalf("got %v, want a CorruptionError at the record", err)
	}
	if err := w.Append(m.next, batch(m.next, 0, 1)); !errors.Is(err, wal.ErrFailed) || !errors.Is(err, wal.ErrCorrupt) {
		t.Fatalf("Append after damage: got %v, want ErrFailed and ErrCorrupt", err)
	}
	if _, err := w.Get(7); err != nil {
		t.Fatalf("Get of another record: %v", err)
	}
}

// TestDamage_RecordsLikeMarkers stores records that look like markers, and tears
// the batch behind them.
func TestDamage_RecordsLikeMarkers(t *testing.T) {
	fsys := newFS(t)
	w := mustOpen(t, testOptions(fsys))
	mustAppend(t, w, 1, batch(1, 0, 10))
	mustClose(t, w)
	start := int64(headerSize + batchSize + 19)
	marker := readFile(t, fsys, segmentPath(1))[start : start+markerSize]
	w = mustOpen(t, testOptions(fsys))
	mustAppend(t, w, 2, []wal.Frame{{Type: 4, Payload: bytes.Repeat(marker, 20)}})
	crashed := fsys.Crash(crashfs.CrashOptions{})
	mustClose(t, w)
	overwrite(t, crashed, segmentPath(1), start+markerSize, make([]byte, batchSize+10))
	mustEqual(t, mustOpen(t, testOptions(crashed)), model{}.append(1, batch(1, 0, 10)))
}
