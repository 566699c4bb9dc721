package cluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/internal/testkit"
)

// wrongClocks are faults of the clocks of one of three nodes. A fault happens before keys
// are put, and its second part, if there is one, while they live. If it is everywhere, it
// strikes all nodes.
var wrongClocks = map[string]struct {
	before, meanwhile func(*testkit.Clock)
	everywhere        bool
}{
	"Right":            {},
	"WallAhead":        {meanwhile: func(c *testkit.Clock) { c.Jump(time.Hour) }},
	"WallBehind":       {meanwhile: func(c *testkit.Clock) { c.Jump(-time.Hour) }},
	"WallAheadBefore":  {before: func(c *testkit.Clock) { c.Jump(time.Hour) }, meanwhile: func(c *testkit.Clock) { c.Jump(-time.Hour) }},
	"WallBehindBefore": {before: func(c *testkit.Clock) { c.Jump(-time.Hour) }, meanwhile: func(c *testkit.Clock) { c.Jump(time.Hour) }},
	"AllWallsAhead":    {meanwhile: func(c *testkit.Clock) { c.Jump(time.Hour) }, everywhere: true},
	"AllWallsBehind":   {meanwhile: func(c *testkit.Clock) { c.Jump(-time.Hour) }, everywhere: true},
	"Fast":             {before: func(c *testkit.Clock) { c.Run(1.1) }},
	"Slow":             {before: func(c *testkit.Clock) { c.Run(0.9) }},
	"FastThenSlow":     {before: func(c *testkit.Clock) { c.Run(1.1) }, meanwhile: func(c *testkit.Clock) { c.Run(0.9) }},
	"StandsStill":      {before: func(c *testkit.Clock) { c.Run(0) }},
	"StandsStillLater": {meanwhile: func(c *testkit.Clock) { c.Run(0) }},
}

// TestExpire_WrongClocks gives keys times to live while the clocks of one node are wrong: of
// the leader, or of a follower. Then leadership moves to each of the other nodes in turn. No key
// is gone 200 ms early, and none is readable 200 ms late, on any node, by true time.
func TestExpire_WrongClocks(t *testing.T) {
	for name, fault := range wrongClocks {
		for _, leads := range []bool{true, false} {
			clustertest.InBubble(t, fmt.Sprintf("%s/leads=%t", name, leads), func(t *testing.T) {
				clocks := map[string]*testkit.Clock{}
				b := openWithClocks(t, clocks)
				leader, follower, _ := b.LeaderAndOthers(t)
				wrong := clocks[follower.Config.Name]
				if leads {
					wrong = clocks[leader.Config.Name]
				}
				if fault.before != nil {
					fault.before(wrong)
					time.Sleep(10 * time.Second) // a clock that drifts is a second away
				}
				l := &lives{keys: map[string]life{}, gone: map[string]bool{}, wrong: true}
				for i := range 20 {
					l.put(t, b.Nodes, i%3, fmt.Sprintf("k%02d", i), time.Duration(i+1)*711*time.Millisecond)
				}
				for _, c := range clocks {
					if fault.meanwhile != nil && (c == wrong || fault.everywhere) {
						fault.meanwhile(c)
					}
				}
				l.live(t, b.Nodes)
				t.Logf("keys were readable up to %v after their deadlines", l.worst)
			})
		}
	}
}

// TestExpire_IdleThenWrong gives a key a time to live when no other key has one, at different
// times since the leader has last asked for the clocks, while the leader's clock stands still or
// is fast. The key is not gone 200 ms early, nor readable 200 ms late, on any node.
func TestExpire_IdleThenWrong(t *testing.T) {
	for name, rate := range map[string]float64{"StandsStill": 0, "Fast": 1.1} {
		clustertest.InBubble(t, name, func(t *testing.T) {
			clocks := map[string]*testkit.Clock{}
			b := openWithClocks(t, clocks)
			leader, _, _ := b.LeaderAndOthers(t)
			clocks[leader.Config.Name].Run(rate)
			l := &lives{keys: map[string]life{}, gone: map[string]bool{}, wrong: true}
			for i := range 8 {
				time.Sleep(time.Second + time.Duration(i)*67*time.Millisecond)
				l.put(t, b.Nodes, i%3, fmt.Sprintf("k%02d", i), 811*time.Millisecond)
				l.watch(t, b.Nodes, 1100*time.Millisecond)
			}
			t.Logf("keys were readable up to %v after their deadlines", l.worst)
		})
	}
}

// openWithClocks opens three nodes, each of which has a clock of its own.
func openWithClocks(t *testing.T, clocks map[string]*testkit.Clock) *clustertest.Bubble {
	return clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) {
		cfg.Timing, cfg.Seams.Unhurried = cluster.Timing{}, false
		c := testkit.NewClock()
		clocks[cfg.Name], cfg.Seams.Clock, cfg.Seams.Elapsed = c, c.Wall, c.Elapsed
	})
}

// live checks the keys for 16 s. Leadership moves every 4 s.
func (l *lives) live(t *testing.T, nodes []*clustertest.Node) {
	t.Helper()
	for i := range 4 {
		for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			for _, n := range nodes {
				l.check(t, n)
			}
		}
		leader := clustertest.Leader(t, nodes)
		if err := leader.Transfer(clustertest.Soon(t), clustertest.Others(nodes, leader)[i%2].Config.Name); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		if n.State().Expiring() != 0 {
			t.Errorf("%s: %d deadlines remain", n.Config.Name, n.State().Expiring())
		}
	}
}
