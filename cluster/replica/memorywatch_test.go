package replica_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/replica"
)

// TestWatchMemory_PausesGrow shows that the pauses between the collections that a node asks
// for while too much is live grow.
func TestWatchMemory_PausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heap := new(clustertest.SetHeap)
		startReplica(t, func(c *replica.Config) {
			c.Memory, c.Seams.Heap = clustertest.SmallPlan(1<<40), heap
			heap.Found.Store(c.Memory.Heap)
		}, unchanged)
		heap.Collect()
		time.Sleep(time.Minute)
		if n := heap.Collections.Load() - 1; n < 4 || n > 12 {
			t.Errorf("%d collections in a minute, want 4 to 12", n)
		}
	})
}
