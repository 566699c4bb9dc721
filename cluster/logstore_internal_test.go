package cluster

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// testLog is a logStore on a directory, which can be opened again.
type testLog struct {
	*logStore
	fatals  *fatals
	fs      *crashfs.FS
	options wal.Options
}

func openTestLog(t testing.TB) *testLog {
	t.Helper()
	l := &testLog{fs: crashfs.New(), options: wal.Options{MaxSegmentSize: 64 << 10}}
	l.open(t)
	t.Cleanup(func() { _ = l.wal.Close() })
	return l
}

func (l *testLog) open(t failer) {
	t.Helper()
	l.options.FS = l.fs
	w, err := wal.Open("log", l.options)
	if err != nil {
		t.Fatal(err)
	}
	l.fatals = &fatals{}
	l.logStore = newLogStore(w, 64<<20, l.fatals.fail)
}

// reopen opens what a power failure leaves: all that was promised to be durable.
func (l *testLog) reopen(t failer) {
	t.Helper()
	old := l.wal
	l.fs = l.fs.Crash(crashfs.CrashOptions{})
	l.open(t)
	_ = old.Close() // on the filesystem that is no more
}

// entries returns logs from index first to last of one term.
func entries(first, last, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := first; i <= last; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: term, Data: fmt.Appendf(nil, "%d@%d", i, term)})
	}
	return logs
}

func mustStore(t failer, s raft.LogStore, logs []*raft.Log) {
	t.Helper()
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
}

func mustDelete(t failer, s raft.LogStore, first, last uint64) {
	t.Helper()
	if err := s.DeleteRange(first, last); err != nil {
		t.Fatal(err)
	}
}

// wantEnds checks FirstIndex and LastIndex.
func wantEnds(t failer, s raft.LogStore, wantFirst, wantLast uint64) {
	t.Helper()
	first, err := s.FirstIndex()
	last, err2 := s.LastIndex()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if first != wantFirst || last != wantLast {
		t.Fatalf("log is %d to %d, want %d to %d", first, last, wantFirst, wantLast)
	}
}

// termOf returns the term of an entry, 0 if it is not found.
func termOf(t failer, s raft.LogStore, index uint64) uint64 {
	t.Helper()
	var l raft.Log
	err := s.GetLog(index, &l)
	if err == raft.ErrLogNotFound { // the very value: raft compares it by identity
		return 0
	}
	if err != nil {
		t.Fatalf("GetLog(%d): %v", index, err)
	}
	if l.Index != index {
		t.Fatalf("GetLog(%d) returned entry %d", index, l.Index)
	}
	return l.Term
}

// wantTerms checks the terms of consecutive entries from index first on, 0 for one that is not found.
func wantTerms(t failer, s raft.LogStore, first uint64, want ...uint64) {
	t.Helper()
	var got []uint64
	for i := range want {
		got = append(got, termOf(t, s, first+uint64(i)))
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("terms from entry %d on are %v, want %v", first, got, want)
	}
}

// TestLogStore_EveryField sets each field of a raft.Log to something: a field
// that raft adds, and the encoding does not know, comes back empty.
func TestLogStore_EveryField(t *testing.T) {
	l := openTestLog(t)
	want := raft.Log{
		Index: 1, Term: 7, Type: raft.LogConfiguration, Data: []byte("data"),
		Extensions: []byte("extensions"), AppendedAt: time.Unix(1700000000, 123456789).UTC(),
	}
	for i, v := 0, reflect.ValueOf(want); i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Fatalf("raft.Log.%s is not covered by this test", v.Type().Field(i).Name)
		}
	}
	if err := l.StoreLog(&want); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := raft.Log{}
		if err := l.GetLog(1, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		l.reopen(t)
	}
}

func TestLogStore_NotMonotonic(t *testing.T) {
	if newLogStore(nil, 0, nil).IsMonotonic() {
		t.Fatal("raft would delete the whole log when a snapshot is installed")
	}
}

