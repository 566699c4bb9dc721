package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestSpace_PutsComeBack: how much more room than none it takes to end the refusal of
// puts is bounded, whatever the state's size, and the refusal says how much.
func TestSpace_PutsComeBack(t *testing.T) {
	t.Parallel()
	const mib, gib = int64(1 << 20), int64(1 << 30)
	for _, tt := range []struct{ next, still, again int64 }{
		{mib, 7 * mib, 8 * mib},
		{256 * mib, 35 * mib, 36 * mib},
		{80 * gib, 63 * mib, 64 * mib},
	} {
		needed := floorBytes + reserveBytes + tt.next
		free := needed - mib
		s := newSpace(func() (diskFacts, error) { return diskFacts{known: true, next: tt.next, free: free}, nil })
		for _, room := range []int64{-mib, tt.still} {
			free = needed + room
			if _, err := s.look(); err != nil {
				t.Fatal(err)
			}
			err := s.admit(mib/2, true)
			want := fmt.Sprintf("puts continue once %d MiB are free", (needed+tt.again)/mib+1)
			if !errors.Is(err, kv.ErrDiskFull) || !strings.Contains(err.Error(), want) {
				t.Errorf("state of %d, room for %d: got %v, want %q", tt.next, room, err, want)
			}
			if got := s.facts.Load().resumes(); got != needed+tt.again {
				t.Errorf("state of %d: resumes at %d, want %d", tt.next, got, needed+tt.again)
			}
		}
		free = needed + tt.again
		if _, err := s.look(); err != nil {
			t.Fatal(err)
		}
		if err := s.admit(mib/2, true); err != nil {
			t.Errorf("state of %d, room for %d: got %v", tt.next, tt.again, err)
		}
	}
}

// TestSpace_TwoSnapshots writes a snapshot of the node's own and one from the leader at
// once. The first one that ends takes nothing of what the other has reserved.
func TestSpace_TwoSnapshots(t *testing.T) {
	t.Parallel()
	const size = int64(20 << 20)
	sent := snapshotPoint{index: 9, term: 2}
	free := floorBytes + 2*size + 10<<20
	s := newSpace(func() (diskFacts, error) { return diskFacts{known: true, next: size, free: free}, nil })
	own, err := s.plan(size, snapshotPoint{})
	if err != nil {
		t.Fatal(err)
	}
	install, err := s.plan(size, sent)
	if err != nil {
		t.Fatal(err)
	}
	s.wrote(7, 2, int(size))
	free -= size
	own()
	f, err := s.look()
	if err != nil {
		t.Fatal(err)
	}
	if f.spare != 10<<20 {
		t.Errorf("room beside the second: got %d, want %d", f.spare, 10<<20)
	}
	s.wrote(sent.index, sent.term, int(size)/2)
	free -= size / 2
	if f, err = s.look(); err != nil || f.spare != 10<<20 {
		t.Errorf("room beside half of the second: got %d, %v, want %d", f.spare, err, 10<<20)
	}
	install()
	if planned, written := s.underWay(); planned != 0 || written != 0 {
		t.Errorf("%d and %d are left", planned, written)
	}
}

// countedFS counts how often it is asked for its room.
type countedFS struct {
	spacedFS
	asked *atomic.Int64
}

func (c countedFS) Free(dir string) (int64, error) {
	c.asked.Add(1)
	return c.spacedFS.Free(dir)
}

// TestInfo_LooksSeldom: peers that ask every few milliseconds get what was found a moment
// ago, with the end of the log that it was found with.
func TestInfo_LooksSeldom(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		var free, asked atomic.Int64
		free.Store(1 << 40)
		f := startReplica(t, func(c *Config) { c.FS = countedFS{spacedFS{crashfs.New(), &free}, &asked} }, unchanged)
		f.mustAppend(t, 2, point{1, 1}, commands(2, 9, 2), 9)
		time.Sleep(2 * roomAskPause)
		first := f.replica.info().Disk
		before := asked.Load()
		f.mustAppend(t, 2, point{9, 2}, commands(10, 12, 2), 12)
		for range 100 {
			if d := f.replica.info().Disk; *d != *first {
				t.Fatalf("got %+v, then %+v", *first, *d)
			}
		}
		if n := asked.Load() - before; n != 0 {
			t.Errorf("the disk was looked at %d times", n)
		}
		time.Sleep(2 * roomAskPause)
		if d := f.replica.info().Disk; d.LastIndex != 12 {
			t.Errorf("later: got %+v", *d)
		}
	})
}

// TestBallast_TriedSeldom has the ballast not be made: it is tried again once a minute.
func TestBallast_TriedSeldom(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		var free, tried atomic.Int64
		free.Store(1 << 40)
		disk := crashfs.New()
		disk.SetHook(func(op crashfs.Op, name string) error {
			if op == crashfs.OpCreate && filepath.Base(name) == ballastFile {
				tried.Add(1)
				return errFault
			}
			return nil
		})
		startReplica(t, func(c *Config) { c.FS, c.BallastBytes = spacedFS{disk, &free}, 1<<20 }, unchanged)
		time.Sleep(150 * time.Second)
		synctest.Wait()
		if n := tried.Load(); n < 2 || n > 3 {
			t.Errorf("tried %d times in 150 s, want 3", n)
		}
	})
}

