package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

// TestPlanMemory shows that data and full budgets together leave the collector room,
// that small machines have small budgets and large ones the defaults, and that too
// little is refused with the number needed.
func TestPlanMemory(t *testing.T) {
	for _, mib := range []int64{64, 96, 128, 200, 512, 1024, 4096, 24 << 10, 1 << 20} {
		p, err := PlanMemory(mib<<20, "test", 1<<20)
		if err != nil {
			t.Fatalf("%d MiB: %v", mib, err)
		}
		if p.Data < 1<<20 || p.Data+p.budgets() > p.Heap*livePercent/100 || p.Heap >= p.Limit {
			t.Errorf("%d MiB: got %+v, budgets of %d", mib, p, p.budgets())
		}
		if mib <= 128 && p.budgets() > p.Limit/3 && mib == 128 {
			t.Errorf("%d MiB: budgets take %d", mib, p.budgets())
		}
		if mib >= 4096 && (p.Bodies != 256<<20 || p.Proposals != 256<<20 || p.LogCache != 16<<20 || p.appendEntries != maxAppendEntries) {
			t.Errorf("%d MiB: got %+v, want the defaults", mib, p)
		}
		if got := memoryFor(p.Data, 1<<20); got < p.Limit*9/10 || got > p.Limit*11/10 {
			t.Errorf("%d MiB: memory for its data is %d MiB", mib, got>>20)
		}
	}
	for value, limit := range map[int]int64{1 << 20: 64<<20 - 1, 16 << 20: 184 << 20, 64 << 20: 128 << 20} {
		_, err := PlanMemory(limit, "cgroup /x", value)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint(MinMemory(value))) || !strings.Contains(err.Error(), "cgroup /x") {
			t.Errorf("%d bytes for values of %d: got %v", limit, value, err)
		}
	}
}

// TestMinMemory shows that a node takes a value of the largest size with the least
// memory that it starts with, and that it does not start with less.
func TestMinMemory(t *testing.T) {
	for _, c := range []struct {
		value       int
		least, most int64 // of the least memory, in MiB
	}{{1 << 10, 64, 64}, {1 << 20, 64, 64}, {16 << 20, 184, 256}, {64 << 20, 568, 1024}} {
		limit := MinMemory(c.value)
		if limit < c.least<<20 || limit > c.most<<20 {
			t.Errorf("values of %d bytes: %d MiB are needed, want %d to %d", c.value, limit>>20, c.least, c.most)
		}
		if _, err := PlanMemory(limit-1, "test", c.value); err == nil || !strings.Contains(err.Error(), fmt.Sprint(limit)) {
			t.Errorf("values of %d bytes with a byte less: got %v, want an error with %d", c.value, err, limit)
		}
		plan, err := PlanMemory(limit, "test", c.value)
		if err != nil {
			t.Errorf("values of %d bytes with %d MiB: %v", c.value, limit>>20, err)
		}
		plan.Heap = 1 << 39 // what other tests have in use is no concern
		g := newMemoryGuard(plan, 0, fsm.New(fsm.Config{}))
		put := encode(kv.Put(strings.Repeat("k", 1024), make([]byte, c.value)))
		if err := g.admit(put); err != nil {
			t.Errorf("a value of %d bytes with %d MiB: %v", c.value, limit>>20, err)
		}
	}
}

// smallPlan is a plan with room for so many bytes of data, on a heap that is no concern.
func smallPlan(data int64) MemoryPlan {
	return MemoryPlan{Limit: 1 << 40, Source: "test", Heap: 1 << 39, Data: data}
}

