package replica_test

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// large returns one entry with a value of so many bytes.
func large(index, term uint64, bytes int) []*raft.Log {
	logs := entries(index, index, term)
	logs[0].Data = clustertest.Entry(clustertest.Encode(kv.Put("large", make([]byte, bytes))))
	return logs
}

// TestTrial_B4_FollowerWithoutRoom sends a follower whose disk is full an append and
// a snapshot. It refuses both before it has written anything, does not stop, and
// takes them once there is room.
func TestTrial_B4_FollowerWithoutRoom(t *testing.T) {
	clustertest.InBubble(t, "Append", func(t *testing.T) {
		var free atomic.Int64
		free.Store(1 << 40)
		f := startReplica(t, func(c *replica.Config) { c.FS = clustertest.SpacedFS{FS: crashfs.New(), Bytes: &free} }, unchanged)
		f.mustAppend(t, 2, point{1, 1}, commands(2, 9, 2), 9)
		free.Store(room.MarginBytes / 2)
		if _, err := f.replica.LookAtDisk(); err != nil {
			t.Fatal(err)
		}
		f.mustAppend(t, 2, point{9, 2}, commands(10, 10, 2), 10) // the log's file has room for it
		for range 3 {
			if response, err := f.append(2, point{10, 2}, large(11, 2, 6<<20), 11); err == nil || !strings.Contains(err.Error(), kv.ErrDiskFull.Error()) {
				t.Fatalf("append without room: got %+v, %v", response, err)
			}
		}
		if last, err := f.logs.LastIndex(); err != nil || last != 10 {
			t.Errorf("the log ends at %d, %v", last, err)
		}
		if err := f.fatal.Reason(); err != nil {
			t.Fatalf("the node stops: %v", err)
		}
		free.Store(1 << 40)
		f.mustAppend(t, 2, point{10, 2}, large(11, 2, 6<<20), 11)
	})
	clustertest.InBubble(t, "Snapshot", func(t *testing.T) {
		var free atomic.Int64
		free.Store(room.MarginBytes + 4<<20)
		f := startReplica(t, func(c *replica.Config) { c.FS = clustertest.SpacedFS{FS: crashfs.New(), Bytes: &free} }, unchanged)
		state := stateAt(t, large(50, 2, 8<<20))
		response, err := f.install(2, point{50, 2}, state)
		if err == nil || !strings.Contains(err.Error(), "does not fit") {
			t.Fatalf("snapshot without room: got %+v, %v", response, err)
		}
		if names, err := f.cfg.FS.ReadDir(filepath.Join(f.cfg.DataDir, clustertest.SnapshotsDir)); err != nil || len(names) != 0 {
			t.Errorf("it was begun: %v, %v", names, err)
		}
		if err := f.fatal.Reason(); err != nil {
			t.Fatalf("the node stops: %v", err)
		}
		free.Store(1 << 40)
		f.mustInstall(t, 2, point{50, 2}, state)
	})
	if !t.Failed() {
		testkit.Outcome(t, "B4", "a follower without room refuses appends and snapshots before it writes, keeps running, and takes them with room")
	}
}

// TestTrial_B3_BoundaryAnswers has a follower drop all of the log that its snapshot
// covers. A later leader, which overrules what is behind it, finds the snapshot's index
// and term, and need not send a snapshot; so does one that finds no log at all.
func TestTrial_B3_BoundaryAnswers(t *testing.T) {
	for name, behind := range map[string]uint64{"EntriesBehind": 100, "NothingBehind": 40} {
		clustertest.InBubble(t, name, func(t *testing.T) {
			f := startReplica(t, unchanged, unchanged)
			f.mustAppend(t, 2, point{1, 1}, commands(2, behind, 2), 40)
			if err := f.fsm.WaitApplied(t.Context(), 40); err != nil {
				t.Fatal(err)
			}
			if err := f.replica.SnapshotKeeping(0); err != nil {
				t.Fatal(err)
			}
			wantEnds(t, f.stores.Log, 40, behind)
			if stored := f.stores.Log.Stats(); stored.LastIndex >= stored.FirstIndex && stored.FirstIndex > 0 && stored.FirstIndex != 41 {
				t.Errorf("the log begins at %d, not behind the snapshot", stored.FirstIndex)
			}
			later := leaderLog{term: 3, snapshot: point{40, 2}, entries: commands(41, 60, 3)}
			if sent, done := later.catchUp(t, f, 3); !done || sent != 0 {
				t.Fatalf("caught up: %t, after %d snapshots", done, sent)
			}
			if err := f.fsm.WaitApplied(t.Context(), 60); err != nil {
				t.Fatal(err)
			}
			for index, want := range map[uint64]string{40: "2", 41: "3", 60: "3", 61: ""} {
				if got := f.holds(index); got != want {
					t.Errorf("key %d is of term %q, want %q", index, got, want)
				}
			}
			if err := f.fatal.Reason(); err != nil {
				t.Errorf("the node stops: %v", err)
			}
		})
	}
	if !t.Failed() {
		testkit.Outcome(t, "B3", "with no entry left behind a snapshot its index and term are still answered for: no snapshot is sent")
	}
}

// TestStatus_NeedsNoDisk has the disk fail every read: a status page shows the age of
// the oldest entry all the same, and stops nothing (SB14).
func TestStatus_NeedsNoDisk(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		disk := crashfs.New()
		f := startReplica(t, func(c *replica.Config) { c.FS = disk }, unchanged)
		prev := point{1, 1}
		for index := uint64(2); index <= 7; index++ { // more than the log's cache holds
			f.mustAppend(t, 2, prev, large(index, 2, 4<<20), index)
			prev = point{index, 2}
		}
		disk.SetHook(func(op crashfs.Op, name string) error {
			if (op == crashfs.OpRead || op == crashfs.OpOpenRead) && strings.HasSuffix(name, ".log") {
				return errFault
			}
			return nil
		})
		var s kv.Status
		f.replica.Describe(&s)
		if s.Log == nil || s.Log.FirstIndex != 1 || s.Disk == nil {
			t.Fatalf("got %+v, %+v", s.Log, s.Disk)
		}
		if err := f.fatal.Reason(); err != nil {
			t.Errorf("a status page stopped the node: %v", err)
		}
	})
}
