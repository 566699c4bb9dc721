package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// openBelow returns how many descriptors of this process are files below dir.
func openBelow(t *testing.T, dir string) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system does not show open descriptors")
	}
	n := 0
	for _, name := range names {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", name.Name()))
		if err == nil && strings.HasPrefix(target, dir) {
			n++
		}
	}
	return n
}

// TestTrial_B1_SealedSegmentsClosed shows that a log of many segments keeps few of
// its files open, and still reads all of them, by many readers at a time and over a
// truncation.
func TestTrial_B1_SealedSegmentsClosed(t *testing.T) {
	const segments, size = 60, 40 << 10
	dir := filepath.Join(t.TempDir(), "log")
	options := wal.Options{MaxSegmentSize: 64 << 10, CacheBytes: 1}
	w, err := wal.Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	payload := func(i uint64) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%08d", i)), size/8) }
	for i := uint64(1); i <= segments; i++ {
		if err := w.Append(i, []wal.Frame{{Type: 1, Payload: payload(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	const bound = 16 + 3 // DefaultMaxOpenSegments, and those written to, made ahead and read
	most := openBelow(t, dir)
	check := func(i uint64, f wal.Frame, err error) {
		if err != nil || !bytes.Equal(f.Payload, payload(i)) {
			t.Errorf("record %d: got %d bytes, %v", i, len(f.Payload), err)
		}
	}
	var readers sync.WaitGroup
	for n := range uint64(8) {
		readers.Go(func() {
			for k := range uint64(segments) {
				i := 1 + (k*7+n*11)%segments
				f, err := w.Get(i)
				check(i, f, err)
			}
		})
	}
	readers.Wait()
	most = max(most, openBelow(t, dir))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if left := openBelow(t, dir); left != 0 {
		t.Errorf("%d files are open after Close", left)
	}
	if w, err = wal.Open(dir, options); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	most = max(most, openBelow(t, dir))
	r := w.NewReader()
	defer r.Close()
	f, err := r.Get(1)
	check(1, f, err)
	if err := w.TruncateFront(segments); err != nil { // r continues with the deleted file
		t.Fatal(err)
	}
	f, err = w.Get(segments)
	check(segments, f, err)
	if most > bound {
		t.Errorf("%d files were open with %d segments, want at most %d", most, segments, bound)
	}
	testkit.Outcome(t, "B1", "a log of %d segments has at most %d files open", segments, most)
}

// tightFS has a limited number of descriptors for files.
type tightFS struct {
	*crashfs.FS
	most int
}

func (f *tightFS) OpenRead(name string) (wal.File, error) {
	if f.OpenFiles() >= f.most {
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EMFILE}
	}
	return f.FS.OpenRead(name)
}

// TestOpenFiles_NoDescriptorLeft shows that a log reads its old segments with the
// descriptors it has, when other parts of the process have taken all others.
func TestOpenFiles_NoDescriptorLeft(t *testing.T) {
	files := &tightFS{newFS(t), 1000}
	opts := testOptions(files)
	opts.MaxOpenSegments, opts.CacheBytes = 4, 1
	w := mustOpen(t, opts)
	for i := uint64(1); i <= 20; i++ {
		mustAppend(t, w, i, batch(i, 0, 1900))
	}
	files.most = files.OpenFiles()
	for round := range 2 {
		for i := uint64(1); i <= 20; i++ {
			if f, err := w.Get(i); err != nil || !bytes.Equal(f.Payload, payload(i, 0, 1900)) {
				t.Fatalf("round %d, record %d: got %d bytes, %v", round, i, len(f.Payload), err)
			}
		}
	}
	files.most = 0 // also the log's own
	if _, err := w.Get(1); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("without any: got %v", err)
	}
}
