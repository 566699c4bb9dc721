package cluster

import (
	"testing"
	"testing/synctest"
	"time"
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
