package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// maxLate is how long after its deadline a key may be readable, on any node.
const maxLate = 200 * time.Millisecond

// lives are keys with deadlines, and when each was put by the time of the bubble.
type lives struct {
	mu   sync.Mutex
	keys map[string]life // guarded by mu
	gone map[string]bool // guarded by mu; by node and key
	// worst is the greatest time after a deadline at which its key was read. Guarded by mu.
	worst time.Duration
	// wrong says that clocks are wrong: keys are compared with the time of the bubble alone.
	wrong bool
}

type life struct {
	put      time.Time
	ttl      time.Duration
	deadline time.Time // by the cluster clock
}

// put puts a key that lives for ttl through one of the nodes, and waits until all have it.
func (l *lives) put(t *testing.T, nodes []*clustertest.Node, via int, key string, ttl time.Duration) {
	t.Helper()
	now := time.Now()
	got, err := nodes[via].Do(clustertest.Soon(t), kv.PutTTL(key, nil, ttl))
	for errors.Is(err, kv.ErrUnknownOutcome) {
		now = time.Now()
		got, err = nodes[via].Do(clustertest.Soon(t), kv.PutTTL(key, nil, ttl))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if _, err := n.Get(clustertest.Soon(t), key, kv.ReadOptions{Level: kv.Stale, MinRevision: got.Revision}); err != nil {
			t.Fatal(err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys[key] = life{now, ttl, time.UnixMilli(got.Results[0].Deadline)}
}

// check reads all keys on a node without asking the leader, while there is one.
func (l *lives) check(t *testing.T, n *clustertest.Node) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, life := range l.keys {
		got, err := n.Get(t.Context(), key, kv.ReadOptions{Level: kv.Stale})
		now := time.Now()
		switch name := n.Config.Name + " " + key; {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case !got.Found && (!l.wrong && now.Before(life.deadline) || now.Before(life.put.Add(life.ttl-maxLate))):
			t.Errorf("%s is gone %v before its deadline, %v after its put for %v", name, life.deadline.Sub(now), now.Sub(life.put), life.ttl)
		case !got.Found:
			l.gone[name] = true
		case l.gone[name]:
			t.Errorf("%s is back", name)
		default:
			late := now.Sub(life.put.Add(life.ttl))
			if !l.wrong {
				late = max(late, now.Sub(life.deadline))
			}
			if l.worst = max(l.worst, late); late >= maxLate {
				t.Errorf("%s is readable %v after its deadline", name, late)
			}
		}
	}
}

// watch checks all nodes again and again for a while.
func (l *lives) watch(t *testing.T, nodes []*clustertest.Node, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(7 * time.Millisecond) {
		for _, n := range nodes {
			l.check(t, n)
		}
	}
}

func closeAll(t *testing.T, nodes []*clustertest.Node) {
	t.Helper()
	for _, n := range nodes {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// openAgain opens nodes of a bubble that were closed, on their data, and replaces them in nodes
// once all are ready.
func openAgain(t *testing.T, b *clustertest.Bubble, nodes []*clustertest.Node) {
	t.Helper()
	for i, n := range nodes {
		cfg := n.Config
		cfg.PeerListener = b.Listen(cfg.AdvertisePeer)
		again, err := clustertest.Try(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = again.Close() })
		nodes[i] = again
	}
	for _, n := range nodes {
		clustertest.Eventually(t, n.Config.Name+" is ready", n.Ready)
	}
}

// TestExpire_OnTimeOnEachNode gives keys times to live while leadership moves ten times and
// all nodes restart once. No node loses a key before its deadline. None returns one 200 ms
// after its deadline, while there is a leader.
func TestExpire_OnTimeOnEachNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) {
			cfg.Timing, cfg.Seams.Unhurried = cluster.Timing{}, false
			cfg.Seams.OpenStable = clustertest.StableKept(cfg.FS)
		})
		nodes := slices.Clone(b.Nodes)
		l := &lives{keys: map[string]life{}, gone: map[string]bool{}}
		for i := range 100 {
			l.put(t, nodes, i%3, fmt.Sprintf("k%02d", i), time.Duration(i+1)*211*time.Millisecond)
		}
		watch := func(d time.Duration) { l.watch(t, nodes, d) }
		for i := range 10 {
			watch(time.Duration(500+i*37) * time.Millisecond)
			leader := clustertest.Leader(t, nodes)
			next := clustertest.Others(nodes, leader)[i%2]
			done := make(chan error, 1)
			go func() { done <- leader.Transfer(clustertest.Soon(t), next.Config.Name) }()
			watch(100 * time.Millisecond)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			l.put(t, nodes, i%3, fmt.Sprintf("t%d", i), time.Duration(i+1)*400*time.Millisecond)
		}
		closeAll(t, nodes)
		time.Sleep(3 * time.Second) // deadlines pass while there is no node
		openAgain(t, b, nodes)
		watch(25 * time.Second)
		for _, n := range nodes {
			if n.State().Len() != 1 || n.State().Expiring() != 0 { // the first put of the bubble
				t.Errorf("%s: %d keys remain, %d deadlines", n.Config.Name, n.State().Len(), n.State().Expiring())
			}
		}
		t.Logf("keys were readable up to %v after their deadlines", l.worst)
	})
}

