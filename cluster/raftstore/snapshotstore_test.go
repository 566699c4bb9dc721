package raftstore_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// wantNewest checks the results of List and Open.
func wantNewest(t testing.TB, s raft.SnapshotStore, want point, state []byte) {
	t.Helper()
	newest := newestOf(t, s)
	if newest == nil {
		t.Fatalf("no snapshot, want %v", want)
		return // staticcheck does not know that Fatalf of a testing.TB ends the function
	}
	if got := (point{newest.Index, newest.Term}); got != want {
		t.Fatalf("newest snapshot is %v, want %v", got, want)
	}
	got, err := readState(s, newest.ID)
	if err != nil || !bytes.Equal(got, state) {
		t.Fatalf("state of %d bytes, %v, want %d bytes", len(got), err, len(state))
	}
}

func TestSnapshots_KeepEverySize(t *testing.T) {
	fsys := crashfs.New()
	s := openOn(t, fsys)
	if list, err := s.Snapshots.List(); err != nil || len(list) != 0 {
		t.Fatalf("an empty store lists %v, %v", list, err)
	}
	for i, size := range []int{0, 1, blockPayload - 1, blockPayload, blockPayload + 1, 3 * blockPayload, 10*blockPayload + 7} {
		state, at := randomBytes(size), point{uint64(10 + i), 2}
		mustTake(t, s.Snapshots, at.index, at.term, state)
		wantNewest(t, s.Snapshots, at, state)
		s = openOn(t, fsys.Crash(crashfs.CrashOptions{}))
		wantNewest(t, s.Snapshots, at, state)
		if got := s.Log.SnapshotIndex(); got != at.index {
			t.Fatalf("the log begins behind %d, want %d", got, at.index)
		}
		s = openOn(t, fsys)
	}
}