// TestTrial_F9_FollowerWithLessMemory shows that a leader refuses what a follower has no
// memory for, on every node, with figures; that deletes, reads and puts that make
// nothing longer continue; and that puts come back by themselves after deletes.
func TestTrial_F9_FollowerWithLessMemory(t *testing.T) {
	t.Parallel()
	const value = 1000
	made := 0
	nodes := openCluster(t, 3, func(c *Config) {
		c.Memory = smallPlan(1 << 30)
		if made == 1 {
			c.Memory = smallPlan(100_000)
		}
		made++
	})
	leader := leaderOf(t, nodes)
	if leader.cfg.Memory.Data < 1<<20 { // the one with little memory must follow
		if err := leader.TransferLeadership(t.Context()); err != nil {
			t.Fatal(err)
		}
		leader = leaderOf(t, nodes)
	}
	stored := 0
	var refused error
	put := func(n *Node, key string) error { // again where a busy machine lost its leader
		_, err := n.Do(t.Context(), kv.Put(key, bytes.Repeat([]byte{'v'}, value)))
		for errors.Is(err, kv.ErrUnknownOutcome) {
			_, err = n.Do(t.Context(), kv.Put(key, bytes.Repeat([]byte{'v'}, value)))
		}
		return err
	}
	for ; stored < 1000; stored++ {
		if refused = put(leader, fmt.Sprintf("k%d", stored)); refused != nil {
			break
		}
	}
	small := nodes[1].cfg.Name
	if !errors.Is(refused, kv.ErrMemoryFull) || !strings.Contains(refused.Error(), small) {
		t.Fatalf("after %d puts: got %v, want %v that names %s", stored, refused, kv.ErrMemoryFull, small)
	}
	if used := stateMemory(stored, int64(stored)*(value+3)); used > 100_000 || used < 90_000 {
		t.Errorf("%d puts, %d bytes, were taken", stored, used)
	}
	for _, n := range nodes {
		if err := put(n, "another"); !errors.Is(err, kv.ErrMemoryFull) {
			t.Errorf("put at %s: got %v, want %v", n.cfg.Name, err, kv.ErrMemoryFull)
		}
		if err := put(n, "k1"); err != nil {
			t.Errorf("a put of the same length at %s: %v", n.cfg.Name, err)
		}
		if _, err := n.Get(t.Context(), "k1", kv.ReadOptions{}); err != nil {
			t.Errorf("read at %s: %v", n.cfg.Name, err)
		}
	}
	if m := leader.Status().Memory; m == nil || m.DataLimit != 100_000 {
		t.Errorf("the leader's status: got %+v, want the follower's limit", m)
	}
	for i := range 3 {
		_, err := nodes[2].Do(t.Context(), kv.Delete(fmt.Sprintf("k%d", i)))
		if err != nil && !errors.Is(err, kv.ErrUnknownOutcome) {
			t.Fatal(err)
		}
	}
	if err := put(nodes[1], "again"); err != nil {
		t.Errorf("put after deletes: %v", err)
	}
	testkit.Outcome(t, "F9", "a leader refuses what a follower has no memory for: %d of 1,000 puts taken, back after 3 deletes", stored)
}

