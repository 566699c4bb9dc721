package replica

import (
	"context"
	"time"

	"github.com/kvorum/kvorum/cluster/room"
)

const (
	// memoryTick is the maximum time between two looks at how much memory is in use.
	memoryTick = time.Second
	// maxCollectPause is the maximum pause between two collections while too much is
	// live, unless one takes more than a tenth of that.
	maxCollectPause = 8 * time.Second
)

// watchMemory keeps the model of the memory up to date while there are no puts, and logs when
// puts begin or cease to be refused. While too much is live it asks for collections, at growing
// intervals.
func (r *Replica) watchMemory(ctx context.Context) {
	plan := r.cfg.Memory
	if plan.Limit == 0 {
		return
	}
	tick := time.NewTicker(memoryTick)
	defer tick.Stop()
	if used := r.memory.Data().Memory(); used > plan.Data {
		r.log.Warn("memory is too small for this node's data: puts are refused, deletes are taken", "data", used, "room", plan.Data,
			"limit", plan.Limit, "needs", room.MemoryFor(used, r.cfg.Limits), "source", plan.Source, "what to do", "docs/limits.md")
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
