package replica_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// countedFS counts how often it is asked for its room.
type countedFS struct {
	clustertest.SpacedFS
	asked *atomic.Int64
}

func (c countedFS) Free(dir string) (int64, error) {
	c.asked.Add(1)
	return c.SpacedFS.Free(dir)
}

// TestInfo_LooksSeldom: peers that ask every few milliseconds get what was found a moment
// ago, with the end of the log that it was found with.
func TestInfo_LooksSeldom(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		var free, asked atomic.Int64
		free.Store(1 << 40)
		f := startReplica(t, func(c *replica.Config) {
			c.FS = countedFS{clustertest.SpacedFS{FS: crashfs.New(), Bytes: &free}, &asked}
		}, unchanged)
		f.mustAppend(t, 2, point{1, 1}, commands(2, 9, 2), 9)
		time.Sleep(2 * room.AskPause)
		first := f.info(t).Disk
		before := asked.Load()
		f.mustAppend(t, 2, point{9, 2}, commands(10, 12, 2), 12)
		for range 100 {
			if d := f.info(t).Disk; *d != *first {
				t.Fatalf("got %+v, then %+v", *first, *d)
			}
		}
		if n := asked.Load() - before; n != 0 {
			t.Errorf("the disk was looked at %d times", n)
		}
		time.Sleep(2 * room.AskPause)
		if d := f.info(t).Disk; d.LastIndex != 12 {
			t.Errorf("later: got %+v", *d)
		}
	})
}

// TestBallast_TriedSeldom has the ballast not be made: it is tried again once a minute.
func TestBallast_TriedSeldom(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		var free, tried atomic.Int64
		free.Store(1 << 40)
		disk := crashfs.New()
		disk.SetHook(func(op crashfs.Op, name string) error {
			if op == crashfs.OpCreate && filepath.Base(name) == clustertest.BallastFile {
				tried.Add(1)
				return errFault
			}
			return nil
		})
		startReplica(t, func(c *replica.Config) { c.FS, c.BallastBytes = clustertest.SpacedFS{FS: disk, Bytes: &free}, 1<<20 }, unchanged)
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
	clustertest.InBubble(t, "", func(t *testing.T) {
		var free atomic.Int64
		free.Store(1 << 40)
		disk := crashfs.New()
		f := startReplica(t, func(c *replica.Config) { c.FS = clustertest.SpacedFS{FS: disk, Bytes: &free} }, unchanged)
		for _, upTo := range []uint64{5, 9} {
			f.mustAppend(t, 2, point{upTo - 4, min(upTo-4, 2)}, commands(upTo-3, upTo, 2), upTo)
			if err := f.fsm.WaitApplied(t.Context(), upTo); err != nil {
				t.Fatal(err)
			}
			if err := f.replica.SnapshotKeeping(1 << 20); err != nil {
				t.Fatal(err)
			}
		}
		removed := make(chan struct{})
		disk.SetHook(func(op crashfs.Op, name string) error {
			if op == crashfs.OpRemoveAll && strings.HasPrefix(name, filepath.Join(f.cfg.DataDir, clustertest.SnapshotsDir)) {
				<-removed
				free.Store(1 << 40)
			}
			return nil
		})
		free.Store(room.MarginBytes)
		began := time.Now()
		request := &raft.InstallSnapshotRequest{LastLogIndex: 50, LastLogTerm: 2, Size: 8 << 20}
		answered := make(chan error, 1)
		go func() {
			_, err := f.replica.Room(request)
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
		done, err := f.replica.Room(request)
		if err != nil {
			t.Fatalf("tried again: %v", err)
		}
		done()
	})
}

// info returns what the follower tells a peer of itself.
func (f *follower) info(t *testing.T) (info replica.Info) {
	t.Helper()
	answer, err := f.replica.Handle(t.Context(), transport.Identity{ID: trio[1]}, kindInfo, nil)
	if err == nil {
		err = json.Unmarshal(answer, &info)
	}
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// mustBeLow has a look at the disk find too little for puts.
func (f *follower) mustBeLow(t *testing.T, free *atomic.Int64) {
	t.Helper()
	free.Store(room.MarginBytes)
	if low, err := f.replica.LookAtDisk(); err != nil || !low {
		t.Fatalf("the disk is low: %t, %v", low, err)
	}
}

// TestCompact_WaitsForItsTurn: log is dropped on a full disk only by who has the slot.
func TestCompact_WaitsForItsTurn(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		var free atomic.Int64
		free.Store(1 << 40)
		f := startReplica(t, func(c *replica.Config) { c.FS = clustertest.SpacedFS{FS: crashfs.New(), Bytes: &free} }, unchanged)
		f.mustAppend(t, 2, point{1, 1}, commands(2, 40, 2), 40)
		if err := f.fsm.WaitApplied(t.Context(), 40); err != nil {
			t.Fatal(err)
		}
		if err := f.replica.SnapshotKeeping(1 << 20); err != nil {
			t.Fatal(err)
		}
		release := f.replica.HoldSnapshots()
		f.mustBeLow(t, &free)
		if err := f.replica.CompactIfDue(1 << 20); err != nil {
			t.Fatal(err)
		}
		if f.stores.Log.Stats().FirstIndex == 0 {
			t.Error("log was dropped while a snapshot is taken by hand")
		}
		release()
		if err := f.replica.CompactIfDue(1 << 20); err != nil {
			t.Fatal(err)
		}
		if stored := f.stores.Log.Stats(); stored.FirstIndex > 0 && stored.FirstIndex <= stored.LastIndex {
			t.Errorf("the log still begins at %d", stored.FirstIndex)
		}
	})
}