func TestLogStore_Gaps(t *testing.T) {
	for _, test := range []struct {
		name     string
		stored   []*raft.Log
		boundary uint64
		add      []*raft.Log
		ok       bool
	}{
		{"first entry", nil, 0, entries(1, 3, 1), true},
		{"no first entry", nil, 0, entries(2, 3, 1), false},
		{"next entry", entries(1, 3, 1), 0, entries(4, 5, 1), true},
		{"gap", entries(1, 3, 1), 0, entries(5, 5, 1), false},
		{"overwrite", entries(1, 3, 1), 0, entries(3, 3, 1), false},
		{"behind a snapshot, no log", nil, 9, entries(10, 11, 1), true},
		{"behind a snapshot, short log", entries(1, 3, 1), 9, entries(10, 11, 1), true},
		{"continuing a log that is hidden", entries(1, 3, 1), 9, entries(4, 11, 1), false},
		{"gap behind a snapshot", entries(1, 3, 1), 9, entries(11, 11, 1), false},
		{"snapshot inside of the log", entries(1, 12, 1), 9, entries(10, 11, 1), false},
		{"gap in the batch", nil, 0, append(entries(1, 2, 1), entries(4, 4, 1)...), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := openTestLog(t)
			mustStore(t, l, test.stored)
			if test.boundary > 0 {
				l.setBoundary(test.boundary, 1)
			}
			err := l.StoreLogs(test.add)
			if !test.ok {
				if !errors.Is(err, errLogGap) {
					t.Fatalf("got %v, want %v", err, errLogGap)
				}
				l.fatals.wantOne(t, errLogGap)
				if again := l.StoreLogs(entries(1, 1, 1)); !errors.Is(again, errLogGap) {
					t.Fatalf("after a failure StoreLogs returned %v", again)
				}
				if again := l.DeleteRange(1, 1); !errors.Is(again, errLogGap) {
					t.Fatalf("after a failure DeleteRange returned %v", again)
				}
				l.fatals.wantOne(t, errLogGap)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				l.fatals.wantNone(t)
				if got := termOf(t, l, test.add[len(test.add)-1].Index); got != 1 {
					t.Fatalf("last entry has term %d", got)
				}
				l.reopen(t)
				l.setBoundary(test.boundary, 1)
			}
		})
	}
}

// TestLogStore_Boundary is the table in logStore's comment, with a snapshot at 7 of term 3.
func TestLogStore_Boundary(t *testing.T) {
	const snapshot, term = 7, 3
	for _, test := range []struct {
		name        string
		first, last uint64 // stored
		stored      uint64 // term
		wantFirst   uint64
		wantLast    uint64
		terms       []uint64 // of entries 5 to 9
	}{
		{"same term", 1, 9, 3, 1, 9, []uint64{3, 3, 3, 3, 3}},
		{"trimmed", 8, 9, 3, 7, 9, []uint64{0, 0, 3, 3, 3}},
		{"other term", 1, 9, 2, 7, 9, []uint64{0, 0, 3, 2, 2}},
		{"other term at the end", 1, 7, 2, 7, 7, []uint64{0, 0, 3, 0, 0}},
		{"ends before", 1, 5, 3, 7, 7, []uint64{0, 0, 3, 0, 0}},
		{"no log", 0, 0, 0, 7, 7, []uint64{0, 0, 3, 0, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := openTestLog(t)
			if test.first > 1 {
				l.setBoundary(test.first-1, term)
			}
			if test.last > 0 {
				mustStore(t, l, entries(test.first, test.last, test.stored))
			}
			l.reopen(t)
			l.setBoundary(snapshot, term)
			l.fatals.wantNone(t)
			wantEnds(t, l, test.wantFirst, test.wantLast)
			wantTerms(t, l, 5, test.terms...)
			for _, i := range []uint64{test.wantFirst, test.wantLast} {
				if termOf(t, l, i) == 0 {
					t.Fatalf("entry %d is one end of the log and not found", i)
				}
			}
			l.setBoundary(snapshot-1, 1) // a snapshot that was begun earlier
			wantTerms(t, l, 5, test.terms...)
		})
	}
}

// TestLogStore_ConflictIsRepaired goes raft's way after an overruled follower
// got a snapshot: probe at the snapshot, find the conflict behind it, cut, append.
func TestLogStore_ConflictIsRepaired(t *testing.T) {
	l := openTestLog(t)
	mustStore(t, l, entries(1, 12, 2))
	l.setBoundary(7, 3)
	wantTerms(t, l, 6, 0, 3, 2, 2, 2, 2, 2, 0)
	mustDelete(t, l, 8, 12)
	wantEnds(t, l, 7, 7)
	mustStore(t, l, entries(8, 9, 3))
	for range 2 {
		wantEnds(t, l, 7, 9)
		wantTerms(t, l, 6, 0, 3, 3, 3, 0)
		l.fatals.wantNone(t)
		l.reopen(t)
		l.setBoundary(7, 3)
	}
	// The next snapshot must not bring the overruled entries back.
	l.setBoundary(9, 3)
	wantTerms(t, l, 5, 0, 0, 0, 3, 3, 0)
}

// TestLogStore_StaleLastEntry: raft keeps the term of its last entry in memory,
// where the boundary can't correct it.
func TestLogStore_StaleLastEntry(t *testing.T) {
	l := openTestLog(t)
	mustStore(t, l, entries(1, 7, 2))
	l.setBoundary(7, 3)
	l.fatals.wantOne(t, errLogRestart)
	l.reopen(t)
	l.setBoundary(7, 3)
	l.fatals.wantNone(t)
	wantTerms(t, l, 6, 0, 3, 0)
	mustStore(t, l, entries(8, 8, 3))
	wantTerms(t, l, 6, 0, 3, 3)
}

