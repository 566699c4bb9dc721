package raftstore_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// configurationEntry returns an entry that has c.
func configurationEntry(index, term uint64, c raft.Configuration) []*raft.Log {
	return []*raft.Log{{Index: index, Term: term, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(c)}}
}

// written returns a closed member with two snapshots, at 3 and 5 of term 1, entries up to
// 9 of term 2, and a configuration in entry 8 that differs from the snapshots'.
func written(t testing.TB) (*member, raft.Configuration) {
	t.Helper()
	changed := raft.Configuration{Servers: servers.Servers[:1]}
	m := openNew(t)
	mustStore(t, m.Log, entries(1, 5, 1))
	mustTake(t, m.Snapshots, 3, 1, []byte("at 3"))
	mustTake(t, m.Snapshots, 5, 1, []byte("at 5"))
	mustStore(t, m.Log, entries(6, 7, 2))
	mustStore(t, m.Log, configurationEntry(8, 2, changed))
	mustStore(t, m.Log, entries(9, 9, 2))
	m.crash()
	return m, changed
}

func TestRead_FindsTheWholeHistory(t *testing.T) {
	m, changed := written(t)
	var state string
	var visited []uint64
	h, err := raftstore.Read(m.fs, dir, func(meta *raft.SnapshotMeta, r io.Reader) error {
		b, err := io.ReadAll(r)
		state = string(b)
		return err
	}, func(log *raft.Log) { visited = append(visited, log.Index) })
	want := raftstore.History{SnapshotIndex: 5, LastIndex: 9, LastTerm: 2, Configuration: changed, Previous: servers}
	if err != nil || !reflect.DeepEqual(h, want) {
		t.Errorf("got %+v, %v, want %+v", h, err, want)
	}
	if state != "at 5" || !reflect.DeepEqual(visited, []uint64{6, 7, 8, 9}) {
		t.Errorf("got the state %q and entries %v", state, visited)
	}
	if h, err := raftstore.Read(m.fs, dir, nil, nil); err != nil || !reflect.DeepEqual(h, want) {
		t.Errorf("without functions: got %+v, %v", h, err)
	}
	if _, err := raftstore.Read(m.fs, dir, func(*raft.SnapshotMeta, io.Reader) error { return errFault }, nil); !errors.Is(err, errFault) {
		t.Errorf("got %v, want the caller's error", err)
	}
	if n := m.fs.OpenFiles(); n != 0 {
		t.Errorf("%d files left open", n)
	}
}

// TestRead_OverruledLogIsLeftOut: a log that the newest snapshot contradicts does not
// belong to the history.
func TestRead_OverruledLogIsLeftOut(t *testing.T) {
	m := openNew(t)
	mustStore(t, m.Log, entries(1, 9, 2))
	mustTake(t, m.Snapshots, 5, 3, nil)
	m.crash()
	h, err := raftstore.Read(m.fs, dir, nil, func(log *raft.Log) { t.Errorf("entry %d was shown", log.Index) })
	if err != nil || h.LastIndex != 5 || h.LastTerm != 3 {
		t.Errorf("got %+v, %v", h, err)
	}
}

// TestRead_RefusesWhatOpenRefuses: damage and missing stores are errors offline, too.
func TestRead_RefusesWhatOpenRefuses(t *testing.T) {
	m, _ := written(t)
	for _, lost := range [][]string{{walDir}, {"data/stable"}, {snapshotsDir}, {floorFile}, {floorFile, snapshotsDir}, {floorFile, walDir}} {
		without := m.fs.Clone()
		for _, name := range lost {
			if err := without.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := raftstore.Read(without, dir, nil, nil); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("read without %s: got %v, want %v", lost, err, wal.ErrCorrupt)
		}
		if _, err := raftstore.Check(without, dir); !slices.Contains(lost, floorFile) && !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("check without %s: got %v, want %v", lost, err, wal.ErrCorrupt)
		}
	}
}

// TestRead_RefusesHoleInLog: no entry may be missing between the newest snapshot, or the
// beginning, and the log's first entry.
func TestRead_RefusesHoleInLog(t *testing.T) {
	m := openNew(t)
	mustTake(t, m.Snapshots, 8, 1, nil)
	newest := mustTake(t, m.Snapshots, 9, 1, nil)
	mustStore(t, m.Log, entries(10, 12, 1))
	m.crash()
	if h, err := raftstore.Read(m.fs, dir, nil, nil); err != nil || h.LastIndex != 12 {
		t.Fatalf("got %+v, %v", h, err)
	}
	if err := m.fs.RemoveAll(filepath.Join(snapshotsDir, newest)); err != nil {
		t.Fatal(err)
	}
	for _, with := range []point{{8, 1}, {}} {
		lowered := map[string]uint64{"snapshot_index": with.index, "snapshot_term": with.term}
		if err := sealed.Write(m.fs, floorFile, floorFormat, lowered); err != nil {
			t.Fatal(err)
		}
		_, err := raftstore.Read(m.fs, dir, nil, func(log *raft.Log) { t.Errorf("entry %d was shown", log.Index) })
		if !errors.Is(err, raftstore.ErrLogHole) {
			t.Errorf("with the snapshot at %d: got %v, want %v", with.index, err, raftstore.ErrLogHole)
		}
		if err := m.fs.RemoveAll(snapshotsDir); err != nil {
			t.Fatal(err)
		}
	}
}

