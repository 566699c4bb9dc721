package raftstore_test

import (
	"errors"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/internal/sealed"
)

// TestLog_KeepsEveryField sets each field of a raft.Log to something: a field
// that raft adds, and the encoding does not know, comes back empty.
func TestLog_KeepsEveryField(t *testing.T) {
	l := openNew(t)
	want := raft.Log{
		Index: 1, Term: 7, Type: raft.LogConfiguration, Data: []byte("data"),
		Extensions: []byte("extensions"), AppendedAt: time.Unix(1700000000, 123456789).UTC(),
	}
	for i, v := 0, reflect.ValueOf(want); i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Fatalf("raft.Log.%s is not covered by this test", v.Type().Field(i).Name)
		}
	}
	if err := l.Log.StoreLog(&want); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := raft.Log{}
		if err := l.Log.GetLog(1, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		l.reopen(t)
	}
}

func TestLog_IsNotMonotonic(t *testing.T) {
	if openNew(t).Log.IsMonotonic() {
		t.Fatal("raft would delete the whole log when a snapshot is installed")
	}
}

func TestLog_RefusesGaps(t *testing.T) {
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
		{"gap in the call", nil, 0, append(entries(1, 2, 1), entries(4, 4, 1)...), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := openNew(t)
			mustStore(t, l.Log, test.stored)
			if test.boundary > 0 {
				mustTake(t, l.Snapshots, test.boundary, 1, nil)
			}
			err := l.Log.StoreLogs(test.add)
			if !test.ok {
				if !errors.Is(err, raftstore.ErrLogGap) {
					t.Fatalf("got %v, want %v", err, raftstore.ErrLogGap)
				}
				l.fatals.wantOne(t, raftstore.ErrLogGap)
				if again := l.Log.StoreLogs(entries(1, 1, 1)); !errors.Is(again, raftstore.ErrLogGap) {
					t.Fatalf("after a failure StoreLogs returned %v", again)
				}
				if again := l.Log.DeleteRange(1, 1); !errors.Is(again, raftstore.ErrLogGap) {
					t.Fatalf("after a failure DeleteRange returned %v", again)
				}
				l.fatals.wantOne(t, raftstore.ErrLogGap)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				l.fatals.wantNone(t)
				if got := termOf(t, l.Log, test.add[len(test.add)-1].Index); got != 1 {
					t.Fatalf("last entry has term %d", got)
				}
				l.reopen(t)
			}
		})
	}
}

// TestLog_AnswersForItsSnapshot is the table in Log's comment, with a snapshot at 7 of term 3.
func TestLog_AnswersForItsSnapshot(t *testing.T) {
	const snapshot, term = 7, 3
	for _, test := range []struct {
		name        string
		first, last uint64 // stored
		stored      uint64 // term
		wantFirst   uint64
		wantLast    uint64
		begins      uint64
		terms       []uint64 // of entries 5 to 9
	}{
		{"same term", 1, 9, 3, 1, 9, 1, []uint64{3, 3, 3, 3, 3}},
		{"trimmed", 8, 9, 3, 7, 9, 8, []uint64{0, 0, 3, 3, 3}},
		{"other term", 1, 9, 2, 7, 9, 1, []uint64{0, 0, 3, 2, 2}},
		{"other term at the end", 1, 7, 2, 7, 7, 1, []uint64{0, 0, 3, 0, 0}},
		{"ends before", 1, 5, 3, 7, 7, 1, []uint64{0, 0, 3, 0, 0}},
		{"no log", 0, 0, 0, 7, 7, 8, []uint64{0, 0, 3, 0, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := openNew(t)
			if test.first > 1 {
				mustTake(t, l.Snapshots, test.first-1, term, nil)
			}
			if test.last > 0 {
				mustStore(t, l.Log, entries(test.first, test.last, test.stored))
			}
			l.reopen(t)
			begun, refused := l.Snapshots.Create(raft.SnapshotVersionMax, snapshot-1, 1, servers, 1, nil)
			mustTake(t, l.Snapshots, snapshot, term, nil)
			l.fatals.wantNone(t)
			wantEnds(t, l.Log, test.wantFirst, test.wantLast)
			if got := l.Log.Begins(); got != test.begins {
				t.Errorf("the log begins at %d, want %d", got, test.begins)
			}
			wantTerms(t, l.Log, 5, test.terms...)
			for _, i := range []uint64{test.wantFirst, test.wantLast} {
				if termOf(t, l.Log, i) == 0 {
					t.Fatalf("entry %d is one end of the log and not found", i)
				}
			}
			if refused == nil { // Create allowed it; Close must refuse it
				refused = begun.Close()
			}
			if !errors.Is(refused, raftstore.ErrSnapshotSuperseded) {
				t.Fatalf("an older snapshot: got %v, want %v", refused, raftstore.ErrSnapshotSuperseded)
			}
			wantTerms(t, l.Log, 5, test.terms...)
		})
	}
}

