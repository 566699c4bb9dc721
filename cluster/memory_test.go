package cluster_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

// TestTrial_F9_FollowerWithLessMemory shows that a leader refuses what a follower has no
// memory for, on every node, with figures; that deletes, reads and puts that make
// nothing longer continue; and that puts come back by themselves after deletes.
func TestTrial_F9_FollowerWithLessMemory(t *testing.T) {
	t.Parallel()
	const value = 1000
	made := 0
	nodes := clustertest.Open(t, 3, func(c *cluster.Config) {
		c.Memory = clustertest.SmallPlan(1 << 30)
		if made == 1 {
			c.Memory = clustertest.SmallPlan(100_000)
		}
		made++
	})
	leader := clustertest.Leader(t, nodes)
	if leader.Config.Memory.Data < 1<<20 { // the one with little memory must follow
		if err := leader.TransferLeadership(t.Context()); err != nil {
			t.Fatal(err)
		}
		leader = clustertest.Leader(t, nodes)
	}
	stored := 0
	var refused error
	put := func(n *clustertest.Node, key string) error { // again where a busy machine lost its leader
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
	small := nodes[1].Config.Name
	if !errors.Is(refused, kv.ErrMemoryFull) || !strings.Contains(refused.Error(), small) {
		t.Fatalf("after %d puts: got %v, want %v that names %s", stored, refused, kv.ErrMemoryFull, small)
	}
	if used := (room.Data{Keys: stored, Bytes: int64(stored) * (value + 3)}).Memory(); used > 100_000 || used < 90_000 {
		t.Errorf("%d puts, %d bytes, were taken", stored, used)
	}
	for _, n := range nodes {
		if err := put(n, "another"); !errors.Is(err, kv.ErrMemoryFull) {
			t.Errorf("put at %s: got %v, want %v", n.Config.Name, err, kv.ErrMemoryFull)
		}
		if err := put(n, "k1"); err != nil {
			t.Errorf("a put of the same length at %s: %v", n.Config.Name, err)
		}
		if _, err := n.Get(t.Context(), "k1", kv.ReadOptions{}); err != nil {
			t.Errorf("read at %s: %v", n.Config.Name, err)
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

// TestMemory_AppendCountsWholeValue shows that an append is admitted with the whole value that
// it writes: the memory is looked at before appends have written more than may be live.
func TestMemory_AppendCountsWholeValue(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		heap := new(clustertest.SetHeap)
		n := clustertest.OpenBubble(t, 1, func(c *cluster.Config) {
			c.Memory, c.Seams.Heap = clustertest.SmallPlan(1<<30), heap
			c.Memory.Heap = 10 << 20
		}).Nodes[0]
		clustertest.MustPut(t, n, "k", string(make([]byte, 1<<20-100)))
		before := heap.Collections.Load()
		for range 20 {
			time.Sleep(time.Second)
			_, err := n.Do(t.Context(), kv.Request{Then: []kv.Op{{Kind: kv.OpAppend, Key: "k", Value: []byte("v"), MaxBytes: 1 << 20}}})
			if err != nil {
				t.Fatal(err)
			}
		}
		if heap.Collections.Load() == before {
			t.Error("20 MiB were written without a collection, and 8.5 may be live")
		}
	})
}

// TestMemory_LowVoterThatDies shows that a follower whose memory is nearly full holds
// puts up while it says so, and not once it is down.
func TestMemory_LowVoterThatDies(t *testing.T) {
	t.Parallel()
	made := 0
	nodes := clustertest.Open(t, 3, func(c *cluster.Config) {
		c.Memory = clustertest.SmallPlan(1 << 30)
		if made == 1 {
			c.Memory.Heap = 1 << 10 // whatever is live is too much
			c.Memory.Data = 1 << 20
		}
		made++
	})
	leader, low := clustertest.Leader(t, nodes), nodes[1]
	if leader == low {
		if err := leader.TransferLeadership(t.Context()); err != nil {
			t.Fatal(err)
		}
		leader = clustertest.Leader(t, nodes)
	}
	put := func() error {
		_, err := leader.Do(t.Context(), kv.Put("k", []byte("v")))
		return err
	}
	clustertest.Eventually(t, "puts are refused because of the follower", func() error {
		if err := put(); !errors.Is(err, kv.ErrMemoryFull) || !strings.Contains(err.Error(), low.Config.Name) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	if err := low.Close(); err != nil {
		t.Fatal(err)
	}
	clustertest.Eventually(t, "puts are taken once it is down", put)
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
	heaps := make(map[string]*clustertest.SetHeap)
	nodes := clustertest.Open(t, 3, func(c *cluster.Config) {
		heaps[c.Name] = new(clustertest.SetHeap)
		c.FS, c.Memory, c.Seams.Heap = silentFS{wal.OS()}, clustertest.SmallPlan(1<<30), heaps[c.Name]
	})
	leader := clustertest.Leader(t, nodes)
	put := func() error {
		_, err := leader.Do(t.Context(), kv.Put("k", []byte("v")))
		return err
	}
	clustertest.Eventually(t, "a put is taken", put)
	follower := nodes[0]
	if follower == leader {
		follower = nodes[1]
	}
	heaps[follower.Config.Name].Found.Store(1 << 39)
	heaps[follower.Config.Name].Collect()
	clustertest.Eventually(t, "puts are refused because of the follower", func() error {
		if err := put(); !errors.Is(err, kv.ErrMemoryFull) || !strings.Contains(err.Error(), follower.Config.Name) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}

// TestPlanMemory_Defaults shows that a node on a large machine has the limits of its parts
// that it has without a plan.
func TestPlanMemory_Defaults(t *testing.T) {
	plan, err := cluster.PlanMemory(24<<30, "test", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if plan.AppendEntries != replica.MaxAppendEntries || plan.Connections != maxClients {
		t.Errorf("got %+v", plan)
	}
	if _, err := cluster.PlanMemory(184<<20, "test", 64<<20); err == nil || !strings.Contains(err.Error(), "67108864 bytes") {
		t.Errorf("values of 64 MiB in 184 MiB: got %v", err)
	}
}

// TestNode_MaxDataBytes shows the quota: exact, and with an error of its own.
func TestNode_MaxDataBytes(t *testing.T) {
	t.Parallel()
	n := clustertest.Open(t, 1, func(c *cluster.Config) { c.MaxDataBytes = 1000 })[0]
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

// TestNode_DataAboveMemory shows that a node whose snapshot does not fit into its memory
// is refused at start with the number needed, changes nothing, and starts with enough.
func TestNode_DataAboveMemory(t *testing.T) {
	t.Parallel()

	n := clustertest.Open(t, 1, nil)[0]
	for i := range 30 {
		clustertest.MustPut(t, n, fmt.Sprintf("k%d", i), strings.Repeat("v", 1<<20))
	}
	if err := n.Raft().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	least := room.MemoryFor(room.Data{Keys: 30, Bytes: n.Stores().Snapshots.Newest().Size}.Memory(), room.Limits{
		ValueBytes: cluster.DefaultMaxValueBytes, BatchBytes: propose.MaxBatchBytes, AppendEntries: replica.MaxAppendEntries, Connections: maxClients,
	})
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n.Config.Memory = cluster.MemoryPlan{Limit: 40 << 20, Source: "test", Heap: 30 << 20}
	_, err := clustertest.Try(t.Context(), clustertest.Listening(t, n.Config, n.Config.AdvertisePeer))
	if err == nil || !strings.Contains(err.Error(), "30 keys") || !strings.Contains(err.Error(), fmt.Sprint(least)) {
		t.Errorf("got %v, want a refusal with the number needed", err)
	}
	n.Config.Memory = cluster.MemoryPlan{Limit: 400 << 20, Source: "test", Heap: 300 << 20}
	n = clustertest.Reopen(t, n)
	clustertest.Eventually(t, "the node is ready with enough memory", n.Ready)
	if keys := n.Stats().Keys; keys != 30 {
		t.Errorf("it has %d keys", keys)
	}
}
