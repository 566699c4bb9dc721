package cluster

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestSnapshotStore_FullDisk fails a write, or a sync, at each place: the
// snapshot fails and leaves nothing, the node goes on, and the next succeeds.
func TestSnapshotStore_FullDisk(t *testing.T) {
	state := randomBytes(600 << 10)
	for capacity := int64(1000); capacity < 600<<10; capacity += 100 << 10 {
		fsys := crashfs.New()
		s := mustOpenSnapshots(t, fsys)
		fsys.SetCapacity(capacity)
		if _, err := take(s, 10, 2, state); !errors.Is(err, crashfs.ErrNoSpace) {
			t.Fatalf("capacity %d: got %v, want %v", capacity, err, crashfs.ErrNoSpace)
		}
		wantNames(t, fsys, 0)
		fsys.SetCapacity(0)
		mustTake(t, s, 10, 2, state)
		wantNewest(t, s, point{10, 2}, state)
		s.fatals.wantNone(t)
	}
}

// TestSnapshotStore_Faults fails each operation in turn. Without a successful
// Close nobody is told of a snapshot; only a directory sync after the renaming
// stops the node.
func TestSnapshotStore_Faults(t *testing.T) {
	for at := 0; ; at++ {
		fsys := crashfs.New()
		s := mustOpenSnapshots(t, fsys)
		mustTake(t, s, 10, 2, []byte("old"))
		count, failed := 0, ""
		fsys.SetHook(func(op crashfs.Op, name string) error {
			if count++; count != at+1 || !op.Mutates() {
				return nil
			}
			failed = op.String() + " " + name
			return errFault
		})
		id, err := take(s, 20, 2, []byte("new"))
		fsys.SetHook(nil)
		if at >= count {
			break
		}
		if err != nil && len(s.durable) != 1 {
			t.Fatalf("%s failed: onDurable was told of %v", failed, s.durable)
		}
		wantFatal := failed == "syncdir data/snapshots"
		if (len(s.fatals.all()) > 0) != wantFatal {
			t.Fatalf("%s failed: onFatal was told of %v", failed, s.fatals.all())
		}
		if err == nil {
			if got, err := readState(s, id); err != nil || string(got) != "new" {
				t.Fatalf("%s failed: state is %q, %v", failed, got, err)
			}
			continue
		}
		if failed == "" {
			t.Fatalf("operation %d: %v without a fault", at, err)
		}
		if n := fsys.OpenFiles(); n != 0 {
			t.Fatalf("%s failed: %d files left open", failed, n)
		}
		if !wantFatal {
			wantNewest(t, s, point{10, 2}, []byte("old"))
		}
	}
}

// TestSnapshotStore_Crashes loses power at each operation while a snapshot is
// made, and keeps anything from nothing to all of what was not synced: the
// store opens with the newest snapshot that was reported, or the next.
func TestSnapshotStore_Crashes(t *testing.T) {
	old, fresh := randomBytes(1000), randomBytes(70<<10)
	random := rand.New(rand.NewPCG(3, 4))
	for at, more := 0, true; more; at++ {
		fsys := crashfs.New()
		s := mustOpenSnapshots(t, fsys)
		mustTake(t, s, 5, 1, []byte("oldest"))
		mustTake(t, s, 10, 2, old)
		count := 0
		var crashed *crashfs.FS
		var durable point
		fsys.SetHook(func(op crashfs.Op, _ string) error {
			if count++; count == at+1 {
				keep := []float64{0, 0.5, 0.9, 1}[random.IntN(4)]
				crashed = fsys.Crash(crashfs.CrashOptions{Keep: keep, Rand: random})
				durable = s.durable[len(s.durable)-1]
			}
			return nil
		})
		mustTake(t, s, 20, 3, fresh)
		more = count > at
		if !more {
			crashed, durable = fsys.Crash(crashfs.CrashOptions{}), point{20, 3}
		}
		again := mustOpenSnapshots(t, crashed)
		newest := again.snapshots[0]
		switch got := (point{newest.Index, newest.Term}); {
		case got == point{20, 3}:
			wantNewest(t, again, got, fresh)
		case got == point{10, 2} && durable != point{20, 3}:
			wantNewest(t, again, got, old)
		default:
			t.Fatalf("crash at operation %d: newest is %v, reported was %v", at, got, durable)
		}
	}
}

// TestSnapshotStore_KilledThenPowerLost ends the process at every operation, opens
// what it left, and loses power then: what the second process was told to be
// durable is, though the first one had not lived to see to it.
func TestSnapshotStore_KilledThenPowerLost(t *testing.T) {
	for at, more := 0, true; more; at++ {
		fsys := crashfs.New()
		s := mustOpenSnapshots(t, fsys)
		mustTake(t, s, 10, 2, []byte("old"))
		count := 0
		var killed *crashfs.FS
		fsys.SetHook(func(crashfs.Op, string) error {
			if count++; count == at+1 {
				killed = fsys.Clone()
			}
			return nil
		})
		mustTake(t, s, 20, 3, []byte("fresh"))
		if more = count > at; !more {
			killed = fsys.Clone()
		}
		told := mustOpenSnapshots(t, killed).durable
		again := mustOpenSnapshots(t, killed.Crash(crashfs.CrashOptions{}))
		if got, want := again.newest(), told[len(told)-1]; got.SnapshotIndex < want.index {
			t.Errorf("killed at operation %d: the newest is at %d, reported was %d", at, got.SnapshotIndex, want.index)
		}
	}
}

