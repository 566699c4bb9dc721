package cluster_test

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// TestSnapshotInterval shows that a snapshot is due once the log has as many bytes as the newest
// snapshot: to write a large state again and again for a little log would cost more than all puts.
func TestSnapshotInterval(t *testing.T) {
	const least, value, values = 64 << 10, 8 << 10, 128
	clustertest.InBubble(t, "OneNode", func(t *testing.T) {
		n := clustertest.OpenBubble(t, 1, func(c *cluster.Config) { c.SnapshotBytes = least }).Nodes[0]
		put := func(from, to int) (snapshots int) {
			for i := from; i < to; i++ {
				before := n.Stores().Log.SnapshotIndex()
				clustertest.MustPut(t, n, "k"+strconv.Itoa(i), string(make([]byte, value)))
				time.Sleep(10 * time.Second) // the log's growth is looked at each 2 s
				synctest.Wait()
				if n.Stores().Log.SnapshotIndex() != before {
					snapshots++
				}
			}
			return snapshots
		}
		// Sizes of 64, 128, 256, 512 and 1,024 KiB, or a little later each.
		if got := put(0, values); got < 3 || got > 6 {
			t.Errorf("%d snapshots were taken while 1 MiB was put, want one each time that it has doubled", got)
		}
		if _, err := n.Snapshot(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Snapshot(t.Context(), ""); err != nil && !errors.Is(err, kv.ErrNothingToSnapshot) {
			t.Fatal(err)
		}
		if got := put(values, values+values/2); got != 0 {
			t.Errorf("%d snapshots were taken for 512 KiB of log behind one of 1 MiB", got)
		}
		if got := put(values+values/2, 2*values+values/2); got != 1 {
			t.Errorf("%d snapshots were taken for another 1 MiB of log, want 1", got)
		}
	})
}
