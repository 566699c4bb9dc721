package cluster_test

import (
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
)

// roomOf is what a test changes of the room that a node has.
type roomOf struct {
	free atomic.Int64
	heap clustertest.SetHeap
}

// TestRetention_VotersRoom shows that history is compacted when puts are refused because another
// voter lacks room, and that a voter's room for data limits it. Room that no put needs does not
// count: that of one disk of three.
func TestRetention_VotersRoom(t *testing.T) {
	const ample, little = 1 << 40, 1 << 20
	for _, tt := range []struct {
		name  string
		data  int64 // room for data of one follower, 0 for as much as the others have
		lacks func(one, two *roomOf)
		kept  bool // the history stays
	}{
		{"Enough", 0, func(_, _ *roomOf) {}, true},
		{"Memory", 0, func(one, _ *roomOf) { one.heap.Found.Store(1 << 39); one.heap.Collect() }, false},
		{"Data", 8 << 20, func(_, _ *roomOf) {}, false},
		{"OneDisk", 0, func(one, _ *roomOf) { one.free.Store(little) }, true},
		{"TwoDisks", 0, func(one, two *roomOf) { one.free.Store(little); two.free.Store(little) }, false},
	} {
		clustertest.InBubble(t, tt.name, func(t *testing.T) {
			rooms := make(map[string]*roomOf)
			b := clustertest.OpenBubble(t, 3, func(c *cluster.Config) {
				r := new(roomOf)
				r.free.Store(ample)
				rooms[c.Name] = r
				c.FS = clustertest.SpacedFS{FS: c.FS, Bytes: &r.free}
				c.Memory, c.Seams.Heap = clustertest.SmallPlan(1<<30), &r.heap
				if tt.data != 0 && len(rooms) == 2 {
					c.Memory = clustertest.SmallPlan(tt.data)
				}
			})
			leader, one, two := b.LeaderAndOthers(t)
			if tt.data != 0 && leader == b.Nodes[1] { // the one with little memory must follow
				if err := leader.TransferLeadership(t.Context()); err != nil {
					t.Fatal(err)
				}
				leader, one, two = b.LeaderAndOthers(t)
			}
			for i := range 200 {
				clustertest.MustPut(t, leader, "k"+strconv.Itoa(i%2), string(make([]byte, 10_000)))
			}
			tt.lacks(rooms[one.Config.Name], rooms[two.Config.Name])
			time.Sleep(30 * time.Second) // much less than the age up to which history is kept
			synctest.Wait()
			bytes, _ := leader.State().HistoryBytes()
			if kept := bytes > 1_900_000; kept != tt.kept {
				t.Errorf("history takes %d bytes, kept: want %t", bytes, tt.kept)
			}
		})
	}
}
