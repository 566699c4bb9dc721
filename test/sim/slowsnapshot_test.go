package sim

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// TestNarrow_SnapshotBehindWrites restarts a follower, which lacks more than the log has, on a link over which the
// state takes much longer than the log takes to grow by several times what stays of it behind a
// snapshot. The link is faster than the writes, so the follower has to catch up: the leader
// keeps the log that it needs next. If it did not, one snapshot would follow another for ever.
func TestNarrow_SnapshotBehindWrites(t *testing.T) {
	const (
		keys, value = 32, 64 << 10 // 2 MiB, and 1 MiB of history: a snapshot takes about 25 s
		apart       = time.Second  // 64 KiB/s, of 122 KiB/s
	)
	var total totals
	p := narrowPlan(link{}, 0, func(n *nemesis) {
		if !n.w.poll(healLimit, "settle", n.converged) || !n.w.sleep(2*time.Second) {
			return
		}
		h, leader := n.follower(), n.leader()
		h.die(killed)
		for i := range 2 * keys {
			leader.put(fmt.Sprint("state-", i%keys), value, 5*time.Second)
		}
		if !n.w.sleep(20 * time.Second) { // until nothing is held for the follower any more
			return
		}
		l := n.w.plan.link
		l.rate = megabit
		for _, other := range n.w.hosts {
			n.w.net.set(h.name, other.name, l)
			n.w.net.set(other.name, h.name, l)
		}
		h.start()
		stop, done := make(chan struct{}), make(chan struct{})
		var written atomic.Int64
		go func() {
			defer close(done)
			for tick := time.NewTicker(apart); ; written.Add(1) {
				select {
				case <-tick.C:
					leader.put(fmt.Sprint("state-", written.Load()%keys), value, 5*time.Second)
				case <-stop:
					tick.Stop()
					return
				}
			}
		}()
		began := time.Now()
		n.w.poll(3*time.Minute, "catch up", appliedBy(h, leader, 5))
		t.Logf("caught up after %v, with %d writes meanwhile", time.Since(began), written.Load())
		close(stop)
		<-done
	})
	p.snapshotBytes = 256 << 10
	if found, report := total.simulate(t, p); found != "" {
		t.Errorf("seed %d: %s; before that:\n%s", p.seed, found, report)
	}
	if total.counts.snapshots.Load() == 0 {
		t.Error("no snapshot was installed: this test shows nothing")
	}
}
