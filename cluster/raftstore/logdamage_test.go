package raftstore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

func TestLog_DamagedEntryIsFinal(t *testing.T) {
	l := openNew(t)
	l.options.Log.CacheBytes = 1 // so that entries are read from their file
	l.reopen(t)
	mustStore(t, l.Log, entries(1, 20, 1))
	names, err := l.fs.ReadDir(walDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "0001.log") {
			if err := l.fs.FlipBit(walDir+"/"+name, 1100, 3); err != nil {
				t.Fatal(err)
			}
		}
	}
	var out raft.Log
	if err := l.Log.GetLog(1, &out); !errors.Is(err, wal.ErrCorrupt) {
		t.Fatalf("GetLog of a damaged entry: got %v, want %v", err, wal.ErrCorrupt)
	}
	l.fatals.wantOne(t, wal.ErrCorrupt)
	if err := l.Log.StoreLogs(entries(21, 21, 1)); err == nil {
		t.Fatal("a log with a damaged entry took another one")
	}
}

func TestLog_ForeignRecordIsFinal(t *testing.T) {
	for name, frame := range map[string]wal.Frame{
		"type":     {Type: wal.RecordTypePut, Payload: []byte("x")},
		"encoding": {Type: wal.RecordTypeEntry, Payload: []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			l := openNew(t)
			l.close()
			w, err := wal.Open(walDir, wal.Options{FS: l.fs})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(w.Append(1, []wal.Frame{frame}), w.Close()); err != nil {
				t.Fatal(err)
			}
			l.mustOpen(t)
			var out raft.Log
			if err := l.Log.GetLog(1, &out); !errors.Is(err, wal.ErrCorrupt) {
				t.Fatalf("got %v, want %v", err, wal.ErrCorrupt)
			}
			l.fatals.wantOne(t, wal.ErrCorrupt)
		})
	}
}

func TestLog_FailedWriteIsFinal(t *testing.T) {
	l := openNew(t)
	mustStore(t, l.Log, entries(1, 3, 1))
	l.fs.SetHook(func(op crashfs.Op, _ string) error {
		if op == crashfs.OpSync {
			return errFault
		}
		return nil
	})
	if err := l.Log.StoreLogs(entries(4, 4, 1)); !errors.Is(err, errFault) {
		t.Fatalf("got %v, want %v", err, errFault)
	}
	l.fs.SetHook(nil)
	if err := l.Log.StoreLogs(entries(4, 4, 1)); !errors.Is(err, errFault) {
		t.Fatalf("a failed log took an entry: %v", err)
	}
	l.fatals.wantOne(t, errFault)
	wantTerms(t, l.Log, 1, 1, 1, 1)
}

func TestLog_ClosedIsNotFatal(t *testing.T) {
	l := openNew(t)
	mustStore(t, l.Log, entries(1, 3, 1))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Log.StoreLogs(entries(4, 4, 1)); !errors.Is(err, wal.ErrWALClosed) {
		t.Fatalf("got %v, want %v", err, wal.ErrWALClosed)
	}
	l.fatals.wantNone(t)
}
