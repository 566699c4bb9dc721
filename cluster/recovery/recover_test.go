package recovery_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestRecover_KeepsTheWholeState recovers one of three nodes, and opens its stores as the
// node of the new cluster does: the state is that of snapshot and log, the only voter is
// the node itself, and term and vote are unchanged.
func TestRecover_KeepsTheWholeState(t *testing.T) {
	dir := newNode(t, 2, voters(3), history(voters(3), 9, 3))
	before, err := recovery.Survey(wal.OS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	id, err := recovery.Recover(wal.OS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if id == oldCluster || id == "" {
		t.Errorf("the new cluster has the id %q, the old one %q", id, oldCluster)
	}
	want := before
	want.Cluster, want.Former, want.SnapshotIndex, want.Voters = id, []string{oldCluster}, 9, []string{before.ServerID()}
	if got, err := recovery.Survey(wal.OS(), dir); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	wantState(t, wal.OS(), dir, 9)
	if report, err := recovery.Check(wal.OS(), dir); err != nil || report.Log.Last != 0 || len(report.Snapshots) != 1 {
		t.Errorf("got %+v, %v, want an empty log and one snapshot", report, err)
	}

	ident := identityOf(2)
	ident.Cluster = id
	stores, err := openStores(wal.OS(), dir, ident)
	if err != nil {
		t.Fatal(err)
	}
	if term, err := stores.Stable.GetUint64([]byte("CurrentTerm")); err != nil || term != 7 {
		t.Errorf("the term is %d, %v, want 7", term, err)
	}
	if err := stores.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRecover_Again recovers a node of a recovered cluster: it remembers both.
func TestRecover_Again(t *testing.T) {
	dir := newNode(t, 1, voters(3), history(voters(3), 9, 1))
	var ids []string
	for range 2 {
		id, err := recovery.Recover(wal.OS(), dir)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	s, err := recovery.Survey(wal.OS(), dir)
	if want := []string{oldCluster, ids[0]}; err != nil || s.Cluster != ids[1] || !slices.Equal(s.Former, want) {
		t.Errorf("got %+v, %v, want cluster %s, formerly %v", s, err, ids[1], want)
	}
	wantState(t, wal.OS(), dir, 9)
	if !recovery.SameHistory([]recovery.Survivor{s, {Cluster: oldCluster}}) {
		t.Error("it is not of the old cluster's history")
	}
}

// TestRecover_UnknownCommand shows that Recover refuses an entry that this program can't
// apply, before it has changed anything.
func TestRecover_UnknownCommand(t *testing.T) {
	entries := append(history(voters(1), 9, 1), &raft.Log{Index: 10, Term: 1, Type: raft.LogCommand, Data: []byte{255}})
	dir := newNode(t, 1, voters(1), entries)
	before := tree(t, dir)
	var entry *fsm.EntryError
	if _, err := recovery.Recover(wal.OS(), dir); !errors.As(err, &entry) || entry.Index != 10 {
		t.Errorf("got %v, want an error of entry 10", err)
	}
	if !reflect.DeepEqual(tree(t, dir), before) {
		t.Error("something has changed")
	}
}

// noteTwice makes the next start of the node set everything aside.
func noteTwice(t testing.TB, files wal.FS, dir string) {
	t.Helper()
	for range 2 {
		if err := recovery.WriteNote(files, dir, recovery.Note{Incarnation: identityOf(1).Incarnation, Index: 9}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRecover_HalfWay ends a recovery before each of its changes, one after the other: each
// one begins with the files that the previous one left, and the last one finishes.
func TestRecover_HalfWay(t *testing.T) {
	dir := newNode(t, 1, voters(1), history(voters(1), 22, 1))
	noteTwice(t, wal.OS(), dir)
	for changes := 0; ; changes++ {
		files := &limitedFS{FS: wal.OS(), left: changes, err: errFault}
		_, err := recovery.Recover(files, dir)
		if err == nil {
			if changes < 5 {
				t.Errorf("recovery took only %d changes", changes)
			}
			break
		}
		if !errors.Is(err, errFault) {
			t.Fatalf("after %d changes: %v", changes, err)
		}
	}
	s, err := recovery.Survey(wal.OS(), dir)
	if err != nil || len(s.Voters) != 1 || s.LastIndex != 22 {
		t.Fatalf("got %+v, %v", s, err)
	}
	wantState(t, wal.OS(), dir, 22)
	kept, err := filepath.Glob(filepath.Join(dir, "wal-of-*", "*.log"))
	if err != nil || len(kept) == 0 {
		t.Errorf("the old log is not kept: %v, %v", kept, err)
	}
	if note, err := recovery.ReadNote(wal.OS(), dir); err != nil || note.Times != 0 {
		t.Errorf("the old note is still there: %+v, %v", note, err)
	}
	if report, err := recovery.Check(wal.OS(), dir); err != nil || report.Log.Last != 0 {
		t.Errorf("got log %+v, %v, want an empty one", report.Log, err)
	}
}

// TestRecover_PowerLoss loses power at each change of a recovery, in turn with none and all
// of the unsynced changes. Then the node is the old cluster's, whole; or it is the new
// one's, whole; or its stores refuse to open under its identity. Another recovery finishes.
func TestRecover_PowerLoss(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil { // for the lock
		t.Fatal(err)
	}
	whole := crashfs.New()
	makeNode(t, whole, dir, 1, voters(3), history(voters(3), 9, 2))
	if err := wal.WriteFileAtomic(whole, filepath.Join(dir, nodeid.PlanFile), nil); err != nil {
		t.Fatal(err)
	}
	refused, at := 0, 0
	for more := true; more; at++ {
		var left *crashfs.FS
		left, more = recoverUntil(t, whole.Clone(), dir, at, float64(at%2))
		if refusedAfterCrash(t, left, dir) {
			refused++
		}
		if _, err := recovery.Recover(left, dir); err != nil {
			t.Fatalf("again after %d changes: %v", at, err)
		}
		s, err := recovery.Survey(left, dir)
		if err != nil || len(s.Voters) != 1 || s.LastIndex != 9 || s.LastTerm != 2 || s.Former[0] != oldCluster {
			t.Fatalf("after %d changes: got %+v, %v", at, s, err)
		}
		wantState(t, left, dir, 9)
		if _, err := left.Stat(filepath.Join(dir, nodeid.PlanFile)); err == nil {
			t.Fatalf("after %d changes: the plan is still there", at)
		}
		if n := left.OpenFiles(); n != 0 {
			t.Fatalf("after %d changes: %d files are left open", at, n)
		}
	}
	if at < 20 || refused < 10 {
		t.Errorf("%d changes, of which %d crashes left a node that is refused", at, refused)
	}
	t.Logf("%d changes, of which %d left a node that is refused", at, refused)
}

// TestRecover_InterruptedMayLose interrupts the recovery of the only node of three that is
// left, at each change. Then the node may be the only voter of its configuration, but the
// others are still lost: MayLose is true until the recovery is finished.
func TestRecover_InterruptedMayLose(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil { // for the lock
		t.Fatal(err)
	}
	whole := crashfs.New()
	makeNode(t, whole, dir, 1, voters(3), history(voters(3), 9, 2))
	for at, more := 0, true; more; at++ {
		var left *crashfs.FS
		left, more = recoverUntil(t, whole.Clone(), dir, at, float64(at%2))
		s, err := recovery.Survey(left, dir)
		if err != nil {
			t.Fatalf("after %d changes: %v", at, err)
		}
		unfinished := s.Cluster == oldCluster || refusedAfterCrash(t, left, dir)
		if got := recovery.MayLose([]recovery.Survivor{s}); got != unfinished {
			t.Errorf("after %d changes: got may lose %t, want %t: %+v", at, got, unfinished, s)
		}
	}
}

// recoverUntil recovers dir and loses power at change number at. It returns the disk, and
// whether there was such a change.
func recoverUntil(t *testing.T, files *crashfs.FS, dir string, at int, keep float64) (*crashfs.FS, bool) {
	t.Helper()
	files.SetHook(func(op crashfs.Op, _ string) error {
		if op.Mutates() {
			if at--; at < 0 {
				return errFault
			}
		}
		return nil
	})
	_, err := recovery.Recover(files, dir)
	if err != nil && !errors.Is(err, errFault) {
		t.Fatal(err)
	}
	return files.Crash(crashfs.CrashOptions{Keep: keep}), err != nil
}

// refusedAfterCrash reports whether the stores of dir refuse to open for the node that its
// identity names. It fails the test if they open and are not whole.
func refusedAfterCrash(t *testing.T, files *crashfs.FS, dir string) bool {
	t.Helper()
	ident, found, err := nodeid.Load(files, dir, raftstore.Names())
	if err != nil || !found {
		t.Fatalf("no identity is left: %v", err)
	}
	probe := files.Clone() // opening it changes it
	stores, err := openStores(probe, dir, ident)
	if err != nil {
		var owner *wal.OwnerError
		if !errors.Is(err, wal.ErrCorrupt) && !errors.As(err, &owner) {
			t.Fatal(err)
		}
		return true
	}
	last, err := stores.Log.LastIndex()
	if err := errors.Join(err, stores.Close()); err != nil || last != 9 {
		t.Fatalf("cluster %s opens with entry %d last, %v", ident.Cluster, last, err)
	}
	return false
}
