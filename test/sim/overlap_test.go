package sim

import (
	"testing"
	"time"
)

// slowLeader is power that fails while one follower alone has the newest entry. The leader and
// the other follower, whose disks are slow, come back first.
var slowLeader = []harm{
	{"power fails at all, and one starts late", func(n *nemesis) { n.slowMajority() }},
}

// slowMajority slows the disks of the leader and of one follower, and then cuts the power of
// all. The other follower starts seconds after these two.
func (n *nemesis) slowMajority() {
	leader, late := n.leader(), n.follower()
	if leader == nil || late == nil {
		return
	}
	var slow []*host
	for _, h := range n.members() {
		if _, p := h.live(); p != nil && h != late {
			p.disk.setSlow(400 * time.Millisecond)
			slow = append(slow, h)
		}
	}
	time.Sleep(n.between(300, 1500))
	n.all(powerLost)
	for _, h := range slow {
		h.start()
	}
	n.w.after(n.between(3000, 6000), late.start)
}

// TestSlowLeader makes the faults of the control LeaderNotDurable for a cluster that is not
// broken.
func TestSlowLeader(t *testing.T) {
	total := totals{}
	p := randomPlan(1)
	p.nodes, p.early = 3, false
	p.faults, p.pace, p.pause = slowLeader, 0.2, 5*time.Millisecond
	if found, _ := total.simulate(t, p); found != "" {
		t.Error(found)
	}
	t.Log(total.String(0))
}
