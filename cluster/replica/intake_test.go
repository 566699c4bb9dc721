package replica_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// smallFS is a disk of so many bytes that tells how many are free.
type smallFS struct {
	*crashfs.FS
	bytes int64
}

// newSmallFS returns an empty disk of so many bytes.
func newSmallFS(bytes int64) smallFS {
	s := smallFS{crashfs.New(), bytes}
	s.SetCapacity(bytes)
	return s
}

// Total implements wal.Sized.
func (s smallFS) Total(string) (int64, error) { return s.bytes, nil }

// Free implements wal.Space.
func (s smallFS) Free(string) (int64, error) { return s.bytes - s.taken("data"), nil }

// taken returns the sum of the sizes of the files below name.
func (s smallFS) taken(name string) (n int64) {
	info, err := s.Stat(name)
	if err != nil {
		return 0
	}
	if !info.IsDir() {
		return info.Size()
	}
	names, _ := s.ReadDir(name)
	for _, base := range names {
		n += s.taken(filepath.Join(name, base))
	}
	return n
}

// sender sends a follower one entry after another, as a leader does that commits them with the
// third node.
type sender struct {
	f    *follower
	last point
}

// overwrite sends the i-th put, of 500 kB to one of 32 keys, and from time to time a compaction
// of the history.
func (s *sender) overwrite(i int, patience time.Duration) error {
	if i%8 == 0 {
		if err := s.send(fsm.CompactAllRequest(), patience); err != nil {
			return err
		}
	}
	return s.send(clustertest.Encode(kv.Put(keyOf(uint64(i%32)), make([]byte, 500_000))), patience)
}

// send sends requests, and tries again as long as the follower refuses them for room, at
// most for a time.
func (s *sender) send(requests wire.Requests, patience time.Duration) error {
	next := point{s.last.index + 1, 2}
	logs := []*raft.Log{{Index: next.index, Term: next.term, Data: clustertest.Entry(requests)}}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		response, err := s.f.append(next.term, s.last, logs, next.index)
		if err == nil && response.Success {
			s.last = next
			return nil
		}
		if err == nil || !strings.Contains(err.Error(), kv.ErrDiskFull.Error()) || time.Since(began) > patience {
			return errors.Join(err, s.f.fatal.Reason())
		}
	}
}

// startOnSmallDisk starts a follower on a disk of 100 MiB that takes snapshots for room only.
func startOnSmallDisk(t *testing.T, disk smallFS) *sender {
	t.Helper()
	f := startReplica(t, func(c *replica.Config) { c.FS, c.SnapshotBytes = disk, 1<<40 }, unchanged)
	return &sender{f, point{1, 1}}
}

// TestTrial_B4_FollowerKeepsRoomForItsSnapshot overwrites the same values faster than the
// follower looks at its disk, and deletes them in the end. The follower takes a snapshot before
// its log leaves no room for one, so that it always takes what follows.
func TestTrial_B4_FollowerKeepsRoomForItsSnapshot(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		s := startOnSmallDisk(t, newSmallFS(100<<20))
		for i := range 250 {
			if err := s.overwrite(i, time.Minute); err != nil {
				t.Fatalf("put %d: %v", i, err)
			}
		}
		for i := range uint64(32) {
			if err := s.send(clustertest.Encode(kv.Delete(keyOf(i))), time.Minute); err != nil {
				t.Fatalf("delete %d: %v", i, err)
			}
		}
		if err := s.f.fsm.WaitApplied(t.Context(), s.last.index); err != nil {
			t.Fatal(err)
		}
	})
	if !t.Failed() {
		testkit.Outcome(t, "B4", "a follower on a small disk takes its snapshot before its log leaves no room for one: it takes in overwrites faster than it looks at its disk, and the deletes behind them")
	}
}

// TestRoom_SnapshotFails: a follower whose snapshots fail does not wait for one for ever. It
// takes entries as long as the disk has room for them.
func TestRoom_SnapshotFails(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		disk := newSmallFS(100 << 20)
		s := startOnSmallDisk(t, disk)
		tried := 0
		disk.SetHook(func(op crashfs.Op, name string) error {
			if op == crashfs.OpCreate && strings.Contains(name, clustertest.SnapshotsDir) {
				tried++
				return errFault
			}
			return nil
		})
		sent := 0
		for ; s.overwrite(sent, 10*time.Second) == nil; sent++ {
		}
		if tried == 0 || sent < 150 {
			t.Errorf("after %d failed snapshots %d puts were taken, want 150 at least", tried, sent)
		}
		if err := s.f.fatal.Reason(); err != nil {
			t.Errorf("the node stops: %v", err)
		}
	})
}
