package cluster

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestQuorumRoom_SlowVoter shows that the first write of a term, which asks the
// others for their room, waits for no more of them than a majority needs.
func TestQuorumRoom_SlowVoter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBubble(t, 3, nil)
		leader, _, slow := b.leaderAndOthers(t)
		b.hold(slow.cfg.Name, leader.cfg.Name)
		mustJoined(t, leader).quorum.forget()
		began := time.Now()
		mustPut(t, leader, "k", "v")
		if waited := time.Since(began); waited >= roomAskTimeout {
			t.Errorf("the put waited for %v, as long as for the silent voter", waited)
		}
		b.letAll()
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
		time.Sleep(2 * roomAskPause) // what it said before is not said again
		b.hold(busy.cfg.Name, leader.cfg.Name)
		mustJoined(t, leader).quorum.forget()
		release := time.AfterFunc(2*roomAskTimeout, b.letAll)
		defer release.Stop()
		mustPut(t, leader, "k", "w")
	})
}
