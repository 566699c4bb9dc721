package wal_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/wal"
)

func TestWAL_AppendGetReopen(t *testing.T) {
	fsys := newFS(t)
	var m model
	w := mustOpen(t, testOptions(fsys))
	mustEqual(t, w, m)
	for i, sizes := range [][]int{{10}, {0, 1, 2}, {300, 300, 300}, {5000}, {1}, {900}, {64, 64}} {
		first := m.next
		if i == 0 {
			first = 5
		}
		frames := batch(first, 0, sizes...)
		mustAppend(t, w, first, frames)
		m = m.append(first, frames)
		mustEqual(t, w, m)
	}
	if got := w.Stats().Segments; got < 3 {
		t.Fatalf("got %d segments, want at least 3 for the test to mean anything", got)
	}
	for range 2 {
		mustClose(t, w)
		w = mustOpen(t, testOptions(fsys))
		mustEqual(t, w, m)
	}
	mustClose(t, w)
	if n := fsys.OpenFiles(); n != 0 {
		t.Fatalf("got %d open files after Close, want 0", n)
	}
}

func TestWAL_ReadsFromDisk(t *testing.T) {
	opts := testOptions(newFS(t))
	opts.CacheBytes = 1 // too small for any record
	w := mustOpen(t, opts)
	var m model
	for first := uint64(1); first < 40; first += 3 {
		frames := batch(first, 0, 100, 0, 7)
		mustAppend(t, w, first, frames)
		m = m.append(first, frames)
	}
	if got := w.Stats().CacheBytes; got != 0 {
		t.Fatalf("got %d bytes cached, want 0", got)
	}
	mustEqual(t, w, m)
}

func TestWAL_CacheIsBounded(t *testing.T) {
	opts := testOptions(newFS(t))
	opts.CacheBytes = 1000
	w := mustOpen(t, opts)
	var m model
	for first := uint64(1); first < 100; first++ {
		frames := batch(first, 0, int(first*7%200))
		mustAppend(t, w, first, frames)
		m = m.append(first, frames)
		if got := w.Stats().CacheBytes; got > opts.CacheBytes || got == 0 {
			t.Fatalf("after record %d: got %d bytes cached, want 1 to %d", first, got, opts.CacheBytes)
		}
	}
	mustEqual(t, w, m)
	if err := w.TruncateBack(50); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, w, m.truncateBack(50))
	mustAppend(t, w, 51, batch(51, 0, 10, 10, 10))
	cached := w.Stats().CacheBytes
	if err := w.TruncateFront(53); err != nil {
		t.Fatal(err)
	}
	if got := w.Stats().CacheBytes; got == 0 || got >= cached {
		t.Fatalf("one record left: got %d bytes cached of %d, want fewer", got, cached)
	}
	if err := w.Reset(1000); err != nil {
		t.Fatal(err)
	}
	if got := w.Stats().CacheBytes; got != 0 {
		t.Fatalf("empty log: got %d bytes cached, want 0", got)
	}
}