// TestLog_ConflictIsRepaired takes raft's steps after an overruled follower got a
// snapshot: probe at the snapshot, find the conflict behind it, truncate, append.
func TestLog_ConflictIsRepaired(t *testing.T) {
	l := openNew(t)
	mustStore(t, l.Log, entries(1, 12, 2))
	mustTake(t, l.Snapshots, 7, 3, nil)
	wantTerms(t, l.Log, 6, 0, 3, 2, 2, 2, 2, 2, 0)
	mustDelete(t, l.Log, 8, 12)
	wantEnds(t, l.Log, 7, 7)
	mustStore(t, l.Log, entries(8, 9, 3))
	for range 2 {
		wantEnds(t, l.Log, 7, 9)
		wantTerms(t, l.Log, 6, 0, 3, 3, 3, 0)
		l.fatals.wantNone(t)
		l.reopen(t)
	}
	// The next snapshot must not bring the overruled entries back.
	mustTake(t, l.Snapshots, 9, 3, nil)
	wantTerms(t, l.Log, 5, 0, 0, 0, 3, 3, 0)
}

// TestLog_StaleLastEntryNeedsRestart: raft keeps the term of its last entry in memory,
// where the boundary can't correct it.
func TestLog_StaleLastEntryNeedsRestart(t *testing.T) {
	l := openNew(t)
	mustStore(t, l.Log, entries(1, 7, 2))
	mustTake(t, l.Snapshots, 7, 3, nil)
	l.fatals.wantOne(t, raftstore.ErrRestart)
	l.reopen(t)
	l.fatals.wantNone(t)
	wantTerms(t, l.Log, 6, 0, 3, 0)
	mustStore(t, l.Log, entries(8, 8, 3))
	wantTerms(t, l.Log, 6, 0, 3, 3)
}

// TestLog_FirstEntryIsNeverMadeUp: entry 1 has no predecessor, so raft
// would send a made-up one to a follower as if it were the real one.
func TestLog_FirstEntryIsNeverMadeUp(t *testing.T) {
	l := openNew(t)
	mustTake(t, l.Snapshots, 1, 1, nil)
	wantEnds(t, l.Log, 0, 0)
	wantTerms(t, l.Log, 1, 0, 0)
	mustStore(t, l.Log, entries(2, 3, 1))
	wantEnds(t, l.Log, 2, 3)
	wantTerms(t, l.Log, 1, 0, 1, 1)

	// An overruled entry is not returned in its place either.
	for last := uint64(1); last <= 2; last++ {
		l = openNew(t)
		mustStore(t, l.Log, entries(1, last, 1))
		l.reopen(t)
		mustTake(t, l.Snapshots, 1, 2, nil)
		if last == 1 {
			wantEnds(t, l.Log, 0, 0)
		} else {
			wantEnds(t, l.Log, 2, 2)
		}
		wantTerms(t, l.Log, 1, 0)
	}
}

// TestOpen_RefusesHoleInLog: the newest snapshot was lost, and no snapshot reaches the
// log's first entry. With the newest one back, the log is whole again.
func TestOpen_RefusesHoleInLog(t *testing.T) {
	l := openNew(t)
	mustTake(t, l.Snapshots, 8, 1, nil)
	newest := filepath.Join(snapshotsDir, mustTake(t, l.Snapshots, 9, 1, nil))
	mustStore(t, l.Log, entries(10, 12, 1))
	l.crash()
	if err := l.fs.Rename(newest, "aside"); err != nil {
		t.Fatal(err)
	}
	for _, with := range []point{{8, 1}, {}} {
		lowered := map[string]uint64{"snapshot_index": with.index, "snapshot_term": with.term}
		if err := sealed.Write(l.fs, floorFile, floorFormat, lowered); err != nil {
			t.Fatal(err)
		}
		if err := l.open(); !errors.Is(err, raftstore.ErrLogHole) {
			t.Fatalf("with the snapshot at %d: got %v, want %v", with.index, err, raftstore.ErrLogHole)
		}
		if err := l.fs.RemoveAll(snapshotsDir); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.fs.MkdirAll(snapshotsDir), l.fs.Rename("aside", newest)); err != nil {
		t.Fatal(err)
	}
	l.mustOpen(t)
	wantEnds(t, l.Log, 9, 12)
}

