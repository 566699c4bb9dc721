package replica_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/wal"
)

// TestHold_BeganSinceTick has a leader begin to send a snapshot after it has looked at its log's
// growth, and end one of its own before it looks again, as with a slow disk. The entries that the
// member needs next stay in the log. A snapshot by hand drops them.
func TestHold_BeganSinceTick(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		b := clustertest.OpenBubble(t, 1, func(c *cluster.Config) { c.SnapshotBytesPerSecond = cluster.MinSnapshotBytesPerSecond })
		leader := b.Nodes[0]
		for i := range 16 {
			clustertest.MustPut(t, leader, fmt.Sprint("k", i), strings.Repeat("v", 64<<10)) // 16 s to send
		}
		clustertest.MustPut(t, leader, "k", "v")
		if err := leader.Replica().SnapshotKeeping(1 << 10); err != nil { // that entry stays
			t.Fatal(err)
		}
		joiner := b.Joiner(t, "n2", func(c *cluster.Config) { c.NonVoter = true })
		join := clustertest.GoJoin(t.Context(), leader, joiner)
		sent := sentSnapshot(t, leader)
		for range 16 {
			clustertest.MustPut(t, leader, "k", "v")
		}
		if err := leader.Replica().SnapshotKeeping(0); err != nil {
			t.Fatal(err)
		}
		if begins := leader.Stores().Log.Begins(); begins > sent { // raft needs the term of this one
			t.Errorf("the log begins at %d while snapshot %d is sent", begins, sent)
		}
		clustertest.MustPut(t, leader, "k", "v")
		if _, err := leader.Snapshot(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if begins := leader.Stores().Log.Begins(); begins <= sent {
			t.Errorf("after a snapshot by hand the log begins at %d", begins)
		}
		<-join.Done
		if join.Err != nil {
			t.Error(join.Err)
		}
	})
}

// sentSnapshot waits until a leader sends a snapshot, and returns its index.
func sentSnapshot(t *testing.T, leader *clustertest.Node) uint64 {
	t.Helper()
	for range 10_000 {
		for _, p := range leader.Peers().Peers() {
			if p.Snapshot != nil {
				return p.Snapshot.Index
			}
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("no snapshot is sent")
	return 0
}

// TestHold_EndsWhileSnapshotRuns has what was held become free while a snapshot is taken. The
// log gets shorter once that has ended, without a write.
func TestHold_EndsWhileSnapshotRuns(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		f := startReplica(t, func(c *replica.Config) {
			c.SnapshotBytes = 1 << 20
			c.Seams.OpenLog = func(o *wal.Options) { o.MaxSegmentSize = 1 << 20 }
		}, unchanged)
		var held atomic.Uint64
		held.Store(1)
		f.stores.Log.Hold(held.Load)
		const last = 12
		for i := uint64(2); i <= last; i++ {
			f.mustAppend(t, 2, point{i - 1, min(i-1, 2)}, large(i, 2, 1<<20), i)
		}
		if err := f.fsm.WaitApplied(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		if err := f.replica.SnapshotKeeping(1 << 20); err != nil {
			t.Fatal(err)
		}
		wantEnds(t, f.stores.Log, 1, last)
		release := f.replica.HoldSnapshots()
		held.Store(0)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		wantEnds(t, f.stores.Log, 1, last)
		release()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if kept := f.stores.Log.BytesFrom(f.stores.Log.Begins()); kept > 3<<20 {
			t.Errorf("%d bytes are still in the log", kept)
		}
	})
}
