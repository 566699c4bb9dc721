package sealed_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

type note struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
}

const (
	path   = "data/note.json"
	format = 3
)

// written returns a filesystem with one durable sealed file, and the file's body.
func written(t *testing.T) (*crashfs.FS, note) {
	t.Helper()
	files, want := crashfs.New(), note{Text: "a < b", Count: 7}
	if err := wal.MakeDir(files, "data"); err != nil {
		t.Fatal(err)
	}
	if err := sealed.Write(files, path, format, want); err != nil {
		t.Fatal(err)
	}
	return files.Crash(crashfs.CrashOptions{}), want
}

func TestRead_ReturnsWhatWasWritten(t *testing.T) {
	files, want := written(t)
	var got note
	if err := sealed.Read(files, path, format, &got); err != nil || got != want {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestRead_MissingFileDoesNotExist(t *testing.T) {
	files, _ := written(t)
	if err := sealed.Read(files, "data/other.json", format, new(note)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want fs.ErrNotExist", err)
	}
}

func TestRead_OtherFormatIsNamed(t *testing.T) {
	files, _ := written(t)
	var version *wal.VersionError
	err := sealed.Read(files, path, format+1, new(note))
	if !errors.As(err, &version) || version.File != path || version.Found != format || version.Supported != format+1 {
		t.Fatalf("got %v, want a VersionError that names file and versions", err)
	}
}

// TestRead_FindsEveryDamagedByte flips each bit, truncates the file at each byte and
// makes it longer.
func TestRead_FindsEveryDamagedByte(t *testing.T) {
	files, _ := written(t)
	info, err := files.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, damaged *crashfs.FS) {
		t.Helper()
		var version *wal.VersionError
		err := sealed.Read(damaged, path, format, new(note))
		if !errors.Is(err, wal.ErrCorrupt) && !errors.As(err, &version) {
			t.Fatalf("%s: got %v, want ErrCorrupt or a VersionError", what, err)
		}
	}
	for at := range info.Size() {
		for bit := range uint(8) {
			damaged := files.Clone()
			if err := damaged.FlipBit(path, at, bit); err != nil {
				t.Fatal(err)
			}
			refused("flipped bit", damaged)
		}
		damaged := files.Clone()
		truncate(t, damaged, at)
		refused("cut file", damaged)
	}
	for _, size := range []int64{info.Size() + 1, sealed.MaxBytes + 1} {
		damaged := files.Clone()
		truncate(t, damaged, size)
		refused("longer file", damaged)
	}
}

func truncate(t *testing.T, files *crashfs.FS, size int64) {
	t.Helper()
	f, err := files.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
}