// newOwner is the owner of the logs that tests make with Replace.
var newOwner = wal.Owner{Node: "n1", Cluster: "new"}

// replaceAtNine calls Replace for the end of the history of written, with one voter.
func replaceAtNine(files wal.FS, former string) error {
	alone := raftstore.History{LastIndex: 9, LastTerm: 2, Configuration: raft.Configuration{Servers: servers.Servers[:1]}}
	return raftstore.Replace(files, dir, alone, newOwner, former, func(sink raft.SnapshotSink) error {
		_, err := sink.Write([]byte("at 9"))
		return errors.Join(err, sink.Close())
	})
}

// failAfter allows a number of changes of files, and fails all later ones.
func failAfter(files *crashfs.FS, changes int) {
	files.SetHook(func(op crashfs.Op, _ string) error {
		if !op.Mutates() {
			return nil
		}
		if changes--; changes < 0 {
			return errFault
		}
		return nil
	})
}

// TestReplace_HalfWay ends a replacement before each of its changes: Open refuses the
// stores under the new owner, Read accepts them, and the next call finishes.
func TestReplace_HalfWay(t *testing.T) {
	before, _ := written(t)
	calls := 0
	replace := func(files wal.FS) error {
		calls++
		return replaceAtNine(files, fmt.Sprint("old", calls))
	}
	for changes, finished := 0, false; !finished; changes++ {
		m := newMember(before.fs.Clone())
		calls = 0
		m.options.Log.Owner = newOwner
		failAfter(m.fs, changes)
		err := replace(m.fs)
		m.fs.SetHook(nil)
		if finished = err == nil; finished && changes < 10 {
			t.Fatalf("only %d changes", changes)
		}
		if !finished {
			if h, err := raftstore.Read(m.fs, dir, nil, nil); err != nil || h.LastIndex != 9 || h.LastTerm != 2 {
				t.Fatalf("read after %d changes: got %+v, %v", changes, h, err)
			}
			if err := replace(m.fs); err != nil {
				t.Fatalf("again after %d changes: %v", changes, err)
			}
		}
		var floor map[string]uint64
		if err := sealed.Read(m.fs, floorFile, floorFormat, &floor); err != nil || floor["snapshot_index"] != 9 || floor["snapshot_term"] != 2 {
			t.Fatalf("after %d changes the floor is %v, %v", changes, floor, err)
		}
		m.mustOpen(t)
		wantNewest(t, m.Snapshots, point{9, 2}, []byte("at 9"))
		wantEnds(t, m.Log, 9, 9)
		wantNames(t, m.fs, 1)
		m.fatals.wantNone(t)
		m.close()
		kept := uint64(0)
		for call := range calls {
			if log, err := wal.Check(m.fs, fmt.Sprint("data/wal-of-old", call+1)); err == nil {
				kept = max(kept, log.Last)
			}
		}
		if kept != 9 {
			t.Fatalf("after %d changes the old log is not kept: it ends at %d", changes, kept)
		}
	}
}

// TestReplace_PowerLossTwice loses power at each change of a replacement, and again at each
// change of the next one. Read accepts the stores that are left, and a third call finishes.
func TestReplace_PowerLossTwice(t *testing.T) {
	before, _ := written(t)
	for _, keep := range []float64{0, 1} {
		for first, more := 0, true; more; first++ {
			var once *crashfs.FS
			once, more = replaceUntil(t, before.fs.Clone(), "old1", first, keep)
			for second, again := 0, true; again; second++ {
				var twice *crashfs.FS
				twice, again = replaceUntil(t, once.Clone(), "old2", second, keep)
				wantReplaced(t, twice, fmt.Sprintf("with %v of what was not synced, after %d changes and %d", keep, first, second))
			}
		}
	}
}

// replaceUntil replaces the stores on files and loses power at change number at. It returns
// the disk, and whether there was such a change.
func replaceUntil(t *testing.T, files *crashfs.FS, former string, at int, keep float64) (*crashfs.FS, bool) {
	t.Helper()
	failAfter(files, at)
	err := replaceAtNine(files, former)
	if err != nil && !errors.Is(err, errFault) {
		t.Fatalf("%s, until change %d: %v", former, at, err)
	}
	return files.Crash(crashfs.CrashOptions{Keep: keep}), err != nil
}

