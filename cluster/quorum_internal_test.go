package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestQuorumRoom_SlowVoter shows that the first write of a term, which asks the
// others for their room, waits for no more of them than a majority needs.
func TestQuorumRoom_SlowVoter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBubble(t, 3, nil)
		leader, _, slow := b.leaderAndOthers(t)
		b.hold(slow.cfg.Name, leader.cfg.Name)
		mustJoined(t, leader).quorum.Forget()
		began := time.Now()
		mustPut(t, leader, "k", "v")
		if waited := time.Since(began); waited >= room.AskTimeout {
			t.Errorf("the put waited for %v, as long as for the silent voter", waited)
		}
		b.letAll()
	})
}

// TestQuorumRoom_AskedAgainAtOnce begins another term of the same leader right after it
// has asked.
func TestQuorumRoom_AskedAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, _, _ := openBubble(t, 3, nil).leaderAndOthers(t)
		quorum := mustJoined(t, leader).quorum
		quorum.Forget()
		mustPut(t, leader, "k", "v")
		quorum.Forget()
		mustPut(t, leader, "k", "w")
	})
}

// TestQuorumRoom_BusyVoter has one follower without room, and another one whose answer
// takes longer than the leader waits. A majority has room: the put is taken.
func TestQuorumRoom_BusyVoter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := map[string]*atomic.Int64{}
		b := openBubble(t, 3, func(c *Config) {
			free[c.Name] = new(atomic.Int64)
			free[c.Name].Store(1 << 40)
			c.FS = spacedFS{crashfs.New(), free[c.Name]}
		})
		leader, full, busy := b.leaderAndOthers(t)
		mustPut(t, leader, "k", "v")
		free[full.cfg.Name].Store(1 << 20)
		time.Sleep(2 * room.AskPause) // what it said before is not said again
		b.hold(busy.cfg.Name, leader.cfg.Name)
		mustJoined(t, leader).quorum.Forget()
		release := time.AfterFunc(2*room.AskTimeout, b.letAll)
		defer release.Stop()
		mustPut(t, leader, "k", "w")
	})
}

// TestNode_LeaveWithoutRoom shows that a voter that could write nothing does not count
// when another one is to leave: the two that were left would acknowledge no write.
func TestNode_LeaveWithoutRoom(t *testing.T) {
	t.Parallel()
	var free [3]atomic.Int64
	made := 0
	nodes := openCluster(t, 3, func(cfg *Config) {
		free[made].Store(1 << 40)
		cfg.FS = spacedFS{wal.OS(), &free[made]}
		made++
	})
	mustPut(t, nodes[0], "k", "v")
	leader := leaderOf(t, nodes)
	full := slices.IndexFunc(nodes, func(n *Node) bool { return n != leader })
	leaves := slices.IndexFunc(nodes, func(n *Node) bool { return n != leader && n != nodes[full] })
	free[full].Store(1 << 20)
	eventually(t, "the node tells that it has no room", func() error {
		if disk := mustJoined(t, nodes[full]).report().Disk; disk.Put > 0 {
			return fmt.Errorf("it has room for %d", disk.Put)
		}
		return nil
	})
	err := leader.Leave(t.Context(), kv.LeaveRequest{ID: nodes[leaves].cfg.Name})
	if !errors.Is(err, kv.ErrQuorum) || !strings.Contains(err.Error(), nodes[full].cfg.Name+" has no room for puts on its disk") {
		t.Fatalf("got %v, want ErrQuorum and whose disk has no room", err)
	}
	free[full].Store(1 << 40)
	eventually(t, "the node leaves", func() error {
		return leader.Leave(t.Context(), kv.LeaveRequest{ID: nodes[leaves].cfg.Name})
	})
}
