package replica_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestQuorumRoom_SlowVoter shows that the first write of a term, which asks the
// others for their room, waits for no more of them than a majority needs.
func TestQuorumRoom_SlowVoter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, nil)
		leader, _, slow := b.LeaderAndOthers(t)
		b.Hold(slow.Config.Name, leader.Config.Name)
		leader.Replica().ForgetRoom()
		began := time.Now()
		clustertest.MustPut(t, leader, "k", "v")
		if waited := time.Since(began); waited >= room.AskTimeout {
			t.Errorf("the put waited for %v, as long as for the silent voter", waited)
		}
		b.LetAll()
	})
}

// TestQuorumRoom_AskedAgainAtOnce begins another term of the same leader right after it
// has asked.
func TestQuorumRoom_AskedAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, _, _ := clustertest.OpenBubble(t, 3, nil).LeaderAndOthers(t)
		leader.Replica().ForgetRoom()
		clustertest.MustPut(t, leader, "k", "v")
		leader.Replica().ForgetRoom()
		clustertest.MustPut(t, leader, "k", "w")
	})
}

// TestQuorumRoom_BusyVoter has one follower without room, and another one whose answer
// takes longer than the leader waits. A majority has room: the put is taken.
func TestQuorumRoom_BusyVoter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := map[string]*atomic.Int64{}
		b := clustertest.OpenBubble(t, 3, func(c *cluster.Config) {
			free[c.Name] = new(atomic.Int64)
			free[c.Name].Store(1 << 40)
			c.FS = clustertest.SpacedFS{FS: crashfs.New(), Bytes: free[c.Name]}
		})
		leader, full, busy := b.LeaderAndOthers(t)
		clustertest.MustPut(t, leader, "k", "v")
		free[full.Config.Name].Store(1 << 20)
		time.Sleep(2 * room.AskPause) // what it said before is not said again
		b.Hold(busy.Config.Name, leader.Config.Name)
		leader.Replica().ForgetRoom()
		release := time.AfterFunc(2*room.AskTimeout, b.LetAll)
		defer release.Stop()
		clustertest.MustPut(t, leader, "k", "w")
	})
}

// TestNode_LeaveWithoutRoom shows that a voter that could write nothing does not count
// when another one is to leave: the two that were left would acknowledge no write.
func TestNode_LeaveWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := map[string]*atomic.Int64{}
		b := clustertest.OpenBubble(t, 3, func(c *cluster.Config) {
			free[c.Name] = new(atomic.Int64)
			free[c.Name].Store(1 << 40)
			c.FS = clustertest.SpacedFS{FS: crashfs.New(), Bytes: free[c.Name]}
		})
		leader, full, leaves := b.LeaderAndOthers(t)
		free[full.Config.Name].Store(1 << 20)
		clustertest.Eventually(t, "the node knows that it has no room", func() error {
			if disk := full.Stats().Disk; disk.RoomBytes > 0 {
				return fmt.Errorf("it has room for %d", disk.RoomBytes)
			}
			return nil
		})
		err := leader.Leave(t.Context(), kv.LeaveRequest{ID: leaves.Config.Name})
		if !errors.Is(err, kv.ErrQuorum) || !strings.Contains(err.Error(), full.Config.Name+" has no room for puts on its disk") {
			t.Fatalf("got %v, want ErrQuorum and whose disk has no room", err)
		}
		free[full.Config.Name].Store(1 << 40)
		clustertest.Eventually(t, "the node leaves", func() error {
			return leader.Leave(t.Context(), kv.LeaveRequest{ID: leaves.Config.Name})
		})
	})
}