// TestLogStore_FirstEntryIsNeverMadeUp: entry 1 has no predecessor, so raft
// would send a made-up one to a follower as if it were the real one.
func TestLogStore_FirstEntryIsNeverMadeUp(t *testing.T) {
	l := openTestLog(t)
	l.setBoundary(1, 1)
	wantEnds(t, l, 0, 0)
	wantTerms(t, l, 1, 0, 0)
	mustStore(t, l, entries(2, 3, 1))
	wantEnds(t, l, 2, 3)
	wantTerms(t, l, 1, 0, 1, 1)

	// Neither is an overruled one shown in its place.
	for last := uint64(1); last <= 2; last++ {
		l = openTestLog(t)
		mustStore(t, l, entries(1, last, 1))
		l.reopen(t)
		l.setBoundary(1, 2)
		if last == 1 {
			wantEnds(t, l, 0, 0)
		} else {
			wantEnds(t, l, 2, 2)
		}
		wantTerms(t, l, 1, 0)
	}
}

// TestLogStore_Hole: the newest snapshot was lost, and the log stands on nothing.
func TestLogStore_Hole(t *testing.T) {
	l := openTestLog(t)
	l.setBoundary(9, 1)
	mustStore(t, l, entries(10, 12, 1))
	l.reopen(t)
	if _, err := l.LastIndex(); !errors.Is(err, errLogHole) {
		t.Fatalf("LastIndex without a snapshot: got %v, want %v", err, errLogHole)
	}
	l.setBoundary(8, 1)
	if _, err := l.FirstIndex(); !errors.Is(err, errLogHole) {
		t.Fatalf("FirstIndex with an older snapshot: got %v, want %v", err, errLogHole)
	}
	l.setBoundary(9, 1)
	wantEnds(t, l, 9, 12)
}

func TestLogStore_DeleteRange(t *testing.T) {
	const last, stay = 3072, 1024
	for _, test := range []struct {
		name      string
		min, max  uint64
		snapshot  uint64
		first     uint64
		last      uint64
		wantError bool
	}{
		{"head", 1, 100, 2000, 101, last, false},
		{"head, from below", 0, 100, 2000, 101, last, false},
		{"head keeps the newest", 1, last - 1, last, last - stay + 1, last, false},
		{"head keeps what no snapshot holds", 1, 1000, 500, 500, last, false},
		{"head without a snapshot", 1, 1000, 0, 1, last, false},
		{"end", 2500, last, 2000, 1, 2499, false},
		{"end, beyond", 2500, last + 100, 2000, 1, 2499, false},
		{"end right behind the snapshot", 2001, last, 2000, 1, 2000, false},
		{"end reaches into the snapshot", 2000, last, 2000, 0, 0, true},
		{"middle", 100, 200, 2000, 0, 0, true},
		{"all, without a snapshot", 1, last, 0, 0, 0, false},
		{"all, with a snapshot", 1, last, last, last, last, false},
		{"above", last + 1, last + 9, 2000, 1, last, false},
		{"nothing", 5, 4, 2000, 1, last, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := openTestLog(t)
			mustStore(t, l, entries(1, last, 1))
			l.trailing.Store(l.wal.BytesFrom(last - stay + 1))
			if test.snapshot > 0 {
				l.setBoundary(test.snapshot, 1)
			}
			err := l.DeleteRange(test.min, test.max)
			if test.wantError {
				if !errors.Is(err, errLogDelete) {
					t.Fatalf("got %v, want %v", err, errLogDelete)
				}
				l.fatals.wantOne(t, errLogDelete)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				l.fatals.wantNone(t)
				wantEnds(t, l, test.first, test.last)
				l.reopen(t)
				if test.snapshot > 0 {
					l.setBoundary(test.snapshot, 1)
				}
			}
		})
	}
}

// TestLogStore_Concurrent reads and trims while entries are appended: a reader
// gets the right entry or ErrLogNotFound.
func TestLogStore_Concurrent(t *testing.T) {
	const total = 6000
	l := openTestLog(t)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := uint64(1); ; i = i%total + 7 {
				select {
				case <-done:
					return
				default:
				}
				var out raft.Log
				err := l.GetLog(i, &out)
				if err != nil && err != raft.ErrLogNotFound || err == nil && (out.Index != i || out.Term != 1) {
					t.Errorf("GetLog(%d) = entry %d of term %d, %v", i, out.Index, out.Term, err)
					return
				}
				if _, err := l.FirstIndex(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	trim := make(chan uint64)
	wg.Go(func() {
		for upTo := range trim {
			l.setBoundary(upTo, 1)
			if err := l.DeleteRange(1, upTo); err != nil {
				t.Error(err)
			}
		}
	})
	for i := uint64(1); i < total; i += 60 {
		mustStore(t, l, entries(i, i+59, 1))
		select {
		case trim <- i:
		default:
		}
	}
	close(trim)
	close(done)
	wg.Wait()
	l.fatals.wantNone(t)
}
