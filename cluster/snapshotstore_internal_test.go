package cluster

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

var testServers = raft.Configuration{Servers: []raft.Server{
	{Suffrage: raft.Voter, ID: "n1.0123456789abcdef", Address: "n1.0123456789abcdef"},
	{Suffrage: raft.Nonvoter, ID: "n2.0123456789abcdef", Address: "n2.0123456789abcdef"},
}}

// point is a snapshot's index and term.
type point struct{ index, term uint64 }

// testSnapshots is a snapshotStore with what it reported.
type testSnapshots struct {
	*snapshotStore
	fatals  fatals
	durable []point
}

func openTestSnapshots(fsys wal.FS, retain int) (*testSnapshots, error) {
	s := &testSnapshots{}
	var err error
	s.snapshotStore, err = openSnapshotStore(fsys, "data/snapshots", retain, slog.New(slog.DiscardHandler),
		func(index, term uint64) { s.durable = append(s.durable, point{index, term}) }, s.fatals.fail)
	return s, err
}

func mustOpenSnapshots(t testing.TB, fsys wal.FS) *testSnapshots {
	t.Helper()
	mustMkdir(t, fsys, "data")
	if err := fsys.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	s, err := openTestSnapshots(fsys, 2)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustCreate(t testing.TB, s raft.SnapshotStore, index, term uint64) raft.SnapshotSink {
	t.Helper()
	k, err := s.Create(raft.SnapshotVersionMax, index, term, testServers, 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// take makes a snapshot with the given state.
func take(s raft.SnapshotStore, index, term uint64, state []byte) (string, error) {
	k, err := s.Create(raft.SnapshotVersionMax, index, term, testServers, 3, nil)
	if err != nil {
		return "", err
	}
	if _, err := k.Write(state); err != nil {
		return "", errors.Join(err, k.Cancel())
	}
	return k.ID(), k.Close()
}

func mustTake(t testing.TB, s raft.SnapshotStore, index, term uint64, state []byte) string {
	t.Helper()
	id, err := take(s, index, term, state)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// readState returns a snapshot's state.
func readState(s raft.SnapshotStore, id string) ([]byte, error) {
	_, r, err := s.Open(id)
	if err != nil {
		return nil, err
	}
	state, err := io.ReadAll(r)
	return state, errors.Join(err, r.Close())
}

// wantNewest checks what List says and Open reads.
func wantNewest(t testing.TB, s raft.SnapshotStore, want point, state []byte) {
	t.Helper()
	list, err := s.List()
	if err != nil || len(list) != 1 {
		t.Fatalf("List: %d snapshots, %v", len(list), err)
	}
	if got := (point{list[0].Index, list[0].Term}); got != want {
		t.Fatalf("newest snapshot is %v, want %v", got, want)
	}
	got, err := readState(s, list[0].ID)
	if err != nil || !bytes.Equal(got, state) {
		t.Fatalf("state of %d bytes, %v, want %d bytes", len(got), err, len(state))
	}
}

// randomBytes returns the same n bytes each time.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestSnapshotStore_Sizes(t *testing.T) {
	fsys := crashfs.New()
	s := mustOpenSnapshots(t, fsys)
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Fatalf("an empty store lists %v, %v", list, err)
	}
	for i, size := range []int{0, 1, blockPayload - 1, blockPayload, blockPayload + 1, 3 * blockPayload, 10*blockPayload + 7} {
		state, at := randomBytes(size), point{uint64(10 + i), 2}
		mustTake(t, s, at.index, at.term, state)
		wantNewest(t, s, at, state)
		s = mustOpenSnapshots(t, fsys.Crash(crashfs.CrashOptions{}))
		wantNewest(t, s, at, state)
		if want := []point{at}; !reflect.DeepEqual(s.durable, want) {
			t.Fatalf("onDurable at open was told of %v, want %v", s.durable, want)
		}
		s = mustOpenSnapshots(t, fsys)
	}
}

func TestSnapshotStore_Meta(t *testing.T) {
	fsys := crashfs.New()
	s := mustOpenSnapshots(t, fsys)
	id := mustTake(t, s, 10, 2, []byte("state"))
	want := &raft.SnapshotMeta{
		Version: 1, ID: id, Index: 10, Term: 2,
		Configuration: testServers, ConfigurationIndex: 3, Size: 5,
	}
	for range 2 {
		got, r, err := s.Open(id)
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
		s = mustOpenSnapshots(t, fsys)
	}
	if n := fsys.OpenFiles(); n != 0 {
		t.Fatalf("%d files left open", n)
	}
}

func TestSnapshotStore_SmallReads(t *testing.T) {
	s := mustOpenSnapshots(t, crashfs.New())
	want := randomBytes(2*blockPayload + 100)
	_, r, err := s.Open(mustTake(t, s, 10, 2, want))
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

func TestSnapshotStore_RetainsTheNewest(t *testing.T) {
	fsys := crashfs.New()
	s, err := openTestSnapshots(fsys, 0) // the newest is kept even so
	if err != nil {
		t.Fatal(err)
	}
	mustTake(t, s, 10, 2, []byte("a"))
	wantNewest(t, s, point{10, 2}, []byte("a"))
	s = mustOpenSnapshots(t, fsys)
	second := mustTake(t, s, 20, 2, []byte("b"))
	_, r, err := s.Open(s.snapshots[1].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	third := mustTake(t, s, 30, 2, []byte("c"))
	wantNewest(t, s, point{30, 2}, []byte("c"))
	names, err := fsys.ReadDir("data/snapshots")
	if want := []string{second, third}; err != nil || !reflect.DeepEqual(names, want) {
		t.Fatalf("directories %v, %v, want %v", names, err, want)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "a" {
		t.Fatalf("a snapshot removed while it was read gave %q, %v", got, err)
	}
	if got, err := readState(s, second); err != nil || string(got) != "b" {
		t.Fatalf("the one before the newest gave %q, %v", got, err)
	}
	if want := []point{{10, 2}, {20, 2}, {30, 2}}; !reflect.DeepEqual(s.durable, want) {
		t.Fatalf("onDurable was told of %v, want %v", s.durable, want)
	}
}

func TestSnapshotStore_OldIsRefused(t *testing.T) {
	s := mustOpenSnapshots(t, crashfs.New())
	begun := mustCreate(t, s, 15, 2)
	mustTake(t, s, 20, 2, []byte("installed meanwhile"))
	if _, err := s.Create(raft.SnapshotVersionMax, 19, 2, testServers, 3, nil); !errors.Is(err, errSnapshotSuperseded) {
		t.Fatalf("Create below the newest: got %v, want %v", err, errSnapshotSuperseded)
	}
	if err := begun.Close(); !errors.Is(err, errSnapshotSuperseded) {
		t.Fatalf("Close below the newest: got %v, want %v", err, errSnapshotSuperseded)
	}
	first, second := mustTake(t, s, 20, 2, []byte("a")), mustTake(t, s, 20, 2, []byte("b"))
	if first == second {
		t.Fatalf("two snapshots have the name %s", first)
	}
	wantNewest(t, s, point{20, 2}, []byte("b"))
	s.fatals.wantNone(t)
}

func TestSnapshotStore_UnknownVersion(t *testing.T) {
	s := mustOpenSnapshots(t, crashfs.New())
	for _, version := range []raft.SnapshotVersion{raft.SnapshotVersionMin, raft.SnapshotVersionMax + 1} {
		if _, err := s.Create(version, 1, 1, testServers, 1, nil); err == nil {
			t.Fatalf("version %d was accepted", version)
		}
	}
	if _, _, err := s.Open("1-1-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Open of what is not there: got %v", err)
	}
}

func TestSnapshotSink_CancelAndClose(t *testing.T) {
	fsys := crashfs.New()
	s := mustOpenSnapshots(t, fsys)
	k := mustCreate(t, s, 10, 2)
	if _, err := k.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := k.Cancel(); err != nil {
			t.Fatal(err)
		}
	}
	// Success would let raft drop the log that the snapshot was to replace.
	if err := k.Close(); !errors.Is(err, errSnapshotCancelled) {
		t.Fatalf("Close after Cancel: got %v, want %v", err, errSnapshotCancelled)
	}
	k = mustCreate(t, s, 10, 2)
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
	wantNewest(t, s, point{10, 2}, nil)
	wantNames(t, fsys, 1)
	if n := fsys.OpenFiles(); n != 0 {
		t.Fatalf("%d files left open", n)
	}
}

// wantNames checks how many snapshot directories there are, and that none is unfinished.
func wantNames(t testing.TB, fsys wal.FS, want int) {
	t.Helper()
	names, err := fsys.ReadDir("data/snapshots")
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != want || strings.Contains(strings.Join(names, " "), unfinishedSuffix) {
		t.Fatalf("directories %v, want %d finished ones", names, want)
	}
}

func TestSnapshotStore_SweepsUnfinished(t *testing.T) {
	fsys := crashfs.New()
	s := mustOpenSnapshots(t, fsys)
	mustTake(t, s, 10, 2, []byte("a"))
	if _, err := mustCreate(t, s, 20, 2).Write(randomBytes(1 << 20)); err != nil {
		t.Fatal(err)
	}
	mustMkdir(t, fsys, "data/snapshots/lost+found")
	s = mustOpenSnapshots(t, fsys)
	wantNames(t, fsys, 2)
	wantNewest(t, s, point{10, 2}, []byte("a"))
}

func mustMkdir(t testing.TB, fsys wal.FS, dir string) {
	t.Helper()
	if err := fsys.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotStore_Concurrent(t *testing.T) {
	s := mustOpenSnapshots(t, crashfs.New())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range uint64(50) {
				if _, err := take(s, 10+i, 2, []byte("state")); err != nil && !errors.Is(err, errSnapshotSuperseded) {
					t.Error(err)
				}
				list, err := s.List()
				if err != nil {
					t.Error(err)
					continue
				}
				if got, err := readState(s, list[0].ID); err != nil && !errors.Is(err, fs.ErrNotExist) ||
					err == nil && string(got) != "state" {
					t.Errorf("state %q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	wantNewest(t, s, point{59, 2}, []byte("state"))
	for i := 1; i < len(s.durable); i++ {
		if s.durable[i].index < s.durable[i-1].index {
			t.Fatalf("onDurable was told of %v after %v", s.durable[i], s.durable[i-1])
		}
	}
}