// TestAdmitCommand_RemovesNothingItself has a follower get a snapshot for which only
// the removal of an older one makes room, on a disk on which that takes long. The
// leader is told to try again at once; when it does, there is room.
func TestAdmitCommand_RemovesNothingItself(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		var free atomic.Int64
		free.Store(1 << 40)
		disk := crashfs.New()
		f := startReplica(t, func(c *Config) { c.FS = spacedFS{disk, &free} }, unchanged)
		for _, upTo := range []uint64{5, 9} {
			f.mustAppend(t, 2, point{upTo - 4, min(upTo-4, 2)}, commands(upTo-3, upTo, 2), upTo)
			if err := f.fsm.WaitApplied(t.Context(), upTo); err != nil {
				t.Fatal(err)
			}
			if err := f.replica.snapshot(1 << 20); err != nil {
				t.Fatal(err)
			}
		}
		removed := make(chan struct{})
		disk.SetHook(func(op crashfs.Op, name string) error {
			if op == crashfs.OpRemoveAll && strings.HasPrefix(name, filepath.Join(f.replica.cfg.DataDir, snapshotsDir)) {
				<-removed
				free.Store(1 << 40)
			}
			return nil
		})
		free.Store(floorBytes)
		began := time.Now()
		request := &raft.InstallSnapshotRequest{LastLogIndex: 50, LastLogTerm: 2, Size: 8 << 20}
		answered := make(chan error, 1)
		go func() {
			_, err := f.replica.admitCommand(request)
			answered <- err
		}()
		synctest.Wait()
		select {
		case err := <-answered:
			if !errors.Is(err, kv.ErrDiskFull) || time.Since(began) > 0 {
				t.Errorf("got %v after %v", err, time.Since(began))
			}
		default:
			t.Error("the answer waits for a snapshot to be removed")
		}
		close(removed)
		synctest.Wait()
		done, err := f.replica.admitCommand(request)
		if err != nil {
			t.Fatalf("tried again: %v", err)
		}
		done()
	})
}

// TestCompact_WaitsForItsTurn: log is dropped on a full disk only by who has the slot.
func TestCompact_WaitsForItsTurn(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		f := startReplica(t, unchanged, unchanged)
		f.mustAppend(t, 2, point{1, 1}, commands(2, 40, 2), 40)
		if err := f.fsm.WaitApplied(t.Context(), 40); err != nil {
			t.Fatal(err)
		}
		if err := f.replica.snapshot(1 << 20); err != nil {
			t.Fatal(err)
		}
		f.replica.space.low.Store(true)
		f.replica.snapshotting <- struct{}{}
		if err := f.replica.compactIfDue(1 << 20); err != nil {
			t.Fatal(err)
		}
		if f.replica.logs.Stats().FirstIndex == 0 {
			t.Error("log was dropped while a snapshot is taken by hand")
		}
		<-f.replica.snapshotting
		if err := f.replica.compactIfDue(1 << 20); err != nil {
			t.Fatal(err)
		}
		if stored := f.replica.logs.Stats(); stored.FirstIndex > 0 && stored.FirstIndex <= stored.LastIndex {
			t.Errorf("the log still begins at %d", stored.FirstIndex)
		}
	})
}

// TestCompact_SealsWithRoomOnly: no file is made ahead for a new segment on a disk that
// has only what the node writes without asking, or less.
func TestCompact_SealsWithRoomOnly(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		var free, made atomic.Int64
		free.Store(1 << 40)
		disk := crashfs.New()
		f := startReplica(t, func(c *Config) { c.FS = spacedFS{disk, &free} }, unchanged)
		f.mustAppend(t, 2, point{1, 1}, large(2, 2, 5<<20), 2)
		f.mustAppend(t, 2, point{2, 2}, large(3, 2, 5<<20), 3)
		disk.SetHook(func(op crashfs.Op, name string) error {
			if op == crashfs.OpCreate && strings.HasSuffix(name, ".log") {
				made.Add(1)
			}
			return nil
		})
		for _, tt := range []struct{ free, want int64 }{{floorBytes - 1, 0}, {1 << 40, 1}} {
			free.Store(tt.free)
			if _, err := f.replica.space.look(); err != nil {
				t.Fatal(err)
			}
			_ = f.replica.compactIfDue(12 << 20) // without room it says so
			synctest.Wait()
			if n := made.Load(); n != tt.want {
				t.Errorf("with %d free: %d files were made", tt.free, n)
			}
		}
	})
}

// TestCompact_FullDisk: others have filled the disk, so that not even the list of the
// log's files can be written without what a snapshot covers. The node keeps it, keeps
// running, and drops it once there is room.
func TestCompact_FullDisk(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		disk := crashfs.New()
		f := startReplica(t, func(c *Config) { c.FS = disk }, unchanged)
		f.mustAppend(t, 2, point{1, 1}, commands(2, 40, 2), 40)
		if err := f.fsm.WaitApplied(t.Context(), 40); err != nil {
			t.Fatal(err)
		}
		if err := f.replica.snapshot(1 << 20); err != nil {
			t.Fatal(err)
		}
		f.replica.space.low.Store(true)
		disk.SetHook(func(op crashfs.Op, name string) error {
			if op == crashfs.OpWrite && strings.Contains(name, wal.ManifestName) {
				return crashfs.ErrNoSpace
			}
			return nil
		})
		if err := f.replica.compactIfDue(1 << 20); !errors.Is(err, wal.ErrNoRoom) {
			t.Errorf("on a full disk: got %v, want ErrNoRoom", err)
		}
		if err := f.replica.fatal.reason(); err != nil {
			t.Fatalf("the node stops: %v", err)
		}
		wantEnds(t, f.replica.logs, 1, 40)
		disk.SetHook(nil)
		if err := f.replica.compactIfDue(1 << 20); err != nil {
			t.Fatal(err)
		}
		wantEnds(t, f.replica.logs, 40, 40)
	})
}
