package room_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/kv"
)

// limitsFor are the limits of a node with values of at most so many bytes.
func limitsFor(valueBytes int) room.Limits {
	l := limits
	l.ValueBytes = valueBytes
	return l
}

// TestPlanMemory shows that data and full budgets together leave the collector room,
// that small machines have small budgets and large ones the defaults, and that too
// little is refused with the number needed.
func TestPlanMemory(t *testing.T) {
	for _, megabytes := range []int64{64, 96, 128, 200, 512, 1024, 4096, 24 << 10, 1 << 20} {
		p, err := room.PlanMemory(megabytes<<20, "test", limits)
		if err != nil {
			t.Fatalf("%d MiB: %v", megabytes, err)
		}
		budgets := 16<<20 + p.Bodies + p.Proposals + p.LogCache + p.Peers // with what an empty node has live
		if p.Data < 1<<20 || p.Data+budgets > p.Heap*85/100 || p.Heap >= p.Limit {
			t.Errorf("%d MiB: got %+v, budgets of %d", megabytes, p, budgets)
		}
		if megabytes == 128 && budgets > p.Limit/3 {
			t.Errorf("%d MiB: budgets take %d", megabytes, budgets)
		}
		if megabytes >= 4096 && (p.Bodies != 256<<20 || p.Proposals != 256<<20 || p.LogCache != 16<<20 || p.AppendEntries != limits.AppendEntries) {
			t.Errorf("%d MiB: got %+v, want the defaults", megabytes, p)
		}
		if got := room.MemoryFor(p.Data, limits); got < p.Limit*9/10 || got > p.Limit*11/10 {
			t.Errorf("%d MiB: memory for its data is %d MiB", megabytes, got>>20)
		}
	}
	for value, limit := range map[int]int64{1 << 20: 64<<20 - 1, 16 << 20: 184 << 20, 64 << 20: 128 << 20} {
		_, err := room.PlanMemory(limit, "cgroup /x", limitsFor(value))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint(room.MinMemory(limitsFor(value)))) || !strings.Contains(err.Error(), "cgroup /x") {
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
		limit := room.MinMemory(limitsFor(c.value))
		if limit < c.least<<20 || limit > c.most<<20 {
			t.Errorf("values of %d bytes: %d MiB are needed, want %d to %d", c.value, limit>>20, c.least, c.most)
		}
		if _, err := room.PlanMemory(limit-1, "test", limitsFor(c.value)); err == nil || !strings.Contains(err.Error(), fmt.Sprint(limit)) {
			t.Errorf("values of %d bytes with a byte less: got %v, want an error with %d", c.value, err, limit)
		}
		plan, err := room.PlanMemory(limit, "test", limitsFor(c.value))
		if err != nil {
			t.Errorf("values of %d bytes with %d MiB: %v", c.value, limit>>20, err)
		}
		plan.Heap = 1 << 39 // what other tests have in use is no concern
		m := room.NewMemory(plan, 0, emptyState(), room.GoHeap{})
		put := encode(kv.Put(strings.Repeat("k", 1024), make([]byte, c.value)))
		if err := m.Admit(put); err != nil {
			t.Errorf("a value of %d bytes with %d MiB: %v", c.value, limit>>20, err)
		}
	}
}

// TestCheckLoad refuses a snapshot that is greater than the memory, with the number needed.
func TestCheckLoad(t *testing.T) {
	plan, err := room.PlanMemory(room.MinMemory(limits), "cgroup /x", limits)
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.CheckLoad(room.Data{Keys: 10, Bytes: plan.Data / 2}, limits); err != nil {
		t.Errorf("half of the room: %v", err)
	}
	large := room.Data{Keys: 10, Bytes: 1 << 30}
	err = plan.CheckLoad(large, limits)
	if err == nil || !strings.Contains(err.Error(), "cgroup /x") || !strings.Contains(err.Error(), fmt.Sprint(room.MemoryFor(large.Memory(), limits))) {
		t.Errorf("a gibibyte: got %v, want a refusal with the number needed", err)
	}
	if err := new(room.MemoryPlan).CheckLoad(large, limits); err != nil {
		t.Errorf("without a plan: %v", err)
	}
}