func TestWAL_AppendRefuses(t *testing.T) {
	w := mustOpen(t, testOptions(newFS(t)))
	one := batch(0, 0, 10)
	check := func(name string, first uint64, frames []wal.Frame, want error) {
		t.Helper()
		if err := w.Append(first, frames); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	check("index zero", 0, one, wal.ErrGap)
	check("last index", math.MaxUint64, one, wal.ErrGap)
	check("type zero", 1, []wal.Frame{{Payload: []byte("x")}}, wal.ErrInvalidFrame)
	check("the log's own type", 1, []wal.Frame{{Type: 0xF0}}, wal.ErrInvalidFrame)
	check("too large", 1, []wal.Frame{{Type: 1, Payload: make([]byte, wal.MaxPayload+1)}}, wal.ErrPayloadTooLarge)
	big := wal.Frame{Type: 1, Payload: make([]byte, wal.MaxPayload)}
	check("batch too large", 1, slices.Repeat([]wal.Frame{big}, 9), wal.ErrPayloadTooLarge)
	mustAppend(t, w, 7, one)
	check("again", 7, one, wal.ErrGap)
	check("gap", 9, one, wal.ErrGap)
	if err := w.Append(8, nil); err != nil {
		t.Errorf("append of nothing: got %v, want nil", err)
	}
	mustAppend(t, w, 8, one)
	if err := w.Err(); err != nil {
		t.Errorf("a refused append latched the log: %v", err)
	}
}

func TestWAL_Truncate(t *testing.T) {
	// Ten batches of two records from index 10 on, two batches in a segment.
	cases := map[string]struct {
		change func(*wal.WAL) error
		want   func(model) model
	}{
		"front below":        {func(w *wal.WAL) error { return w.TruncateFront(3) }, func(m model) model { return m }},
		"front in a batch":   {func(w *wal.WAL) error { return w.TruncateFront(15) }, func(m model) model { return m.truncateFront(15) }},
		"front at a segment": {func(w *wal.WAL) error { return w.TruncateFront(18) }, func(m model) model { return m.truncateFront(18) }},
		"front to the last":  {func(w *wal.WAL) error { return w.TruncateFront(29) }, func(m model) model { return m.truncateFront(29) }},
		"front everything":   {func(w *wal.WAL) error { return w.TruncateFront(30) }, func(m model) model { return m.reset(30) }},
		"front beyond":       {func(w *wal.WAL) error { return w.TruncateFront(99) }, func(m model) model { return m.reset(30) }},
		"back above":         {func(w *wal.WAL) error { return w.TruncateBack(29) }, func(m model) model { return m }},
		"back far above":     {func(w *wal.WAL) error { return w.TruncateBack(math.MaxUint64) }, func(m model) model { return m }},
		"back in a batch":    {func(w *wal.WAL) error { return w.TruncateBack(28) }, func(m model) model { return m.truncateBack(28) }},
		"back at a batch":    {func(w *wal.WAL) error { return w.TruncateBack(27) }, func(m model) model { return m.truncateBack(27) }},
		"back at a segment":  {func(w *wal.WAL) error { return w.TruncateBack(21) }, func(m model) model { return m.truncateBack(21) }},
		"back far":           {func(w *wal.WAL) error { return w.TruncateBack(10) }, func(m model) model { return m.truncateBack(10) }},
		"back everything":    {func(w *wal.WAL) error { return w.TruncateBack(9) }, func(m model) model { return m.reset(10) }},
		"back below":         {func(w *wal.WAL) error { return w.TruncateBack(4) }, func(m model) model { return m.reset(5) }},
		"back to nothing":    {func(w *wal.WAL) error { return w.TruncateBack(0) }, func(m model) model { return m.reset(1) }},
		"reset":              {func(w *wal.WAL) error { return w.Reset(77) }, func(m model) model { return m.reset(77) }},
		"reset to anywhere":  {func(w *wal.WAL) error { return w.Reset(0) }, func(m model) model { return m.reset(0) }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			fsys := newFS(t)
			w := mustOpen(t, testOptions(fsys))
			var m model
			for first := uint64(10); first < 30; first += 2 {
				mustAppend(t, w, first, batch(first, 0, 200, 200))
				m = m.append(first, batch(first, 0, 200, 200))
			}
			if err := c.change(w); err != nil {
				t.Fatal(err)
			}
			m = c.want(m)
			mustEqual(t, w, m)
			mustClose(t, w)
			w = mustOpen(t, testOptions(fsys))
			mustEqual(t, w, m)

			next := m.next
			if next == 0 {
				next = 1234
			} else if err := w.Append(next+1, batch(next, 1, 3)); !errors.Is(err, wal.ErrGap) {
				t.Fatalf("append with a gap: got %v, want ErrGap", err)
			}
			mustAppend(t, w, next, batch(next, 1, 300, 4))
			m = m.append(next, batch(next, 1, 300, 4))
			mustEqual(t, w, m)
			mustClose(t, w)
			mustEqual(t, mustOpen(t, testOptions(fsys)), m)
		})
	}
}

