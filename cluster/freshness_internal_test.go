package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

func TestFreshness(t *testing.T) {
	var f freshness
	start := time.Unix(100, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	check := func(what string, applied uint64, now int, want time.Duration) {
		t.Helper()
		if got := f.age(applied, at(now)); got != want {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	check("nothing heard", 7, 0, math.MaxInt64)
	f.heard(10, 7, at(1))
	check("not reached yet", 9, 2, math.MaxInt64)
	f.heard(20, 9, at(3)) // the older one is what is waited for
	check("the older one is reached", 10, 5, 4*time.Second)
	f.heard(20, 15, at(6))
	f.heard(30, 19, at(7))
	check("behind", 19, 8, 7*time.Second)
	check("caught up", 20, 9, 3*time.Second)
	f.heard(20, 20, at(10))
	check("at once", 20, 10, 0)
	f.heard(20, 20, at(9))
	check("an older one, overtaken", 20, 10, 0)
	f.heard(30, 20, at(12))
	f.heard(20, 20, at(11))
	check("an older one, and a newer that is not reached", 20, 13, 2*time.Second)
	check("the newer one is reached", 30, 72, time.Minute)
	f.heard(40, 30, at(80)) // of a leader that ends
	f.heard(30, 30, at(81)) // of its successor, which does not know of 40 yet
	check("a later one that knows of less", 30, 90, 78*time.Second)
	check("what the earlier one knew of is reached", 40, 90, 10*time.Second)
}

// TestNode_MaxStale shows that a bounded stale read is served while the leader is
// heard, and refused when it has been silent for longer; an unbounded one goes on.
func TestNode_MaxStale(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 3, nil)
	leader := leaderOf(t, nodes)
	follower := nodes[0]
	if follower == leader {
		follower = nodes[1]
	}
	mustPut(t, leader, "k", "v")
	get := func(n *Node, bound time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := n.Get(ctx, "k", kv.ReadOptions{Level: kv.Stale, MaxStale: bound})
		return err
	}
	for _, n := range nodes {
		if err := get(n, time.Second); err != nil {
			t.Errorf("%s: got %v", n.cfg.Name, err)
		}
	}
	r, err := follower.joined()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "an idle leader is heard", func() error {
		if age := r.age(); age > 100*time.Millisecond {
			return errors.New(age.String())
		}
		return nil
	})
	for _, n := range nodes {
		if n != follower {
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "the read is too stale", func() error {
		if err := get(follower, 200*time.Millisecond); !errors.Is(err, kv.ErrNoLeader) {
			return fmt.Errorf("got %v, want ErrNoLeader", err)
		}
		return nil
	})
	if err := get(follower, 0); err != nil {
		t.Errorf("without a bound: got %v", err)
	}
	var invalid *kv.ValidationError
	if _, err := follower.Get(t.Context(), "k", kv.ReadOptions{MaxStale: time.Second}); !errors.As(err, &invalid) {
		t.Errorf("a bound on a linearizable read: got %v", err)
	}
}

// slowDisk is a filesystem whose syncs take a while.
type slowDisk struct {
	wal.FS
	sync time.Duration
}

type slowFile struct {
	wal.File
	sync time.Duration
}

func (d slowDisk) Create(name string) (wal.File, error) { return d.slow(d.FS.Create(name)) }
func (d slowDisk) Open(name string) (wal.File, error)   { return d.slow(d.FS.Open(name)) }

func (d slowDisk) slow(f wal.File, err error) (wal.File, error) { return slowFile{f, d.sync}, err }

func (f slowFile) Sync() error {
	time.Sleep(f.sync)
	return f.File.Sync()
}

// TestNode_MaxStaleCatchingUp checks that a follower which gets the log piece by
// piece does not take a piece for all there is: its state is old until the last.
func TestNode_MaxStaleCatchingUp(t *testing.T) {
	t.Parallel()
	var configs []Config
	nodes := openCluster(t, 3, func(c *Config) { configs = append(configs, *c) })
	leader := leaderOf(t, nodes)
	i := slices.IndexFunc(nodes, func(n *Node) bool { return n != leader })
	if err := nodes[i].Close(); err != nil {
		t.Fatal(err)
	}
	const writes = 400
	for v := range writes {
		mustPut(t, leader, "k", fmt.Sprint(v))
	}
	time.Sleep(time.Second)
	configs[i].FS = slowDisk{wal.OS(), 50 * time.Millisecond}
	n := openMoved(t, configs[i])
	eventually(t, "the follower is current", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		got, err := n.Get(ctx, "k", kv.ReadOptions{Level: kv.Stale, MaxStale: 200 * time.Millisecond})
		if want := strconv.Itoa(writes - 1); err == nil && string(got.Item.Value) != want {
			t.Fatalf("a read at most 200ms stale has %q; it has been %q for a second", got.Item.Value, want)
		}
		return err
	})
}

// TestFreshness_SlowDisk holds an append up in a follower's disk: that long, what
// the follower knows has aged, however quickly the message came.
func TestFreshness_SlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBubble(t, 3, func(cfg *Config) { cfg.unhurried = false })
		leader, follower, _ := b.leaderAndOthers(t)
		const held = 3 * time.Second // less than a transport's patience
		release := b.disks[follower].hang()
		mustPut(t, leader, "k", "v")
		time.Sleep(held)
		release()
		synctest.Wait()
		// The heartbeat after the append says that it is committed, and waits with it.
		late := 2 * leader.cfg.Timing.Heartbeat / 10
		if age := mustJoined(t, follower).age(); age < held-late {
			t.Errorf("its state is %v old, it says; an append has waited for %v", age, held)
		}
	})
}