func TestLog_DeletesOnlyWhatMayGo(t *testing.T) {
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
		{"front, from below", 0, 100, 2000, 101, last, false},
		{"front keeps the newest", 1, last - 1, last, last - stay + 1, last, false},
		{"front keeps what no snapshot holds", 1, 1000, 500, 500, last, false},
		{"front without a snapshot", 1, 1000, 0, 1, last, false},
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
			l := openNew(t)
			mustStore(t, l.Log, entries(1, last, 1))
			l.Log.SetTrailing(l.Log.BytesFrom(last - stay + 1))
			if test.snapshot > 0 {
				mustTake(t, l.Snapshots, test.snapshot, 1, nil)
			}
			err := l.Log.DeleteRange(test.min, test.max)
			if test.wantError {
				if !errors.Is(err, raftstore.ErrLogDelete) {
					t.Fatalf("got %v, want %v", err, raftstore.ErrLogDelete)
				}
				l.fatals.wantOne(t, raftstore.ErrLogDelete)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				l.fatals.wantNone(t)
				wantEnds(t, l.Log, test.first, test.last)
				l.reopen(t)
			}
		})
	}
}

// TestLog_Hold: neither raft nor the node trims what is held at that moment. What is held no more
// goes with the next trim, and counts as excess before.
func TestLog_Hold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the log gets no marker of its idle end while bytes are counted
		l := openNew(t)
		mustStore(t, l.Log, entries(1, 20, 1))
		mustTake(t, l.Snapshots, 15, 1, nil)
		l.Log.SetTrailing(0)
		var hold uint64
		l.Log.Hold(func() uint64 { return hold })
		for _, tt := range []struct{ hold, first uint64 }{{7, 7}, {5, 7}, {12, 12}, {0, 15}} {
			hold = tt.hold
			if err := errors.Join(l.Log.DeleteRange(1, 14), l.Log.Trim(0)); err != nil {
				t.Fatal(err)
			}
			if got := l.Log.Held(); got != tt.hold {
				t.Errorf("got %d, want %d", got, tt.hold)
			}
			wantEnds(t, l.Log, tt.first, 20)
		}
		mustStore(t, l.Log, entries(21, 3000, 1))
		mustTake(t, l.Snapshots, 2500, 1, nil)
		hold = 16
		if got := l.Log.Excess(0); got != 0 {
			t.Errorf("held: got an excess of %d bytes", got)
		}
		l.Log.Hold(nil)
		before, excess := l.Log.BytesFrom(l.Log.Begins()), l.Log.Excess(0)
		if err := l.Log.Trim(0); err != nil {
			t.Fatal(err)
		}
		if removed := before - l.Log.BytesFrom(l.Log.Begins()); excess == 0 || removed != excess {
			t.Errorf("not held: got an excess of %d bytes, and %d were removed", excess, removed)
		}
		if got := l.Log.Excess(0); got != 0 {
			t.Errorf("after a trim: got an excess of %d bytes", got)
		}
	})
}

// TestLog_ReadWhileTrimmed reads and trims while entries are appended: a reader
// gets the right entry or ErrLogNotFound.
func TestLog_ReadWhileTrimmed(t *testing.T) {
	const total = 6000
	l := openNew(t)
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
				err := l.Log.GetLog(i, &out)
				if err != nil && err != raft.ErrLogNotFound || err == nil && (out.Index != i || out.Term != 1) {
					t.Errorf("GetLog(%d) = entry %d of term %d, %v", i, out.Index, out.Term, err)
					return
				}
				if _, err := l.Log.FirstIndex(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	trim := make(chan uint64)
	wg.Go(func() {
		for upTo := range trim {
			if _, err := take(l.Snapshots, upTo, 1, nil); err != nil {
				t.Error(err)
			}
			if err := l.Log.DeleteRange(1, upTo); err != nil {
				t.Error(err)
			}
		}
	})
	for i := uint64(1); i < total; i += 60 {
		mustStore(t, l.Log, entries(i, i+59, 1))
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
