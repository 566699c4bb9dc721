package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestReader shows that a Reader returns the same as Get with few reads: over segments,
// large records, jumps back, and a front that is truncated meanwhile.
func TestReader(t *testing.T) {
	files := crashfs.New()
	w, err := wal.Open("log", wal.Options{FS: files, MaxSegmentSize: 64 << 10, CacheBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const n = 3000
	for i := uint64(1); i <= n; i += 3 {
		var frames []wal.Frame
		for k := range uint64(3) {
			size := 20 + int(i+k)%50
			if (i+k)%1000 == 0 {
				size = 300 << 10
			}
			frames = append(frames, wal.Frame{Type: 1, Payload: bytes.Repeat([]byte{byte(i + k)}, size)})
		}
		if err := w.Append(i, frames); err != nil {
			t.Fatal(err)
		}
	}
	reads := 0
	files.SetHook(func(op crashfs.Op, _ string) error {
		if op == crashfs.OpRead {
			reads++
		}
		return nil
	})
	r := w.NewReader()
	defer r.Close()
	same := func(i uint64) {
		t.Helper()
		got, err := r.Get(i)
		want, wantErr := w.Get(i)
		if !errors.Is(err, wantErr) || got.Type != want.Type || !bytes.Equal(got.Payload, want.Payload) {
			t.Fatalf("record %d: got %d bytes, %v, want %d bytes, %v", i, len(got.Payload), err, len(want.Payload), wantErr)
		}
	}
	for i := uint64(1); i <= n; i++ {
		if _, err := r.Get(i); err != nil {
			t.Fatal(err)
		}
	}
	if reads > 30 {
		t.Errorf("read %d times for %d records", reads, n)
	}
	for i := uint64(0); i <= n+1; i++ {
		same(i)
	}
	for _, i := range []uint64{2999, 1, 1000, 2000, 1500, 1499, 1501} {
		same(i)
	}
	if err := w.TruncateFront(1502); err != nil {
		t.Fatal(err)
	}
	same(1501)
	same(1502)
}

// TestReader_Damage shows that a Reader finds damage.
func TestReader_Damage(t *testing.T) {
	files := crashfs.New()
	w, err := wal.Open("log", wal.Options{FS: files, CacheBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i := uint64(1); i <= 10; i++ {
		if err := w.Append(i, []wal.Frame{{Type: 1, Payload: fmt.Append(nil, "record ", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	names, err := files.ReadDir("log")
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(100); ; off++ { // until one falls into a frame that is read
		for _, name := range names {
			_ = files.FlipBit("log/"+name, off, 3)
		}
		r := w.NewReader()
		var bad error
		for i := uint64(1); i <= 10 && bad == nil; i++ {
			_, bad = r.Get(i)
		}
		r.Close()
		var corruption *wal.CorruptionError
		if errors.As(bad, &corruption) {
			if corruption.File == "" || w.Err() == nil {
				t.Errorf("got %v, and the log's error %v", bad, w.Err())
			}
			return
		}
		if bad != nil || off > 16<<10 {
			t.Fatalf("offset %d: got %v", off, bad)
		}
	}
}

func TestScan(t *testing.T) {
	files := crashfs.New()
	w, err := wal.Open("log", wal.Options{FS: files, MaxSegmentSize: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= 300; i++ {
		if err := w.Append(i, []wal.Frame{{Type: 1, Payload: fmt.Appendf(nil, "record %040d", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.TruncateFront(101); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for from, first := range map[uint64]uint64{0: 101, 101: 101, 250: 250, 301: 301} {
		next := first
		if err := wal.Scan(files, "log", from, func(index uint64, f wal.Frame) error {
			if index != next || string(f.Payload) != fmt.Sprintf("record %040d", index) {
				t.Fatalf("from %d: got record %d, %q, want %d", from, index, f.Payload, next)
			}
			next++
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if next != 301 {
			t.Errorf("from %d: ended at %d", from, next)
		}
	}
	enough := errors.New("enough")
	if err := wal.Scan(files, "log", 0, func(uint64, wal.Frame) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v, want what visit returned", err)
	}
}

// TestOwnerOf reads an owner from the manifest, which must be whole.
func TestOwnerOf(t *testing.T) {
	files, want := crashfs.New(), wal.Owner{Node: "n1", Cluster: "c"}
	if _, err := wal.OwnerOf(files, "log"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a log: got %v, want %v", err, fs.ErrNotExist)
	}
	w, err := wal.Open("log", wal.Options{FS: files, Owner: want})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := wal.OwnerOf(files, "log"); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if err := files.FlipBit("log/"+wal.ManifestName, 20, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := wal.OwnerOf(files, "log"); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("damaged: got %v, want %v", err, wal.ErrCorrupt)
	}
}