// TestExpire_ManyLetPutsThrough has many keys expire at once: they are removed without a
// pause, by entries that remove a bounded number, and puts are done meanwhile.
func TestExpire_ManyLetPutsThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) { cfg.Timing.Commit, cfg.Seams.Unhurried = 10*time.Millisecond, false })
		leader, follower, _ := b.LeaderAndOthers(t)
		begun := time.Now()
		for i := range 50 {
			var r kv.Request
			for j := range 128 {
				r.Then = append(r.Then, kv.Op{Kind: kv.OpPut, Key: fmt.Sprintf("k%02d-%03d", i, j), TTL: 10*time.Second - time.Since(begun).Truncate(time.Millisecond)})
			}
			if _, err := leader.Do(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		before, next := leader.State().Revision(), leader.State().NextDeadline()
		time.Sleep(time.Until(time.UnixMilli(next)))
		var got kv.Response
		for leader.State().Expiring() > 0 && time.Since(time.UnixMilli(next)) < time.Second {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			var err error
			if got, err = follower.Do(ctx, kv.Put("between", nil)); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		synctest.Wait()
		if took := time.Since(time.UnixMilli(next)); took > 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if got.Revision == 0 {
			t.Error("no put was done while keys expired")
		}
		if revision := leader.State().Revision(); revision < before+8 { // 6,400 keys in seven entries, and a put
			t.Errorf("it ends at revision %d, want at least %d", revision, before+8)
		}
		clustertest.Eventually(t, "a follower removes the keys", func() error {
			if n := follower.State().Len(); n != 2 { // it hears of the last entry's commit later
				return fmt.Errorf("it has %d keys, want 2", n)
			}
			return nil
		})
	})
}

// TestExpire_EarlierDeadlineWakes shows that the leader does not wait for a later deadline
// when it gets an earlier one, and that it writes nothing while no key is due.
func TestExpire_EarlierDeadlineWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 1, nil)
		n := b.Nodes[0]
		for _, ttl := range []time.Duration{time.Hour, time.Second} {
			if _, err := n.Do(t.Context(), kv.PutTTL(ttl.String(), nil, ttl)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		before := n.State().AppliedIndex()
		time.Sleep(900 * time.Millisecond)
		if got := n.State().AppliedIndex(); got != before || n.State().Len() != 3 {
			t.Errorf("before the deadline: %d entries, %d keys", got-before, n.State().Len())
		}
		time.Sleep(60 * time.Millisecond)
		if got := n.State().AppliedIndex(); got != before+1 || n.State().Len() != 2 {
			t.Errorf("after the deadline: %d entries, %d keys, want 1, 2", got-before, n.State().Len())
		}
		time.Sleep(time.Minute)
		if got := n.State().AppliedIndex(); got != before+1 {
			t.Errorf("while nothing was due, %d entries were written", got-before-1)
		}
	})
}

// TestExpire_TimeLeftGetsLess reads a key with a deadline on each node while nothing is written.
// What is left gets less as time passes.
func TestExpire_TimeLeftGetsLess(t *testing.T) {
	const ttl, step = 5 * time.Minute, time.Minute
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) {
			cfg.Timing, cfg.Seams.Unhurried = cluster.Timing{}, false
		})
		began := time.Now()
		put, err := b.Nodes[0].Do(clustertest.Soon(t), kv.PutTTL("k", nil, ttl))
		if err != nil {
			t.Fatal(err)
		}
		for time.Since(began) < ttl-step {
			for _, n := range b.Nodes {
				got, err := n.Get(clustertest.Soon(t), "k", kv.ReadOptions{})
				if err != nil || !got.Found {
					t.Fatalf("%s: got %+v, %v", n.Config.Name, got, err)
				}
				view, err := n.View(clustertest.Soon(t), kv.ReadOptions{})
				if err != nil {
					t.Fatal(err)
				}
				for _, clock := range []int64{got.Clock, view.Clock()} {
					left := time.Duration(put.Results[0].Deadline-clock) * time.Millisecond
					if want := ttl - time.Since(began); left < want-time.Second || left > want+time.Second {
						t.Errorf("%s: %v are left, want %v", n.Config.Name, left, want)
					}
				}
				_ = view.Close() // always nil
			}
			time.Sleep(step)
		}
	})
}
