package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// Limits of elections that operators can expect. They are in simulated time, so other work
// on the machine does not matter.
const (
	failovers      = 20
	failoverMedian = time.Second
	failoverWorst  = 2 * time.Second
	// outage is the length of a partition.
	outage = 60 * time.Second
	// termsPerPartition is the maximum number of terms that begin while the network is
	// partitioned and heals again: one for a leader that can't lead any more, and two for
	// split votes.
	termsPerPartition = 3
)

// playPlan returns a plan in which clients write while a script is played.
func playPlan(nodes int, script func(*nemesis)) plan {
	p := randomPlan(newSeed())
	p.nodes, p.clients, p.pause, p.early, p.script = nodes, 2, 500*time.Millisecond, false, script
	return p
}

// TestFailover kills the leader again and again, and measures the time until the next write
// is acknowledged.
func TestFailover(t *testing.T) {
	var took []time.Duration
	var total totals
	p := playPlan(3, func(n *nemesis) {
		for range fewer(failovers, 3) {
			if !n.w.sleep(n.between(1000, 3000)) || !n.w.poll(healLimit, "settle", n.converged) {
				return
			}
			victim := n.leader()
			killedAt := time.Now()
			victim.die(killed)
			n.writeUntilDone(fmt.Sprint("failover-", len(took)), failoverWorst*5)
			took = append(took, time.Since(killedAt))
			victim.start()
		}
	})
	if found, report := total.simulate(t, p); found != "" {
		t.Fatalf("seed %d: %s; before that:\n%s", p.seed, found, report)
	}
	slices.Sort(took)
	median, worst := took[len(took)/2], took[len(took)-1]
	t.Logf("from the leader's end to the next acknowledged write: median %v, worst %v of %d", median, worst, len(took))
	if len(took) != fewer(failovers, 3) || median > failoverMedian || worst > failoverWorst {
		t.Errorf("seed %d: wanted %v at the median and %v at worst, of %d: %v", p.seed, failoverMedian, failoverWorst, failovers, took)
	}
}

// writeUntilDone writes through live nodes until one acknowledges a write.
func (n *nemesis) writeUntilDone(key string, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		for _, i := range n.rng.Perm(len(n.w.hosts)) {
			node, p := n.w.hosts[i].live()
			if node == nil {
				continue
			}
			_, err := n.w.do(ctx, node, p, kv.Put(key, []byte(key))) // values are unique
			if err == nil {
				return
			}
		}
		if ctx.Err() != nil || !n.w.sleep(time.Millisecond) {
			n.w.violate("no write was acknowledged within %v", limit)
			return
		}
	}
}

// TestPartitions partitions networks of three and five nodes for a minute in every way, and
// counts the terms that begin until the cluster has converged. A node that is not heard, or
// does not hear, must not cause one election after the other.
func TestPartitions(t *testing.T) {
	if raceEnabled {
		t.Skip("partitions are in the other simulations too, and the numbers of terms are no race")
	}
	for _, nodes := range []int{3, 5} {
		t.Run(fmt.Sprint(nodes, "Nodes"), func(t *testing.T) {
			var total totals
			var counted []string
			p := playPlan(nodes, func(n *nemesis) {
				for _, way := range partings(nodes) {
					if !n.w.sleep(time.Second) || !n.w.poll(healLimit, "settle", n.converged) {
						return
					}
					n.w.trace.add("nemesis: %s", way.name)
					before := n.term()
					way.do(n)
					if !n.w.sleep(outage) {
						return
					}
					parted := n.term()
					n.w.net.heal()
					if !n.w.poll(healLimit, "serve after "+way.name, n.converged) {
						return
					}
					counted = append(counted, fmt.Sprintf("%s: %d + %d", way.name, parted-before, n.term()-parted))
					if begun := n.term() - before; begun > termsPerPartition {
						n.w.violate("%d terms have begun: %s", begun, way.name)
					}
				}
			})
			if found, report := total.simulate(t, p); found != "" {
				t.Errorf("seed %d: %s; before that:\n%s", p.seed, found, report)
			}
			t.Logf("terms that began while the network was parted, and healed:\n%s", strings.Join(counted, "\n"))
		})
	}
}

// parting is a way to partition a network.
type parting struct {
	name string
	do   func(*nemesis)
}

// partings returns the different ways for a cluster of that many nodes. It makes a
// difference whether the leader or a follower is affected.
func partings(nodes int) []parting {
	ways := []parting{
		{"the leader hears nothing", func(n *nemesis) { n.isolate(n.leader(), true, false) }},
		{"nobody hears the leader", func(n *nemesis) { n.isolate(n.leader(), false, true) }},
		{"the leader and a follower", func(n *nemesis) {
			leader, other := n.leader(), n.follower()
			n.cut(leader, other)
			n.cut(other, leader)
		}},
	}
	if nodes > 3 {
		return append(ways,
			parting{"halves", (*nemesis).halves},
			parting{"a bridge", (*nemesis).bridge},
		)
	}
	return append(ways,
		parting{"a follower hears nothing", func(n *nemesis) { n.isolate(n.follower(), true, false) }},
		parting{"nobody hears a follower", func(n *nemesis) { n.isolate(n.follower(), false, true) }},
		parting{"a follower does not hear the leader", func(n *nemesis) { n.cut(n.leader(), n.follower()) }},
		parting{"the leader does not hear a follower", func(n *nemesis) { n.cut(n.follower(), n.leader()) }},
		parting{"a follower does not hear the other", func(n *nemesis) {
			deaf := n.follower()
			for _, h := range n.members() {
				if h != deaf && h != n.leader() {
					n.cut(h, deaf)
				}
			}
		}},
	)
}

// follower returns a member that does not lead.
func (n *nemesis) follower() *host {
	leader := n.leader()
	for {
		if h := n.any(); h != leader {
			return h
		}
	}
}

// term returns the highest term that any node knows.
func (n *nemesis) term() (newest uint64) {
	for _, h := range n.w.hosts {
		if node, _ := h.live(); node != nil {
			newest = max(newest, node.Status().Term)
		}
	}
	return newest
}