// TestMemory_LowVoterThatDies shows that a follower whose memory is nearly full holds
// puts up while it says so, and not once it is down.
func TestMemory_LowVoterThatDies(t *testing.T) {
	t.Parallel()
	made := 0
	nodes := openCluster(t, 3, func(c *Config) {
		c.Memory = smallPlan(1 << 30)
		if made == 1 {
			c.Memory.Heap = 1 << 10 // whatever is live is too much
			c.Memory.Data = 1 << 20
		}
		made++
	})
	leader, low := leaderOf(t, nodes), nodes[1]
	if leader == low {
		if err := leader.TransferLeadership(t.Context()); err != nil {
			t.Fatal(err)
		}
		leader = leaderOf(t, nodes)
	}
	put := func() error {
		_, err := leader.Do(t.Context(), kv.Put("k", []byte("v")))
		return err
	}
	eventually(t, "puts are refused because of the follower", func() error {
		if err := put(); !errors.Is(err, kv.ErrMemoryFull) || !strings.Contains(err.Error(), low.cfg.Name) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	if err := low.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "puts are taken once it is down", put)
	if m := leader.Status().Memory; m == nil || m.DataLimit != 1<<20 {
		t.Errorf("the leader's status: got %+v, want the limit of the node that is down", m)
	}
}

// silentFS is a filesystem that does not tell how much room it has.
type silentFS struct{ wal.FS }

// TestMemory_SilentDisks shows that a leader whose disk does not tell how much room it
// has learns all the same that a follower's memory has become full.
func TestMemory_SilentDisks(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 3, func(c *Config) { c.FS, c.Memory = silentFS{wal.OS()}, smallPlan(1<<30) })
	leader := leaderOf(t, nodes)
	put := func() error {
		_, err := leader.Do(t.Context(), kv.Put("k", []byte("v")))
		return err
	}
	eventually(t, "a put is taken", put)
	follower := nodes[0]
	if follower == leader {
		follower = nodes[1]
	}
	r, err := follower.joined()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "puts are refused because of the follower", func() error {
		r.memory.low.Store(true) // until the next collection
		if err := put(); !errors.Is(err, kv.ErrMemoryFull) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}

// TestMemoryGuard_NewTerm shows that a node that leads again does not refuse puts for
// what a voter said in an earlier term.
func TestMemoryGuard_NewTerm(t *testing.T) {
	g := newMemoryGuard(smallPlan(1<<30), 0, fsm.New(fsm.Config{}))
	put := encode(kv.Put("k", []byte("v")))
	g.heard("n2.x", &memoryRoom{Data: 1 << 20, Low: true})
	if err := g.admit(put); !errors.Is(err, kv.ErrMemoryFull) {
		t.Fatalf("with a voter whose memory is full: got %v", err)
	}
	if s := g.status(); !s.Full || !strings.Contains(s.Reason, "n2") {
		t.Errorf("status: got %+v, want that n2 is full", s)
	}
	g.forget()
	if s := g.status(); s.Full {
		t.Errorf("status in a new term: got %+v", s)
	}
	if err := g.admit(put); err != nil {
		t.Errorf("in a new term: %v", err)
	}
	if most, who := g.dataLimit(); most != 1<<20 || who != "n2" {
		t.Errorf("the least room for data: got %d of %s, want that of n2", most, who)
	}
}

// TestMemoryGuard_OldRefusal shows that the status of a node does not show a refusal
// for ever where nothing is put any more.
func TestMemoryGuard_OldRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newMemoryGuard(MemoryPlan{}, 1000, fsm.New(fsm.Config{}))
		if err := g.admit(encode(kv.Put("k", make([]byte, 1000)))); !errors.Is(err, kv.ErrDataLimit) {
			t.Fatalf("got %v, want %v", err, kv.ErrDataLimit)
		}
		if !g.status().Full {
			t.Error("a put was refused a moment ago, and the status does not say so")
		}
		time.Sleep(refusalShown)
		if s := g.status(); s.Full {
			t.Errorf("long after the refusal: got %+v", s)
		}
	})
}

// TestNode_MaxDataBytes shows the quota: exact, and with an error of its own.
func TestNode_MaxDataBytes(t *testing.T) {
	t.Parallel()
	n := openCluster(t, 1, func(c *Config) { c.MaxDataBytes = 1000 })[0]
	put := func(key string, size int) error {
		_, err := n.Do(t.Context(), kv.Put(key, bytes.Repeat([]byte{'v'}, size)))
		return err
	}
	if err := put("a", 600); err != nil {
		t.Fatal(err)
	}
	if err := put("b", 600); !errors.Is(err, kv.ErrDataLimit) {
		t.Errorf("got %v, want %v", err, kv.ErrDataLimit)
	}
	if err := put("b", 399); !errors.Is(err, kv.ErrDataLimit) { // 1,001 bytes with both keys
		t.Errorf("a byte too many: got %v, want %v", err, kv.ErrDataLimit)
	}
	for i := range 99 { // short ones: a key counts its own bytes alone
		if err := put(fmt.Sprintf("c%d", i%10), 37); err != nil {
			t.Fatalf("short put %d: %v", i, err)
		}
	}
	if err := put("b", 8); err != nil { // 601 + 390 + 9
		t.Errorf("the last bytes: %v", err)
	}
	if m := n.Status().Memory; m == nil || !m.Full || !strings.Contains(m.Reason, "1000 of 1000 bytes") {
		t.Errorf("status: got %+v, want that it is full", m)
	}
	if err := put("d", 0); !errors.Is(err, kv.ErrDataLimit) {
		t.Errorf("an empty value of a new key: got %v, want %v", err, kv.ErrDataLimit)
	}
	if err := put("a", 500); err != nil {
		t.Errorf("a shorter value: %v", err)
	}
	if m := n.Status().Memory; m == nil || m.Quota != 1000 {
		t.Errorf("status: got %+v", m)
	}
	if _, err := n.Do(t.Context(), kv.Delete("a")); err != nil {
		t.Fatal(err)
	}
	if err := put("b", 600); err != nil {
		t.Errorf("after a delete: %v", err)
	}
}

