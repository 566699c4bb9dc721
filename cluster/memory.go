package cluster

import (
	"context"
	"time"

	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/cluster/room"
)

const (
	// memoryTick is how often a node looks how much of its memory is in use, at least.
	memoryTick = time.Second
	// maxCollectPause is the longest pause between two collections while too much is
	// live, unless one takes more than a tenth of that.
	maxCollectPause = 8 * time.Second
)

// MemoryPlan divides the memory that a process may take among the parts of a node.
// The zero value is no plan: the parts have their defaults, and nothing is refused
// because of memory.
type MemoryPlan = room.MemoryPlan

// PlanMemory divides limit, which source sets, for a node with values of at most
// maxValueBytes. Where that is too little, it fails with an error that names the least.
func PlanMemory(limit int64, source string, maxValueBytes int) (MemoryPlan, error) {
	return room.PlanMemory(limit, source, partLimits(maxValueBytes))
}

// partLimits returns the greatest sizes that the parts of a node may have.
func partLimits(maxValueBytes int) room.Limits {
	return room.Limits{
		ValueBytes: maxValueBytes, BatchBytes: propose.MaxBatchBytes, AppendEntries: maxAppendEntries, Connections: maxClientDescriptors,
	}
}

// watchMemory keeps the model of the memory true while nothing is put, and logs when it
// changes its mind. While too much is live it asks for collections, at growing intervals.
func (r *replica) watchMemory(ctx context.Context) {
	plan := r.cfg.Memory
	if plan.Limit == 0 {
		return
	}
	tick := time.NewTicker(memoryTick)
	defer tick.Stop()
	if used := r.memory.Data().Memory(); used > plan.Data {
		r.log.Warn("memory is too small for this node's data: puts are refused, deletes are taken", "data", used, "room", plan.Data,
			"limit", plan.Limit, "needs", room.MemoryFor(used, partLimits(r.cfg.MaxValueBytes)), "source", plan.Source, "what to do", "docs/limits.md")
	}
	wasLow, next, pause := false, time.Time{}, time.Duration(0)
	for {
		r.memory.Observe()
		switch now := time.Now(); {
		case !r.memory.Low():
			next, pause = time.Time{}, 0
		case !now.Before(next):
			r.memory.Collect()
			pause = min(max(2*pause, memoryTick), maxCollectPause)
			next = now.Add(max(pause, 10*time.Since(now)))
		}
		if low := r.memory.Low(); low != wasLow {
			wasLow = low
			figures := []any{"live", r.memory.Live(), "heap limit", plan.Heap, "data", r.memory.Data().Memory()}
			if low {
				r.log.Warn("memory is nearly full: puts are refused", append(figures, "what to do", "docs/limits.md")...)
			} else {
				r.log.Info("memory has room again", figures...)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