func TestWAL_TruncateFreesFiles(t *testing.T) {
	fsys := newFS(t)
	w := mustOpen(t, testOptions(fsys))
	for first := uint64(1); first <= 20; first++ {
		mustAppend(t, w, first, batch(first, 0, 500))
	}
	segments := func() (n int) {
		names, err := fsys.ReadDir(testDir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".log") {
				n++
			}
		}
		return n
	}
	before := segments()
	if err := w.TruncateFront(15); err != nil {
		t.Fatal(err)
	}
	mid := segments()
	if err := w.Reset(0); err != nil {
		t.Fatal(err)
	}
	// One file may have been prepared for the next segment.
	if after := segments(); before < 8 || mid >= before || after > 1 {
		t.Fatalf("got %d, %d, %d segment files; want them to go", before, mid, after)
	}
	if s := w.Stats(); s.Segments != 0 || s.LiveBytes != 0 || s.DiskBytes != 0 {
		t.Fatalf("got %+v, want no segments", s)
	}
}

func TestWAL_SweepsStrayFiles(t *testing.T) {
	fsys := newFS(t)
	w := mustOpen(t, testOptions(fsys))
	mustAppend(t, w, 1, batch(1, 0, 10))
	mustClose(t, w)
	for _, name := range []string{segmentPath(50), manifestPath + ".tmp", testDir + "/notes.txt"} {
		f, err := fsys.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		mustCloseFile(t, f)
	}
	w = mustOpen(t, testOptions(fsys))
	mustEqual(t, w, model{}.append(1, batch(1, 0, 10)))
	mustClose(t, w)
	names, err := fsys.ReadDir(testDir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"MANIFEST", "notes.txt", "wal-0000000000000001.log"}; !slices.Equal(names, want) {
		t.Fatalf("got %q, want %q", names, want)
	}
}

func mustCloseFile(t *testing.T, f wal.File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWAL_OptionsRefused(t *testing.T) {
	long := strings.Repeat("x", 256)
	for name, opts := range map[string]wal.Options{
		"segment size": {MaxSegmentSize: -1},
		"huge segment": {MaxSegmentSize: 1 << 40},
		"cache":        {CacheBytes: -1},
		"marker delay": {MarkerDelay: -1},
		"node":         {Owner: wal.Owner{Node: long}},
		"cluster":      {Owner: wal.Owner{Cluster: long}},
	} {
		opts.FS = newFS(t)
		if w, err := wal.Open(testDir, opts); err == nil {
			t.Errorf("%s: Open accepted it", name)
			mustClose(t, w)
		}
	}
}

func TestWAL_Close(t *testing.T) {
	w := mustOpen(t, testOptions(newFS(t)))
	mustAppend(t, w, 1, batch(1, 0, 10))
	mustClose(t, w)
	mustClose(t, w)
	for name, err := range map[string]error{
		"Append":        w.Append(2, batch(2, 0, 1)),
		"TruncateFront": w.TruncateFront(2),
		"TruncateBack":  w.TruncateBack(0),
		"Reset":         w.Reset(0),
		"Get":           func() error { _, err := w.Get(1); return err }(),
	} {
		if !errors.Is(err, wal.ErrWALClosed) {
			t.Errorf("%s after Close: got %v, want ErrWALClosed", name, err)
		}
	}
	select {
	case <-w.Failed():
		t.Error("Close latched a failure")
	default:
	}
}

func TestWAL_Stats(t *testing.T) {
	w := mustOpen(t, testOptions(newFS(t)))
	mustAppend(t, w, 3, batch(3, 0, 100, 100))
	mustAppend(t, w, 5, batch(5, 0, 100))
	s := w.Stats()
	if s.FirstIndex != 3 || s.LastIndex != 5 || s.NextIndex != 6 || s.Segments != 1 {
		t.Errorf("got %+v, want records 3 to 5 in one segment", s)
	}
	if s.Appends != 2 || s.Records != 3 || s.Syncs != 2 || s.SyncTimes.Count() != s.Syncs || s.SyncTimes.Sum < s.LastSync {
		t.Errorf("got %+v, want 2 appends of 3 records and 2 syncs", s)
	}
	if want := int64(3*109 + 37); s.LiveBytes != want { // one header is before the first record
		t.Errorf("got %d live bytes, want %d", s.LiveBytes, want)
	}
	if !s.WriteSince.IsZero() || s.DiskBytes != 2048 {
		t.Errorf("got %+v, want no write in progress and 2048 bytes on disk", s)
	}
}
