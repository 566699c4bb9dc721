package sim

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// clockSlack is how early a key with a time to live may be gone, and how late it may be readable, by
// the time of the bubble.
const clockSlack = 200 * time.Millisecond

// wrongClocks is a script that makes the clocks of one voter wrong, of the leader or another, while keys with
// times to live come and go and leadership moves.
func wrongClocks(n *nemesis) {
	n.w.sleep(2 * time.Second)
	for range 12 {
		wrong := n.victim()
		n.w.trace.add("nemesis: the clocks of %s are wrong", wrong.name)
		n.w.count.faults.Add(1)
		wrong.clock.Jump([]time.Duration{-time.Hour, 0, time.Hour}[n.rng.IntN(3)])
		wrong.clock.Run([]float64{0.9, 1, 1.1}[n.rng.IntN(3)])
		n.expiring()
		n.transfer()
		wrong.clock.Run(1)
		if !n.w.poll(healLimit, "a leader after a transfer", n.converged) {
			return
		}
	}
}

// expiring puts keys with times to live, and reads each through all nodes until it is gone.
func (n *nemesis) expiring() {
	lives := map[string]time.Time{} // the ends of keys
	for i := range 5 {
		key, ttl := fmt.Sprintf("%strue-%d-%d", sessionPrefix, time.Now().UnixNano(), i), n.between(500, 4000)
		if end := time.Now().Add(ttl); n.putFor(key, ttl) {
			lives[key] = end
		}
	}
	for end := time.Now().Add(4*time.Second + 2*clockSlack); time.Now().Before(end) && n.w.sleep(20*time.Millisecond); {
		for key, end := range lives {
			n.readExpiring(key, end)
		}
	}
}

// putFor puts a key, and reports whether that was done quickly.
func (n *nemesis) putFor(key string, ttl time.Duration) bool {
	node, p := n.leader().live()
	if node == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	asked := time.Now()
	_, err := node.Do(ctx, kv.PutTTL(key, nil, ttl))
	return err == nil && time.Since(asked) < clockSlack/4
}

// readExpiring reads a key through a node, and compares the answer with its end.
func (n *nemesis) readExpiring(key string, end time.Time) {
	node, p := n.any().live()
	if node == nil {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	asked := time.Now()
	got, err := node.Get(ctx, key, kv.ReadOptions{})
	switch {
	case err != nil:
	case !got.Found && time.Now().Before(end.Add(-clockSlack)):
		n.w.violate("%s is gone %v before its end", key, time.Until(end))
	case got.Found && asked.After(end.Add(clockSlack)):
		n.w.violate("%s is readable %v after its end", key, asked.Sub(end))
	}
}

// TestClocks makes the clocks of one host after the other wrong. No key with a time to
// live is gone early, and none is readable late, by true time.
func TestClocks(t *testing.T) {
	total, began := totals{}, time.Now()
	p := randomPlan(newSeed())
	p.nodes, p.clients, p.early, p.builds, p.script = 3, 2, false, false, wrongClocks
	if found, report := total.simulate(t, p); found != "" {
		t.Errorf("seed %d: %s; before that:\n%s", p.seed, found, report)
	}
	t.Log(total.String(time.Since(began)))
}
