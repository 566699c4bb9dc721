package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// promptly is the maximum round trip of a ping while bulk is in flight.
const promptly = 100 * time.Millisecond

// narrowPlan returns a plan in which only the script writes, over links of l's rate between
// three nodes with the default timing.
func narrowPlan(l link, window int, script func(*nemesis)) plan {
	p := playPlan(3, script)
	p.clients, p.window, p.snapshotRate, p.moves = 0, window, 0, false
	p.snapshotBytes, p.maxValue = 1<<30, cluster.LimitMaxValueBytes
	l.min, l.max = 100*time.Microsecond, 500*time.Microsecond
	p.link = l
	return p
}

// playNarrow simulates a plan, without and with a pipeline. It checks that no leader was
// deposed and no heartbeat late between settled and the end of the script.
func playNarrow(t *testing.T, l link, script func(*testing.T, *nemesis)) {
	if raceEnabled {
		t.Skip("moves hundreds of megabytes, and package transport looks for races in that")
	}
	for _, window := range []int{0, transport.MaxPipelineWindow} {
		t.Run(fmt.Sprint("Window", window), func(t *testing.T) {
			var total totals
			p := narrowPlan(l, window, func(n *nemesis) {
				if !n.w.poll(healLimit, "settle", n.converged) || !n.w.sleep(2*time.Second) {
					return
				}
				term, late := n.term(), n.w.count.late.Load()
				slowest := n.watchPings(func() { script(t, n) })
				if begun := n.term() - term; begun > 0 {
					n.w.violate("%d terms have begun", begun)
				}
				if late := n.w.count.late.Load() - late; late > 0 {
					n.w.violate("a leader has missed a voter's answer for its lease %d times", late)
				}
				t.Logf("the slowest ping took %v", slowest)
				if slowest > promptly {
					n.w.violate("a ping took %v", slowest)
				}
			})
			if found, report := total.simulate(t, p); found != "" {
				t.Errorf("seed %d: %s; before that:\n%s", p.seed, found, report)
			}
		})
	}
}

// watchPings calls f, and returns the longest round trip between two nodes meanwhile.
func (n *nemesis) watchPings(f func()) (slowest time.Duration) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return slowest
		case <-tick.C:
		}
		for _, h := range n.w.hosts {
			node, _ := h.live()
			if node == nil {
				continue
			}
			for _, p := range node.Status().Peers {
				slowest = max(slowest, time.Duration(p.RoundTripMs*float64(time.Millisecond)))
			}
		}
	}
}

// put writes a unique value of size bytes through a host's node.
func (h *host) put(key string, size int, limit time.Duration) {
	node, p := h.live()
	if node == nil {
		h.w.violate("%s is down", h.name)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	value := fmt.Appendf(nil, "%s.%d.", key, time.Since(h.w.trace.start))
	value = append(value, bytes.Repeat([]byte("v"), max(0, size-len(value)))...)
	if _, err := h.w.do(ctx, node, p, kv.Put(key, value)); err != nil {
		h.w.violate("put %d bytes: %v", len(value), err)
	}
}

// appliedBy returns nil when a host has applied all entries of another one except the
// newest but entries.
func appliedBy(h, other *host, but uint64) func() error {
	return func() error {
		node, _ := h.live()
		ahead, _ := other.live()
		if node == nil || ahead == nil {
			return fmt.Errorf("%s or %s is down", h.name, other.name)
		}
		if got, want := node.Stats().AppliedIndex, ahead.Stats().AppliedIndex; got+but < want {
			return fmt.Errorf("%s has applied %d of %d", h.name, got, want)
		}
		return nil
	}
}

// TestNarrow_LargestValue writes a value of 64 MiB over links of 20 Mbit/s: 27 s for
// each follower.
func TestNarrow_LargestValue(t *testing.T) {
	playNarrow(t, link{rate: 20 * megabit}, func(t *testing.T, n *nemesis) {
		leader, began := n.leader(), time.Now()
		leader.put("largest", cluster.LimitMaxValueBytes, time.Minute)
		took := time.Since(began)
		leader.put("small", 0, time.Second) // raft always reads the newest entry
		if took < 20*time.Second || took > 30*time.Second {
			n.w.violate("the write took %v", took)
		}
		t.Logf("the write took %v", took)
		for _, h := range n.members() {
			n.w.poll(10*time.Second, "apply", appliedBy(h, leader, 0))
		}
	})
}

// TestNarrow_Values writes values of 1.5 MiB from four clients through a leader whose host
// sends 100 Mbit/s: a quarter of a second for two followers.
func TestNarrow_Values(t *testing.T) {
	playNarrow(t, link{rate: 100 * megabit, shared: true}, func(t *testing.T, n *nemesis) {
		leader := n.leader()
		var writers sync.WaitGroup
		for id := range 4 {
			writers.Go(func() {
				for range 10 {
					leader.put(fmt.Sprint("large-", id), 3<<19, 10*time.Second)
				}
			})
		}
		writers.Wait()
	})
}

// TestNarrow_CatchUp restarts a follower that lacks 12 MiB, over a link of 5 Mbit/s, during
// 100 small writes per second.
func TestNarrow_CatchUp(t *testing.T) {
	const values, apart = 12, 10 * time.Millisecond
	playNarrow(t, link{}, func(t *testing.T, n *nemesis) {
		h, leader, late := n.follower(), n.leader(), n.w.count.late.Load()
		h.die(killed)
		for i := range values {
			leader.put(fmt.Sprint("missed-", i), 1<<20, 5*time.Second)
		}
		l := n.w.plan.link
		l.rate = 5 * megabit
		for _, other := range n.w.hosts {
			n.w.net.set(h.name, other.name, l)
			n.w.net.set(other.name, h.name, l)
		}
		h.start()
		n.w.poll(10*time.Second, "hear the leader", func() error {
			if node, _ := h.live(); node == nil || node.Status().Leader == nil {
				return errors.New("it does not")
			}
			return nil
		})
		n.w.count.late.Store(late) // until then the follower did not run
		stop, done := make(chan struct{}), make(chan struct{})
		var written atomic.Int64
		go func() {
			defer close(done)
			for tick := time.NewTicker(apart); ; written.Add(1) {
				select {
				case <-tick.C:
					leader.put(fmt.Sprint("small-", written.Load()%100), 0, time.Second)
				case <-stop:
					tick.Stop()
					return
				}
			}
		}()
		began := time.Now()
		n.w.poll(30*time.Second, "catch up", appliedBy(h, leader, 20))
		took := time.Since(began)
		close(stop)
		<-done
		if least := int64(took / apart * 9 / 10); written.Load() < least {
			n.w.violate("%d small writes in %v", written.Load(), took)
		}
		t.Logf("caught up after %v, with %d small writes meanwhile", took, written.Load())
	})
}