// wantReplaced fails the test unless another replacement of the stores on files succeeds,
// and the old log is kept.
func wantReplaced(t *testing.T, files *crashfs.FS, when string) {
	t.Helper()
	if h, err := raftstore.Read(files, dir, nil, nil); err != nil || h.LastIndex != 9 || h.LastTerm != 2 {
		t.Fatalf("read %s: got %+v, %v", when, h, err)
	}
	if err := replaceAtNine(files, "old3"); err != nil {
		t.Fatalf("again %s: %v", when, err)
	}
	kept := uint64(0)
	for call := range 3 {
		if log, err := wal.Check(files, fmt.Sprint("data/wal-of-old", call+1)); err == nil {
			kept = max(kept, log.Last)
		}
	}
	if kept != 9 {
		t.Fatalf("%s the old log is not kept: it ends at %d", when, kept)
	}
	m := newMember(files)
	m.options.Log.Owner = newOwner
	m.mustOpen(t)
	wantNewest(t, m.Snapshots, point{9, 2}, []byte("at 9"))
	wantEnds(t, m.Log, 9, 9)
	m.fatals.wantNone(t)
	m.close()
}

// TestReplace_InterruptedIsRefused: before the new log is in place, the stores don't open
// under the new owner.
func TestReplace_InterruptedIsRefused(t *testing.T) {
	m, _ := written(t)
	owner := wal.Owner{Node: "n1", Cluster: "new"}
	m.fs.SetHook(func(op crashfs.Op, name string) error {
		if op == crashfs.OpRename && name == walDir {
			return errFault
		}
		return nil
	})
	err := raftstore.Replace(m.fs, dir, raftstore.History{LastIndex: 9, LastTerm: 2, Configuration: servers}, owner, "old",
		func(sink raft.SnapshotSink) error { return sink.Close() })
	if !errors.Is(err, errFault) {
		t.Fatalf("got %v, want %v", err, errFault)
	}
	m.fs.SetHook(nil)
	m.options.Log.Owner = owner
	var other *wal.OwnerError
	if err := m.open(); !errors.As(err, &other) {
		t.Errorf("got %v, want an OwnerError", err)
	}
	m.close()
}

// TestCheck_Reports checks a directory on a real disk, and finds a damaged byte of each
// store.
func TestCheck_Reports(t *testing.T) {
	opts := raftstore.Options{Dir: t.TempDir(), RetainSnapshots: 2, OnFatal: func(err error) { t.Error(err) }}
	stores, err := raftstore.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	mustStore(t, stores.Log, entries(1, 9, 1))
	older := mustTake(t, stores.Snapshots, 3, 1, []byte("at 3"))
	newest := mustTake(t, stores.Snapshots, 5, 1, []byte("at five"))
	if err := stores.Close(); err != nil {
		t.Fatal(err)
	}
	snapshots := filepath.Join(opts.Dir, "snapshots")
	got, err := raftstore.Check(wal.OS(), opts.Dir)
	want := []raftstore.SnapshotReport{
		{File: filepath.Join(snapshots, older), Index: 3, Term: 1, Bytes: 4},
		{File: filepath.Join(snapshots, newest), Index: 5, Term: 1, Bytes: 7},
	}
	if err != nil || !reflect.DeepEqual(got.Snapshots, want) || got.Log.Last != 9 || !got.Stable {
		t.Fatalf("got %+v, %v", got, err)
	}
	logs, err := filepath.Glob(filepath.Join(opts.Dir, "wal", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("%v, %v", logs, err)
	}
	for _, file := range []string{
		filepath.Join(snapshots, older, stateFile), filepath.Join(snapshots, newest, metaFile), logs[0],
		filepath.Join(opts.Dir, "stable", "raft.db"), filepath.Join(opts.Dir, "floor.json"),
	} {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bad := append([]byte(nil), whole...)
		bad[20] ^= 0x10
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		var version *wal.VersionError
		if _, err := raftstore.Check(wal.OS(), opts.Dir); !errors.Is(err, wal.ErrCorrupt) && !errors.As(err, &version) || !strings.Contains(err.Error(), file) {
			t.Errorf("damage of %s: got %v", file, err)
		}
		if err := os.WriteFile(file, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNames_IsAllThatIsMade: Open makes the files that Names lists, and no others.
func TestNames_IsAllThatIsMade(t *testing.T) {
	m := openNew(t)
	got, err := m.fs.ReadDir(dir)
	want := map[string]bool{}
	for _, name := range raftstore.Names() {
		want[name] = true
	}
	if err != nil || len(got) != len(want) {
		t.Fatalf("got %v, %v, want %v", got, err, raftstore.Names())
	}
	for _, name := range got {
		if !want[name] {
			t.Errorf("%s is not in Names", name)
		}
	}
}
