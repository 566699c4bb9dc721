package wal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testDir = "/data/wal"

var testOwner = wal.Owner{Node: "n1.4f2a", Cluster: "c-77"}

// testOptions make small segments. Only Close writes markers, and only Close,
// rotations and truncations save durable ends.
func testOptions(fsys wal.FS) wal.Options {
	return wal.Options{FS: fsys, MaxSegmentSize: 2048, MarkerDelay: time.Hour, DurableEndDelay: time.Hour, Owner: testOwner}
}

// newFS returns a filesystem in which the log's parent directory is durable.
func newFS(t testing.TB) *crashfs.FS {
	t.Helper()
	f := crashfs.New()
	if err := f.MkdirAll("/data"); err != nil {
		t.Fatal(err)
	}
	if err := f.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	return f
}

func mustOpen(t testing.TB, opts wal.Options) *wal.WAL {
	t.Helper()
	w, err := wal.Open(testDir, opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = w.Close() }) // a second Close, or that of a log that failed on purpose
	return w
}

func mustClose(t testing.TB, w *wal.WAL) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// payload returns size bytes that name the record they belong to.
func payload(index uint64, tag, size int) []byte {
	b := make([]byte, size)
	rng := rand.New(rand.NewPCG(index, uint64(tag)))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	if size >= 8 {
		binary.BigEndian.PutUint64(b, index)
	}
	return b
}

// batch makes one record of each size.
func batch(first uint64, tag int, sizes ...int) []wal.Frame {
	frames := make([]wal.Frame, len(sizes))
	for i, size := range sizes {
		frames[i] = wal.Frame{Type: wal.RecordTypeEntry, Payload: payload(first+uint64(i), tag, size)}
	}
	return frames
}

func mustAppend(t testing.TB, w *wal.WAL, first uint64, frames []wal.Frame) {
	t.Helper()
	if err := w.Append(first, frames); err != nil {
		t.Fatalf("Append(%d, %d records): %v", first, len(frames), err)
	}
}

// mustAppendEach appends the records from first to last, of 50 bytes, one at a time.
func mustAppendEach(t testing.TB, w *wal.WAL, first, last uint64) {
	t.Helper()
	for index := first; index <= last; index++ {
		mustAppend(t, w, index, batch(index, 0, 50))
	}
}

// mustHaveSaved checks the last record below the saved durable end.
func mustHaveSaved(t testing.TB, w *wal.WAL, want uint64) {
	t.Helper()
	if got := w.Stats().SavedIndex; got != want {
		t.Fatalf("durable end saved up to %d, want %d", got, want)
	}
}

// failOn returns a hook of a filesystem that fails each operation of one kind with EIO.
func failOn(failing crashfs.Op) func(crashfs.Op, string) error {
	return func(op crashfs.Op, _ string) error {
		if op == failing {
			return syscall.EIO
		}
		return nil
	}
}

// model is the expected content of a log. Its values are never changed, only replaced.
type model struct {
	first, next uint64 // as in the log: equal when empty, 0 when any index may follow
	frames      []wal.Frame
}

func (m model) append(first uint64, frames []wal.Frame) model {
	if m.next == 0 {
		m.first = first
	}
	m.next = first + uint64(len(frames))
	m.frames = append(m.frames[:len(m.frames):len(m.frames)], frames...)
	return m
}

func (m model) truncateFront(first uint64) model {
	if m.first == m.next || first <= m.first {
		return m
	}
	first = min(first, m.next)
	return model{first, m.next, m.frames[first-m.first:]}
}

func (m model) truncateBack(last uint64) model {
	switch {
	case m.next == 0 || last >= m.next-1:
		return m
	case last < m.first:
		return model{first: last + 1, next: last + 1}
	}
	return model{m.first, last + 1, m.frames[:last+1-m.first]}
}

func (m model) reset(next uint64) model { return model{first: next, next: next} }

// diff returns how a log differs from the model, or nil.
func (m model) diff(w *wal.WAL) error {
	first, last := m.first, m.next-1
	if m.first == m.next {
		first, last = 0, 0
	}
	if w.FirstIndex() != first || w.LastIndex() != last || w.Stats().NextIndex != m.next {
		return fmt.Errorf("got records %d to %d, next %d; want %d to %d, next %d",
			w.FirstIndex(), w.LastIndex(), w.Stats().NextIndex, first, last, m.next)
	}
	for i, want := range m.frames {
		index := m.first + uint64(i)
		got, err := w.Get(index)
		if err != nil {
			return fmt.Errorf("Get(%d): %w", index, err)
		}
		if got.Type != want.Type || !bytes.Equal(got.Payload, want.Payload) {
			return fmt.Errorf("record %d: got type %d and %x, want type %d and %x",
				index, got.Type, got.Payload, want.Type, want.Payload)
		}
	}
	for _, index := range []uint64{0, m.first - 1, m.next} {
		if index >= m.first && index < m.next {
			continue
		}
		if _, err := w.Get(index); !errors.Is(err, wal.ErrNotFound) {
			return fmt.Errorf("Get(%d) outside of the log: got %v, want ErrNotFound", index, err)
		}
	}
	return nil
}

func mustEqual(t testing.TB, w *wal.WAL, m model) {
	t.Helper()
	if err := m.diff(w); err != nil {
		t.Fatal(err)
	}
}