// TestSnapshotStore_Damage flips a bit in every byte of both files of the
// newest snapshot, and cuts and extends them: the store refuses to open, and
// names the file.
func TestSnapshotStore_Damage(t *testing.T) {
	fsys := crashfs.New()
	s := mustOpenSnapshots(t, fsys)
	mustTake(t, s, 10, 2, []byte("old"))
	id := mustTake(t, s, 20, 2, randomBytes(300))
	refused := func(what string, file string, damaged *crashfs.FS) {
		t.Helper()
		_, err := openTestSnapshots(damaged, 2)
		var version *wal.VersionError
		if !errors.Is(err, wal.ErrCorrupt) && !errors.As(err, &version) {
			t.Fatalf("%s: got %v, want %v", what, err, wal.ErrCorrupt)
		}
		if !strings.Contains(err.Error(), file) {
			t.Fatalf("%s: %v does not name %s", what, err, file)
		}
		if n := damaged.OpenFiles(); n != 0 {
			t.Fatalf("%s: %d files left open", what, n)
		}
	}
	for _, name := range []string{stateFile, metaFile} {
		file := path.Join("data/snapshots", id, name)
		info, err := fsys.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		for at := range info.Size() {
			damaged := fsys.Clone()
			if err := damaged.FlipBit(file, at, uint(at%8)); err != nil {
				t.Fatal(err)
			}
			refused("flipped bit", file, damaged)
			if at%7 == 0 {
				damaged = fsys.Clone()
				mustTruncate(t, damaged, file, at)
				refused("cut file", file, damaged)
			}
		}
		damaged := fsys.Clone()
		mustTruncate(t, damaged, file, info.Size()+1)
		refused("longer file", file, damaged)
		damaged = fsys.Clone()
		if err := damaged.Remove(file); err != nil {
			t.Fatal(err)
		}
		refused("missing file", file, damaged)
	}
}

func mustTruncate(t testing.TB, fsys wal.FS, name string, size int64) {
	t.Helper()
	f, err := fsys.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotStore_ForeignState puts the state of another snapshot of the same
// size in the newest one's place.
func TestSnapshotStore_ForeignState(t *testing.T) {
	fsys := crashfs.New()
	s := mustOpenSnapshots(t, fsys)
	older, newer := mustTake(t, s, 10, 2, []byte("a")), mustTake(t, s, 20, 2, []byte("b"))
	if err := fsys.Rename("data/snapshots/"+older+"/"+stateFile, "data/snapshots/"+newer+"/"+stateFile); err != nil {
		t.Fatal(err)
	}
	if _, err := openTestSnapshots(fsys, 2); !errors.Is(err, wal.ErrCorrupt) {
		t.Fatalf("got %v, want %v", err, wal.ErrCorrupt)
	}
}

// TestSnapshotStore_DamagedWhileOpen: the reader never hands out a byte of a
// block that does not pass.
func TestSnapshotStore_DamagedWhileOpen(t *testing.T) {
	fsys := crashfs.New()
	s := mustOpenSnapshots(t, fsys)
	state := randomBytes(3 * blockPayload)
	id := mustTake(t, s, 10, 2, state)
	if err := fsys.FlipBit("data/snapshots/"+id+"/"+stateFile, stateHeaderSize+blockHeaderSize+blockPayload+100, 0); err != nil {
		t.Fatal(err)
	}
	got, err := readState(s, id)
	if !errors.Is(err, wal.ErrCorrupt) {
		t.Fatalf("got %v, want %v", err, wal.ErrCorrupt)
	}
	if !bytes.Equal(got, state[:blockPayload]) {
		t.Fatalf("%d bytes were handed out, want the first block's %d", len(got), blockPayload)
	}
}

// TestSnapshotStore_OlderIsDamaged: nothing depends on it.
func TestSnapshotStore_OlderIsDamaged(t *testing.T) {
	fsys := crashfs.New()
	s := mustOpenSnapshots(t, fsys)
	older := mustTake(t, s, 10, 2, []byte("a"))
	mustTake(t, s, 20, 2, []byte("b"))
	if err := fsys.FlipBit("data/snapshots/"+older+"/"+metaFile, 30, 0); err != nil {
		t.Fatal(err)
	}
	s = mustOpenSnapshots(t, fsys)
	wantNewest(t, s, point{20, 2}, []byte("b"))
	wantNames(t, fsys, 1)
}
