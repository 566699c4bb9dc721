package clustertest

import (
	"sync/atomic"

	"github.com/kvorum/kvorum/cluster"
)

// SmallPlan is a plan with room for so many bytes of data, on a heap that is no concern.
func SmallPlan(data int64) cluster.MemoryPlan {
	return cluster.MemoryPlan{Limit: 1 << 40, Source: "test", Heap: 1 << 39, Data: data}
}

// SetHeap is a heap whose collections find as many live bytes as a test says.
type SetHeap struct {
	Found       atomic.Int64  // live bytes
	Collections atomic.Uint64 // the number of collections
}

// Live implements room.Heap.
func (h *SetHeap) Live() (bytes int64, collections uint64) {
	return h.Found.Load(), h.Collections.Load()
}

// Collect implements room.Heap.
func (h *SetHeap) Collect() { h.Collections.Add(1) }
