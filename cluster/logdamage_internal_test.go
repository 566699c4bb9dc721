package cluster

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

var errFault = errors.New("injected fault")

// failer is the part of testing.TB that *rapid.T has too.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// fatals collects what a store reported to onFatal.
type fatals struct {
	mu   sync.Mutex
	errs []error
}

func (f *fatals) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, err)
}

func (f *fatals) all() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errs
}

// wantNone fails the test if anything was reported.
func (f *fatals) wantNone(t failer) {
	t.Helper()
	if errs := f.all(); len(errs) > 0 {
		t.Fatalf("onFatal was told of %v", errs)
	}
}

// wantOne fails the test unless exactly one error, which is target, was reported.
func (f *fatals) wantOne(t failer, target error) {
	t.Helper()
	if errs := f.all(); len(errs) != 1 || !errors.Is(errs[0], target) {
		t.Fatalf("onFatal was told of %v, want one error: %v", errs, target)
	}
}

func TestLogStore_DamagedRecord(t *testing.T) {
	l := openTestLog(t)
	l.options.CacheBytes = 1 // so that entries are read from their file
	l.reopen(t)
	mustStore(t, l, entries(1, 20, 1))
	names, err := l.fs.ReadDir("log")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "0001.log") {
			if err := l.fs.FlipBit("log/"+name, 1100, 3); err != nil {
				t.Fatal(err)
			}
		}
	}
	var out raft.Log
	if err := l.GetLog(1, &out); !errors.Is(err, wal.ErrCorrupt) {
		t.Fatalf("GetLog of a damaged entry: got %v, want %v", err, wal.ErrCorrupt)
	}
	l.fatals.wantOne(t, wal.ErrCorrupt)
	if err := l.StoreLogs(entries(21, 21, 1)); err == nil {
		t.Fatal("a log with a damaged entry took another one")
	}
}

func TestLogStore_ForeignRecord(t *testing.T) {
	for name, frame := range map[string]wal.Frame{
		"type":     {Type: wal.RecordTypePut, Payload: []byte("x")},
		"encoding": {Type: wal.RecordTypeEntry, Payload: []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			l := openTestLog(t)
			if err := l.wal.Append(1, []wal.Frame{frame}); err != nil {
				t.Fatal(err)
			}
			var out raft.Log
			if err := l.GetLog(1, &out); !errors.Is(err, wal.ErrCorrupt) {
				t.Fatalf("got %v, want %v", err, wal.ErrCorrupt)
			}
			l.fatals.wantOne(t, wal.ErrCorrupt)
		})
	}
}

func TestLogStore_WriteFails(t *testing.T) {
	l := openTestLog(t)
	mustStore(t, l, entries(1, 3, 1))
	l.fs.SetHook(func(op crashfs.Op, _ string) error {
		if op == crashfs.OpSync {
			return errFault
		}
		return nil
	})
	if err := l.StoreLogs(entries(4, 4, 1)); !errors.Is(err, errFault) {
		t.Fatalf("got %v, want %v", err, errFault)
	}
	l.fs.SetHook(nil)
	if err := l.StoreLogs(entries(4, 4, 1)); !errors.Is(err, errFault) {
		t.Fatalf("a failed log took an entry: %v", err)
	}
	l.fatals.wantOne(t, errFault)
	wantTerms(t, l, 1, 1, 1, 1)
}

func TestLogStore_ClosedIsNotFatal(t *testing.T) {
	l := openTestLog(t)
	mustStore(t, l, entries(1, 3, 1))
	if err := l.wal.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.StoreLogs(entries(4, 4, 1)); !errors.Is(err, wal.ErrWALClosed) {
		t.Fatalf("got %v, want %v", err, wal.ErrWALClosed)
	}
	l.fatals.wantNone(t)
}
