package raftstore_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// onDisk makes stores on a real disk, changes them, and returns their directory.
func onDisk(t *testing.T, change func(*raftstore.Stores) error) string {
	t.Helper()
	opts := raftstore.Options{Dir: t.TempDir(), RetainSnapshots: 1, OnFatal: func(err error) { t.Error(err) }}
	stores, err := raftstore.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(change(stores), stores.Close()); err != nil {
		t.Fatal(err)
	}
	return opts.Dir
}

// unchanged leaves stores as Open makes them.
func unchanged(*raftstore.Stores) error { return nil }

// voted gives stores a vote.
func voted(s *raftstore.Stores) error {
	return errors.Join(setTerm(s.Stable, 7), vote(s.Stable, 7, "n2.b"))
}

// TestCheck_ReadsTheBallot damages the record of term and vote in pages that are whole.
func TestCheck_ReadsTheBallot(t *testing.T) {
	dir := onDisk(t, voted)
	file := filepath.Join(dir, "stable", "raft.db")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(whole, []byte("n2.b"), []byte("n3.b")), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := raftstore.Check(wal.OS(), dir)
	if !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), file) || report.Stable {
		t.Errorf("got %+v, %v, want damage of %s", report, err, file)
	}
	if _, err := raftstore.Open(t.Context(), raftstore.Options{Dir: dir, RetainSnapshots: 1}); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("open: got %v", err)
	}
}

// TestCheck_WithoutFloor removes the floor and some of the stores. Stores that hold nothing
// are those of a first start that was interrupted, and Open makes the rest. If one of them
// holds something, the floor is missing.
func TestCheck_WithoutFloor(t *testing.T) {
	for name, tt := range map[string]struct {
		holds func(*raftstore.Stores) error
		lost  []string
		whole bool
	}{
		"Empty":            {unchanged, nil, true},
		"EmptyWithoutLog":  {unchanged, []string{"wal"}, true},
		"EmptyWithoutVote": {unchanged, []string{"wal", "stable"}, true},
		"Nothing":          {unchanged, []string{"wal", "stable", "snapshots"}, true},
		"Vote":             {voted, nil, false},
		"VoteWithoutLog":   {voted, []string{"wal"}, false},
		"Log":              {func(s *raftstore.Stores) error { return s.Log.StoreLogs(entries(1, 3, 1)) }, []string{"stable"}, false},
		"SnapshotWithout":  {func(s *raftstore.Stores) error { _, err := take(s.Snapshots, 3, 1, nil); return err }, []string{"wal", "stable"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := onDisk(t, tt.holds)
			for _, name := range append(tt.lost, "floor.json") {
				if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			_, err := raftstore.Check(wal.OS(), dir)
			if tt.whole && err != nil {
				t.Errorf("check: got %v", err)
			}
			if !tt.whole && (!errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), "floor.json")) {
				t.Errorf("check: got %v, want that floor.json is missing", err)
			}
			stores, err := raftstore.Open(t.Context(), raftstore.Options{Dir: dir, RetainSnapshots: 1})
			if err == nil {
				err = stores.Close()
			}
			if tt.whole != (err == nil) {
				t.Errorf("open: got %v", err)
			}
		})
	}
}

// TestReplace_InterruptedIsNamed: while the new log of an unfinished Replace has no name yet,
// the other stores must exist all the same, and the error for the log says what to do.
func TestReplace_InterruptedIsNamed(t *testing.T) {
	m, _ := written(t)
	m.fs.SetHook(func(op crashfs.Op, name string) error {
		if op == crashfs.OpRename && name == dir+"/wal.new" {
			return errFault
		}
		return nil
	})
	if err := replaceAtNine(m.fs, "old"); !errors.Is(err, errFault) {
		t.Fatalf("got %v, want %v", err, errFault)
	}
	m.fs.SetHook(nil)
	if _, err := raftstore.Read(m.fs, dir, nil, nil); err != nil {
		t.Fatal(err)
	}
	m.options.Log.Owner = newOwner
	_, checked := raftstore.Check(m.fs, dir)
	for what, err := range map[string]error{"check": checked, "open": m.open()} {
		if !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), "kvorum recover") {
			t.Errorf("%s: got %v, want that the recovery is unfinished", what, err)
		}
	}
	m.close()
	if err := m.fs.RemoveAll(dir + "/stable"); err != nil {
		t.Fatal(err)
	}
	if _, err := raftstore.Read(m.fs, dir, nil, nil); !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), "raft.db") {
		t.Errorf("without term and vote: got %v, want that raft.db is missing", err)
	}
}
