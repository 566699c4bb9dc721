package room

import (
	"runtime"
	"runtime/metrics"
)

// Heap is what the model of the memory asks of the process: how much of it is in use,
// which only a collection of garbage finds out. Its methods may be called from any
// goroutine.
type Heap interface {
	// Live returns how many bytes the newest collection found in use, and the number of
	// collections so far.
	Live() (bytes int64, collections uint64)
	// Collect runs a collection, and returns when it has ended.
	Collect()
}

// GoHeap is the heap of this process.
type GoHeap struct{}

// Names of the runtime's figures.
const (
	liveMetric   = "/gc/heap/live:bytes"
	cyclesMetric = "/gc/cycles/total:gc-cycles"
)

// Live implements Heap.
func (GoHeap) Live() (bytes int64, collections uint64) {
	samples := []metrics.Sample{{Name: liveMetric}, {Name: cyclesMetric}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64()), samples[1].Value.Uint64()
}

// Collect implements Heap.
func (GoHeap) Collect() { runtime.GC() }
