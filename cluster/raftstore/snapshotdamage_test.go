package raftstore_test

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

// TestSnapshots_FullDiskIsNotFinal fails a write, or a sync, at each place: the snapshot
// fails and leaves no file, the node continues, and the next snapshot succeeds.
func TestSnapshots_FullDiskIsNotFinal(t *testing.T) {
	state := randomBytes(600 << 10)
	for capacity := int64(1000); capacity < 600<<10; capacity += 100 << 10 {
		fsys := crashfs.New()
		s := openOn(t, fsys)
		fsys.SetCapacity(used(t, fsys) + capacity)
		if _, err := take(s.Snapshots, 10, 2, state); !errors.Is(err, crashfs.ErrNoSpace) {
			t.Fatalf("capacity %d: got %v, want %v", capacity, err, crashfs.ErrNoSpace)
		}
		wantNames(t, fsys, 0)
		fsys.SetCapacity(0)
		mustTake(t, s.Snapshots, 10, 2, state)
		wantNewest(t, s.Snapshots, point{10, 2}, state)
		s.fatals.wantNone(t)
	}
}

// used returns the size in bytes of all files of a member's stores.
func used(t testing.TB, fsys *crashfs.FS) (sum int64) {
	t.Helper()
	for _, dir := range []string{dir, walDir, snapshotsDir, "data/stable"} {
		names, err := fsys.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			info, err := fsys.Stat(path.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if !info.IsDir() {
				sum += info.Size()
			}
		}
	}
	return sum
}

// TestSnapshots_FaultAtEveryOperation fails each operation in turn. Without a successful
// Close the log does not begin at the snapshot. Only a failed directory sync after the
// rename, and a floor that can't be raised, stop the member.
func TestSnapshots_FaultAtEveryOperation(t *testing.T) {
	for at := 0; ; at++ {
		fsys := crashfs.New()
		s := openOn(t, fsys)
		mustTake(t, s.Snapshots, 10, 2, []byte("old"))
		count, failed := 0, ""
		fsys.SetHook(func(op crashfs.Op, name string) error {
			if strings.HasPrefix(name, walDir) { // of the log, which works for itself
				return nil
			}
			if count++; count != at+1 || !op.Mutates() {
				return nil
			}
			failed = op.String() + " " + name
			return errFault
		})
		id, err := take(s.Snapshots, 20, 2, []byte("new"))
		fsys.SetHook(nil)
		if at >= count {
			break
		}
		if index := s.Log.SnapshotIndex(); err != nil && index != 10 {
			t.Fatalf("%s failed: the log begins behind %d", failed, index)
		}
		named, floor := failed == "syncdir "+snapshotsDir, strings.Contains(failed, floorFile) || failed == "syncdir "+dir
		if (len(s.fatals.all()) > 0) != (named || floor) {
			t.Fatalf("%s failed: OnFatal was told of %v", failed, s.fatals.all())
		}
		if floor && s.Log.SnapshotIndex() != 10 {
			t.Fatalf("%s failed: the log may be shortened up to %d", failed, s.Log.SnapshotIndex())
		}
		if n := s.Snapshots.OpenFiles(); n != 0 {
			t.Fatalf("%s failed: %d files of snapshots left open", failed, n)
		}
		if err == nil {
			if got, err := readState(s.Snapshots, id); err != nil || string(got) != "new" {
				t.Fatalf("%s failed: state is %q, %v", failed, got, err)
			}
			continue
		}
		if failed == "" {
			t.Fatalf("operation %d: %v without a fault", at, err)
		}
		if !named {
			wantNewest(t, s.Snapshots, point{10, 2}, []byte("old"))
		}
		s.close()
		if n := fsys.OpenFiles(); n != 0 {
			t.Fatalf("%s failed: %d files left open", failed, n)
		}
	}
}

// TestSnapshots_CrashAtEveryOperation loses power at each operation while a snapshot is
// made, and keeps none, some or all of the unsynced changes: the store opens with the
// newest snapshot that was reported, or the next one.
func TestSnapshots_CrashAtEveryOperation(t *testing.T) {
	old, fresh := randomBytes(1000), randomBytes(70<<10)
	random := rand.New(rand.NewPCG(3, 4))
	for at, more := 0, true; more; at++ {
		fsys := crashfs.New()
		s := openOn(t, fsys)
		mustTake(t, s.Snapshots, 5, 1, []byte("oldest"))
		mustTake(t, s.Snapshots, 10, 2, old)
		count := 0
		var crashed *crashfs.FS
		var durable uint64 // index of the newest snapshot that the log may be shortened for
		fsys.SetHook(func(op crashfs.Op, name string) error {
			if strings.HasPrefix(name, walDir) { // of the log, which works for itself
				return nil
			}
			if count++; count == at+1 {
				keep := []float64{0, 0.5, 0.9, 1}[random.IntN(4)]
				crashed = fsys.Crash(crashfs.CrashOptions{Keep: keep, Rand: random})
				durable = s.Log.SnapshotIndex()
			}
			return nil
		})
		mustTake(t, s.Snapshots, 20, 3, fresh)
		more = count > at
		if !more {
			crashed, durable = fsys.Crash(crashfs.CrashOptions{}), 20
		}
		again := openOn(t, crashed)
		newest := newestOf(t, again.Snapshots)
		switch got := (point{newest.Index, newest.Term}); {
		case got == point{20, 3}:
			wantNewest(t, again.Snapshots, got, fresh)
		case got == point{10, 2} && durable != 20:
			wantNewest(t, again.Snapshots, got, old)
		default:
			t.Fatalf("crash at operation %d: newest is %v, the log began behind %d", at, got, durable)
		}
		s.close()
		again.close()
	}
}