// TestCompact_SealsWithRoomOnly: no file is made ahead for a new segment on a disk that
// has only what the node writes without asking, or less.
func TestCompact_SealsWithRoomOnly(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		var free, made atomic.Int64
		free.Store(1 << 40)
		disk := crashfs.New()
		f := startReplica(t, func(c *replica.Config) { c.FS = clustertest.SpacedFS{FS: disk, Bytes: &free} }, unchanged)
		f.mustAppend(t, 2, point{1, 1}, large(2, 2, 5<<20), 2)
		f.mustAppend(t, 2, point{2, 2}, large(3, 2, 5<<20), 3)
		disk.SetHook(func(op crashfs.Op, name string) error {
			if op == crashfs.OpCreate && strings.HasSuffix(name, ".log") {
				made.Add(1)
			}
			return nil
		})
		for _, tt := range []struct{ free, want int64 }{{room.MarginBytes - 1, 0}, {1 << 40, 1}} {
			free.Store(tt.free)
			if _, err := f.replica.LookAtDisk(); err != nil {
				t.Fatal(err)
			}
			_ = f.replica.CompactIfDue(12 << 20) // without room it says so
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
	clustertest.InBubble(t, "", func(t *testing.T) {
		var free atomic.Int64
		free.Store(1 << 40)
		disk := crashfs.New()
		f := startReplica(t, func(c *replica.Config) { c.FS = clustertest.SpacedFS{FS: disk, Bytes: &free} }, unchanged)
		f.mustAppend(t, 2, point{1, 1}, commands(2, 40, 2), 40)
		if err := f.fsm.WaitApplied(t.Context(), 40); err != nil {
			t.Fatal(err)
		}
		if err := f.replica.SnapshotKeeping(1 << 20); err != nil {
			t.Fatal(err)
		}
		f.mustBeLow(t, &free)
		disk.SetHook(func(op crashfs.Op, name string) error {
			if op == crashfs.OpWrite && strings.Contains(name, wal.ManifestName) {
				return crashfs.ErrNoSpace
			}
			return nil
		})
		if err := f.replica.CompactIfDue(1 << 20); !errors.Is(err, wal.ErrNoRoom) {
			t.Errorf("on a full disk: got %v, want ErrNoRoom", err)
		}
		if err := f.fatal.Reason(); err != nil {
			t.Fatalf("the node stops: %v", err)
		}
		wantEnds(t, f.stores.Log, 1, 40)
		disk.SetHook(nil)
		if err := f.replica.CompactIfDue(1 << 20); err != nil {
			t.Fatal(err)
		}
		wantEnds(t, f.stores.Log, 40, 40)
	})
}