// TestMemoryGuard_Live shows that puts are refused while too much is live though the
// data is small, that a collection is asked for before, and that it comes back.
func TestMemoryGuard_Live(t *testing.T) {
	state := fsm.New(fsm.Config{})
	plan := smallPlan(1 << 40)
	g := newMemoryGuard(plan, 0, state)
	g.observe()
	put := encode(kv.Put("k", make([]byte, 1000)))
	if err := g.admit(put); err != nil {
		t.Fatalf("with room: %v", err)
	}
	g.plan.Heap = 1 << 10 // whatever is live is too much
	g.limit.Store(0)
	err := g.admit(put)
	if refusal := new(memoryRefusal); !errors.Is(err, kv.ErrMemoryFull) || !errors.As(err, &refusal) || !refusal.Grows(put) {
		t.Errorf("with too much live: got %v", err)
	}
	if err := g.admit(del("k")); err != nil {
		t.Errorf("a delete: %v", err)
	}
	if !g.told().Low {
		t.Error("the leader is not told")
	}
	g.plan.Heap = plan.Heap
	eventually(t, "puts are taken again", func() error {
		g.collected() // as watchMemory has it
		return g.admit(put)
	})

	g.heard("n2.x", &memoryRoom{Data: 1 << 40, Low: true})
	if err := g.admit(put); !errors.Is(err, kv.ErrMemoryFull) || !strings.Contains(err.Error(), "n2") {
		t.Errorf("with a voter whose memory is full: got %v", err)
	}
	g.keep([]raft.ServerID{"n3.x"})
	if err := g.admit(put); err != nil {
		t.Errorf("once that is no voter: %v", err)
	}
}

// TestMemoryGuard_CollectsAside shows that no put waits for a collection while too much
// is live, and that the pauses between those of the guard's own grow.
func TestMemoryGuard_CollectsAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := fsm.New(fsm.Config{})
		g := newMemoryGuard(smallPlan(1<<40), 0, state)
		collections := 0
		g.collect = func() { collections++ }
		g.plan.Heap = 1 << 10 // whatever is live is too much
		put := encode(kv.Put("k", make([]byte, 1000)))
		for range 20 {
			if err := g.admit(put); !errors.Is(err, kv.ErrMemoryFull) {
				t.Fatalf("with too much live: got %v", err)
			}
			time.Sleep(collectPause)
		}
		if collections > 1 {
			t.Errorf("20 puts in 10 s waited for %d collections, want one at most", collections)
		}
		collections = 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		(&replica{memory: g, fsm: state, log: slog.New(slog.DiscardHandler)}).watchMemory(ctx)
		if collections < 4 || collections > 12 {
			t.Errorf("%d collections in a minute, want 4 to 12", collections)
		}
	})
}

// TestNode_DataAboveMemory shows that a node whose snapshot does not fit into its memory
// is refused at start with the number needed, changes nothing, and starts with enough.
func TestNode_DataAboveMemory(t *testing.T) {
	t.Parallel()

	n := openCluster(t, 1, nil)[0]
	for i := range 30 {
		mustPut(t, n, fmt.Sprintf("k%d", i), strings.Repeat("v", 1<<20))
	}
	r, err := n.joined()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	data, err := r.storedSize(r.snaps.Newest())
	if err != nil {
		t.Fatal(err)
	}
	r.cfg.Memory = MemoryPlan{Limit: 40 << 20, Source: "test", Heap: 30 << 20}
	err = r.checkMemory(data)
	if err == nil || !strings.Contains(err.Error(), "30 keys") || !strings.Contains(err.Error(), fmt.Sprint(memoryFor(stateMemory(30, r.snaps.Newest().Size), r.cfg.MaxValueBytes))) {
		t.Errorf("got %v, want a refusal with the number needed", err)
	}
	r.cfg.Memory = MemoryPlan{Limit: 400 << 20, Source: "test", Heap: 300 << 20}
	if err := r.checkMemory(data); err != nil {
		t.Errorf("with enough memory: %v", err)
	}
}