// TestSnapshots_KilledThenPowerLost kills the process at every operation, opens its files,
// and loses power then. The newest snapshot of the second process is durable, also if the
// first one was killed before it made it so.
func TestSnapshots_KilledThenPowerLost(t *testing.T) {
	for at, more := 0, true; more; at++ {
		fsys := crashfs.New()
		s := openOn(t, fsys)
		mustTake(t, s.Snapshots, 10, 2, []byte("old"))
		count := 0
		var killed *crashfs.FS
		fsys.SetHook(func(_ crashfs.Op, name string) error {
			if strings.HasPrefix(name, walDir) { // of the log, which works for itself
				return nil
			}
			if count++; count == at+1 {
				killed = fsys.Clone()
			}
			return nil
		})
		mustTake(t, s.Snapshots, 20, 3, []byte("fresh"))
		if more = count > at; !more {
			killed = fsys.Clone()
		}
		second := openOn(t, killed)
		told := second.Log.SnapshotIndex()
		again := openOn(t, killed.Crash(crashfs.CrashOptions{}))
		if got := newestOf(t, again.Snapshots).Index; got < told {
			t.Errorf("killed at operation %d: the newest is at %d, the log began behind %d", at, got, told)
		}
		for _, m := range []*member{s, second, again} {
			m.close()
		}
	}
}

// TestOpen_RefusesDamagedSnapshot flips a bit in every byte of both files of the
// newest snapshot, and cuts and extends them: the store refuses to open, and
// names the file.
func TestOpen_RefusesDamagedSnapshot(t *testing.T) {
	fsys := crashfs.New()
	s := openOn(t, fsys)
	mustTake(t, s.Snapshots, 10, 2, []byte("old"))
	id := mustTake(t, s.Snapshots, 20, 2, randomBytes(300))
	refused := func(what string, file string, damaged *crashfs.FS) {
		t.Helper()
		m := newMember(damaged)
		err := m.open()
		m.close()
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
		file := path.Join(snapshotsDir, id, name)
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

// TestOpen_RefusesForeignState puts the state of another snapshot of the same
// size in the newest one's place.
func TestOpen_RefusesForeignState(t *testing.T) {
	fsys := crashfs.New()
	s := openOn(t, fsys)
	older, newer := mustTake(t, s.Snapshots, 10, 2, []byte("a")), mustTake(t, s.Snapshots, 20, 2, []byte("b"))
	if err := fsys.Rename(snapshotsDir+"/"+older+"/"+stateFile, snapshotsDir+"/"+newer+"/"+stateFile); err != nil {
		t.Fatal(err)
	}
	s.close()
	if err := newMember(fsys).open(); !errors.Is(err, wal.ErrCorrupt) {
		t.Fatalf("got %v, want %v", err, wal.ErrCorrupt)
	}
}

// TestSnapshots_DamagedBlockIsNotHandedOut: the reader never returns a byte of a damaged
// block.
func TestSnapshots_DamagedBlockIsNotHandedOut(t *testing.T) {
	fsys := crashfs.New()
	s := openOn(t, fsys)
	state := randomBytes(3 * blockPayload)
	id := mustTake(t, s.Snapshots, 10, 2, state)
	if err := fsys.FlipBit(snapshotsDir+"/"+id+"/"+stateFile, firstPayload+blockPayload+100, 0); err != nil {
		t.Fatal(err)
	}
	got, err := readState(s.Snapshots, id)
	if !errors.Is(err, wal.ErrCorrupt) {
		t.Fatalf("got %v, want %v", err, wal.ErrCorrupt)
	}
	s.fatals.wantOne(t, wal.ErrCorrupt)
	if !bytes.Equal(got, state[:blockPayload]) {
		t.Fatalf("%d bytes were handed out, want the first block's %d", len(got), blockPayload)
	}
}

// TestOpen_RemovesDamagedOlderSnapshot: nothing depends on it.
func TestOpen_RemovesDamagedOlderSnapshot(t *testing.T) {
	fsys := crashfs.New()
	s := openOn(t, fsys)
	older := mustTake(t, s.Snapshots, 10, 2, []byte("a"))
	mustTake(t, s.Snapshots, 20, 2, []byte("b"))
	if err := fsys.FlipBit(snapshotsDir+"/"+older+"/"+metaFile, 30, 0); err != nil {
		t.Fatal(err)
	}
	s.close()
	s = openOn(t, fsys)
	wantNewest(t, s.Snapshots, point{20, 2}, []byte("b"))
	wantNames(t, fsys, 1)
}