func TestSnapshots_KeepTheirMeta(t *testing.T) {
	fsys := crashfs.New()
	s := openOn(t, fsys)
	id := mustTake(t, s.Snapshots, 10, 2, []byte("state"))
	want := &raft.SnapshotMeta{
		Version: 1, ID: id, Index: 10, Term: 2,
		Configuration: servers, ConfigurationIndex: 3, Size: 5,
	}
	for range 2 {
		got, r, err := s.Snapshots.Open(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		got.Configuration.Servers[0].ID = "changed" // must not reach the store
		s = openOn(t, fsys)
	}
	if n := fsys.OpenFiles(); n != 0 {
		t.Fatalf("%d files left open", n)
	}
}

func TestSnapshots_ReadInSmallPieces(t *testing.T) {
	s := openOn(t, crashfs.New())
	want := randomBytes(2*blockPayload + 100)
	_, r, err := s.Snapshots.Open(mustTake(t, s.Snapshots, 10, 2, want))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []byte
	for p := make([]byte, 1000); ; {
		n, err := r.Read(p)
		got = append(got, p[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read behind the end: %d, %v", n, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes that differ from the %d written", len(got), len(want))
	}
}

func TestSnapshots_RetainTheNewest(t *testing.T) {
	fsys := crashfs.New()
	s := newMember(fsys)
	s.options.RetainSnapshots = 0 // the newest is kept in any case
	s.mustOpen(t)
	first := mustTake(t, s.Snapshots, 10, 2, []byte("a"))
	wantNewest(t, s.Snapshots, point{10, 2}, []byte("a"))
	s.close()
	s = openOn(t, fsys)
	second := mustTake(t, s.Snapshots, 20, 2, []byte("b"))
	_, r, err := s.Snapshots.Open(first)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.Snapshots.OpenFiles(); n != 1 {
		t.Fatalf("%d files of snapshots are open, want the one that is read", n)
	}
	third := mustTake(t, s.Snapshots, 30, 2, []byte("c"))
	wantNewest(t, s.Snapshots, point{30, 2}, []byte("c"))
	names, err := fsys.ReadDir(snapshotsDir)
	if want := []string{second, third}; err != nil || !reflect.DeepEqual(names, want) {
		t.Fatalf("directories %v, %v, want %v", names, err, want)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "a" {
		t.Fatalf("a snapshot removed while it was read gave %q, %v", got, err)
	}
	if got, err := readState(s.Snapshots, second); err != nil || string(got) != "b" {
		t.Fatalf("the one before the newest gave %q, %v", got, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if n := s.Snapshots.OpenFiles(); n != 0 {
		t.Fatalf("%d files of snapshots are open", n)
	}
	s.Snapshots.Keep(0)
	wantNames(t, fsys, 1)
	wantNewest(t, s.Snapshots, point{30, 2}, []byte("c"))
}

func TestSnapshots_OlderOneIsRefused(t *testing.T) {
	s := openOn(t, crashfs.New())
	begun := mustCreate(t, s.Snapshots, 15, 2)
	mustTake(t, s.Snapshots, 20, 2, []byte("installed meanwhile"))
	if _, err := s.Snapshots.Create(raft.SnapshotVersionMax, 19, 2, servers, 3, nil); !errors.Is(err, raftstore.ErrSnapshotSuperseded) {
		t.Fatalf("Create below the newest: got %v, want %v", err, raftstore.ErrSnapshotSuperseded)
	}
	if err := begun.Close(); !errors.Is(err, raftstore.ErrSnapshotSuperseded) {
		t.Fatalf("Close below the newest: got %v, want %v", err, raftstore.ErrSnapshotSuperseded)
	}
	first, second := mustTake(t, s.Snapshots, 20, 2, []byte("a")), mustTake(t, s.Snapshots, 20, 2, []byte("b"))
	if first == second {
		t.Fatalf("two snapshots have the name %s", first)
	}
	wantNewest(t, s.Snapshots, point{20, 2}, []byte("b"))
	s.fatals.wantNone(t)
}

func TestSnapshots_UnknownVersionIsRefused(t *testing.T) {
	s := openOn(t, crashfs.New())
	for _, version := range []raft.SnapshotVersion{raft.SnapshotVersionMin, raft.SnapshotVersionMax + 1} {
		if _, err := s.Snapshots.Create(version, 1, 1, servers, 1, nil); err == nil {
			t.Fatalf("version %d was accepted", version)
		}
	}
	if _, _, err := s.Snapshots.Open("1-1-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Open of what is not there: got %v", err)
	}
}

func TestSink_CancelledCloseFails(t *testing.T) {
	fsys := crashfs.New()
	s := openOn(t, fsys)
	k := mustCreate(t, s.Snapshots, 10, 2)
	if _, err := k.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := k.Cancel(); err != nil {
			t.Fatal(err)
		}
	}
	// After a success raft would trim the entries that the snapshot covers.
	if err := k.Close(); !errors.Is(err, raftstore.ErrSnapshotCancelled) {
		t.Fatalf("Close after Cancel: got %v, want %v", err, raftstore.ErrSnapshotCancelled)
	}
	k = mustCreate(t, s.Snapshots, 10, 2)
	for range 2 {
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Cancel(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Write([]byte("x")); err == nil {
		t.Fatal("a closed snapshot was written to")
	}
	wantNewest(t, s.Snapshots, point{10, 2}, nil)
	wantNames(t, fsys, 1)
	if n := fsys.OpenFiles(); n != 0 {
		t.Fatalf("%d files left open", n)
	}
}

// wantNames checks the number of snapshot directories, and that none is unfinished.
func wantNames(t testing.TB, fsys wal.FS, want int) {
	t.Helper()
	names, err := fsys.ReadDir(snapshotsDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != want || strings.Contains(strings.Join(names, " "), unfinished) {
		t.Fatalf("directories %v, want %d finished ones", names, want)
	}
}

func TestOpen_SweepsUnfinishedSnapshots(t *testing.T) {
	fsys := crashfs.New()
	s := openOn(t, fsys)
	mustTake(t, s.Snapshots, 10, 2, []byte("a"))
	if _, err := mustCreate(t, s.Snapshots, 20, 2).Write(randomBytes(1 << 20)); err != nil {
		t.Fatal(err)
	}
	if err := fsys.MkdirAll("data/snapshots/lost+found"); err != nil {
		t.Fatal(err)
	}
	s = openOn(t, fsys)
	wantNames(t, fsys, 2)
	wantNewest(t, s.Snapshots, point{10, 2}, []byte("a"))
}

// TestSnapshots_FloorNeverGoesBack takes many snapshots at once: the floor, which is written
// for each that becomes the newest, never decreases.
func TestSnapshots_FloorNeverGoesBack(t *testing.T) {
	s := openNew(t)
	var floors []uint64
	s.fs.SetHook(func(op crashfs.Op, name string) error {
		if op == crashfs.OpSyncDir && name == dir { // one at a time, after the floor has its name
			var f struct {
				Index uint64 `json:"snapshot_index"`
			}
			if err := sealed.Read(s.fs, floorFile, floorFormat, &f); err != nil {
				return err
			}
			floors = append(floors, f.Index)
		}
		return nil
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range uint64(50) {
				if _, err := take(s.Snapshots, 10+i, 2, []byte("state")); err != nil && !errors.Is(err, raftstore.ErrSnapshotSuperseded) {
					t.Error(err)
				}
				list, err := s.Snapshots.List()
				if err != nil {
					t.Error(err)
					continue
				}
				if got, err := readState(s.Snapshots, list[0].ID); err != nil && !errors.Is(err, fs.ErrNotExist) ||
					err == nil && string(got) != "state" {
					t.Errorf("state %q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	s.fs.SetHook(nil)
	wantNewest(t, s.Snapshots, point{59, 2}, []byte("state"))
	if !slices.IsSorted(floors) || len(floors) < 50 || floors[len(floors)-1] != 59 {
		t.Fatalf("the floors were %v", floors)
	}
	s.fatals.wantNone(t)
}
