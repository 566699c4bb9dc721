package cluster

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

const (
	// collectPause is the least time between two collections that a guard asks for.
	collectPause = 500 * time.Millisecond
	// maxCollectPause is the longest pause between two collections while too much is
	// live, unless one takes more than a tenth of that.
	maxCollectPause = 8 * time.Second
)

// memoryGuard says whether a put fits into memory before it enters the log. A node
// that takes too much is ended by the kernel, and comes back to the same data.
//
// Two things are bounded. The data, as the state machine counts it, must fit into the
// plan of each voter: that is exact, and the same whenever it is looked at. And what is
// live in this process must leave the collector room: views of lists and snapshots
// keep replaced values, which the data does not show. What is live is known after each
// collection; all that was admitted since is added to it.
//
//	Between two looks an admission costs one comparison with limit, which a look sets.
//
// admit is called by one goroutine at a time, all else by any.
type memoryGuard struct {
	plan  MemoryPlan
	quota int64 // of keys and values; 0 is none
	fsm   Machine

	admitted atomic.Int64             // bytes of puts that were admitted since the start
	limit    atomic.Int64             // up to where admitted may grow without a look
	live     atomic.Int64             // what the newest collection found
	low      atomic.Bool              // too much is live
	collect  func()                   // runs a collection
	coming   atomic.Pointer[dataSize] // of the state that the present one was let go of for; nil otherwise

	mu     sync.Mutex                    // guards the fields below
	cycles uint64                        // collections that were seen
	base   int64                         // what was admitted by the newest collection at least
	seen   int64                         // admitted at the look before
	asked  time.Time                     // when the guard asked for a collection last
	voters map[raft.ServerID]memoryRoom  // what the others said
	why    atomic.Pointer[memoryRefusal] // the newest refusal; nil if there is none
}

// memoryRoom is what a voter tells its leader of its memory.
type memoryRoom struct {
	Data int64 `json:"data"` // that it has room for, with keyMemory for each key
	Low  bool  `json:"low"`  // too much is live
}

// memoryRefusal is the error for a batch of which the puts that make data longer are
// refused.
type memoryRefusal struct {
	error
	grows func(wire.Requests) bool
	at    time.Time
}

// refusalShown is how long the status shows a refusal, unless there is another one.
const refusalShown = 10 * time.Second

func (e *memoryRefusal) Unwrap() error { return e.error }

// Grows says whether requests alone would be refused; package propose asks.
func (e *memoryRefusal) Grows(requests wire.Requests) bool { return e.grows(requests) }

func newMemoryGuard(plan MemoryPlan, quota int64, state Machine) *memoryGuard {
	return &memoryGuard{plan: plan, quota: quota, fsm: state, collect: runtime.GC, voters: make(map[raft.ServerID]memoryRoom)}
}

// admit returns a *memoryRefusal for requests that do not fit. The batch was not done.
func (g *memoryGuard) admit(requests wire.Requests) error {
	if g.plan.Limit == 0 && g.quota == 0 {
		return nil
	}
	n := stateMemory(requests.Puts, requests.PutBytes)
	if n == 0 || !g.low.Load() && g.admitted.Load()+n <= g.limit.Load() {
		g.admitted.Add(n)
		return nil
	}
	if err := g.look(n, requests); err != nil {
		g.why.Store(err)
		return err
	}
	g.why.Store(nil)
	g.admitted.Add(n)
	return nil
}

// look decides on requests whose puts have n bytes, and sets limit.
func (g *memoryGuard) look(n int64, requests wire.Requests) *memoryRefusal {
	if g.plan.Limit != 0 {
		if err := g.liveRoom(n); err != nil {
			return &memoryRefusal{err, wire.Requests.NeedRoom, time.Now()}
		}
	}
	left := int64(1) << 62
	for _, bound := range g.bounds(g.data()) {
		growth := g.fsm.Growth(requests, bound.perKey)
		if growth > 0 && growth > bound.room {
			return &memoryRefusal{fmt.Errorf("%w; this write needs %s more: delete keys, or raise the limit; see docs/limits.md", bound.full, inBytes(growth)), g.grows, time.Now()}
		}
		left = min(left, max(0, bound.room-max(0, growth)))
	}
	if g.plan.Limit != 0 {
		g.mu.Lock()
		left = min(left, g.highLocked()-g.admitted.Load()-n)
		g.mu.Unlock()
	}
	g.limit.Store(g.admitted.Load() + n + left)
	return nil
}

// dataBound is one limit of the data: the memory of the voters, or the quota.
type dataBound struct {
	room   int64 // bytes that the data may take more
	perKey int64 // what a key counts beside its own bytes and its value's
	full   error // for what does not fit
}

// bounds returns the limits of data with so many keys and bytes.
func (g *memoryGuard) bounds(keys int, size int64) (bounds []dataBound) {
	if g.plan.Limit != 0 {
		most, who := g.dataLimit()
		used := stateMemory(keys, size)
		bounds = append(bounds, dataBound{most - used, keyMemory, fmt.Errorf("%w: %d keys take %s of the %s that %s has for data",
			kv.ErrMemoryFull, keys, inBytes(used), inBytes(most), who)})
	}
	if g.quota != 0 {
		bounds = append(bounds, dataBound{g.quota - size, 0, fmt.Errorf("%w: %d keys have %d of %d bytes (--max-data-bytes)",
			kv.ErrDataLimit, keys, size, g.quota)})
	}
	return bounds
}

// dataLimit returns the least room for data that a voter has, and whose it is.
func (g *memoryGuard) dataLimit() (int64, string) {
	most, who := g.plan.Data, "this node"
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, room := range g.voters {
		if room.Data < most {
			most, who = room.Data, nameOf(id)
		}
	}
	return most, who
}

// grows says whether requests alone make the data longer.
func (g *memoryGuard) grows(r wire.Requests) bool { return g.fsm.Growth(r, keyMemory) > 0 }

// highLocked returns up to where admitted may grow before too much may be live.
func (g *memoryGuard) highLocked() int64 {
	return g.base + g.plan.Heap*livePercent/100 - g.live.Load()
}

// liveRoom returns an error where n bytes more may be too much to be live, here or on
// another voter. It asks for a collection where only that can tell, and never while too
// much is live: that would hold up deletes, and watchMemory does it then.
func (g *memoryGuard) liveRoom(n int64) error {
	if err := g.lowVoter(); err != nil {
		return err
	}
	if g.fits(n) || !g.low.Load() && g.collected() && g.fits(n) {
		return nil
	}
	g.low.Store(true)
	return fmt.Errorf("%w: %s are in use and %s may be: lists and snapshots keep replaced values until they end; see docs/limits.md",
		kv.ErrMemoryFull, inBytes(g.live.Load()), inBytes(g.plan.Heap*livePercent/100))
}

// lowVoter returns an error where another voter says that it has too much in use.
func (g *memoryGuard) lowVoter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(g.voters)) {
		if g.voters[id].Low {
			return fmt.Errorf("%w: %s has too much in use; see docs/limits.md", kv.ErrMemoryFull, nameOf(id))
		}
	}
	return nil
}

func (g *memoryGuard) fits(n int64) bool {
	g.observe()
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.low.Load() && g.admitted.Load()+n <= g.highLocked()
}

// Names of the runtime's figures.
const (
	liveMetric   = "/gc/heap/live:bytes"
	cyclesMetric = "/gc/cycles/total:gc-cycles"
)

// observe takes in what a collection since the last look has found, and ends low where
// enough is free again: five percent more than it takes to begin it.
func (g *memoryGuard) observe() {
	samples := []metrics.Sample{{Name: liveMetric}, {Name: cyclesMetric}}
	metrics.Read(samples)
	live, cycles := samples[0].Value.Uint64(), samples[1].Value.Uint64()
	g.mu.Lock()
	defer g.mu.Unlock()
	if cycles != g.cycles {
		g.cycles, g.base = cycles, g.seen
		g.live.Store(int64(live))
		g.low.Store(int64(live) > g.plan.Heap*livePercent/100 || g.low.Load() && int64(live) > g.plan.Heap*(livePercent-5)/100)
	}
	g.seen = g.admitted.Load()
}

// collected runs a collection unless there was one a moment ago, and reports whether
// it did.
func (g *memoryGuard) collected() bool {
	g.mu.Lock()
	if time.Since(g.asked) < collectPause {
		g.mu.Unlock()
		return false
	}
	g.asked = time.Now()
	g.seen = g.admitted.Load()
	g.mu.Unlock()
	g.collect()
	g.observe()
	return true
}

// heard takes in what a voter says of its memory, nil for one that says nothing.
func (g *memoryGuard) heard(id raft.ServerID, room *memoryRoom) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.voters, id)
	if room != nil {
		g.voters[id] = *room
	}
	g.limit.Store(0) // the next put looks
}

// silent takes in that a voter does not answer. Its plan stays what it was, but nothing
// is known of what it has in use: one that is down must not hold up puts.
func (g *memoryGuard) silent(id raft.ServerID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if room, told := g.voters[id]; told && room.Low {
		g.voters[id] = memoryRoom{Data: room.Data}
		g.limit.Store(0) // the next put looks
		g.why.Store(nil)
	}
}

// forget forgets which voters had too much in use: an earlier term's word is of no use.
func (g *memoryGuard) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, room := range g.voters {
		g.voters[id] = memoryRoom{Data: room.Data}
	}
	g.limit.Store(0) // the next put looks
	g.why.Store(nil)
}

// keep forgets what others said than these.
func (g *memoryGuard) keep(ids []raft.ServerID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.voters, func(id raft.ServerID, _ memoryRoom) bool { return !slices.Contains(ids, id) })
}

// told returns what this node tells its leader, nil without a plan.
func (g *memoryGuard) told() *memoryRoom {
	if g.plan.Limit == 0 {
		return nil
	}
	return &memoryRoom{Data: g.plan.Data, Low: g.low.Load()}
}

// data returns how many keys there are, and how many bytes they have with their
// values. While the present state is let go of for another, it is the other's figures.
func (g *memoryGuard) data() (keys int, size int64) {
	if coming := g.coming.Load(); coming != nil {
		return coming.keys, coming.size
	}
	return g.fsm.Len(), g.fsm.Size()
}

// dataSize is how much a state holds.
type dataSize struct {
	keys int
	size int64 // bytes of keys and values
}

// secondStateFits says whether a state of so many bytes fits beside the present one.
func (g *memoryGuard) secondStateFits(keys int, size int64) bool {
	used := stateMemory(g.data())
	return g.plan.Limit == 0 || used+stateMemory(keys, size)+memoryBase+g.plan.LogCache+g.plan.Peers <= g.plan.Heap*livePercent/100
}

// watchMemory keeps the guard true while nothing is put, and logs when it changes its
// mind. While too much is live it asks for collections, at growing intervals.
func (r *replica) watchMemory(ctx context.Context) {
	g := r.memory
	if g.plan.Limit == 0 {
		return
	}
	tick := time.NewTicker(memoryTick)
	defer tick.Stop()
	if used := stateMemory(g.data()); used > g.plan.Data {
		r.log.Warn("memory is too small for this node's data: puts are refused, deletes are taken", "data", used, "room", g.plan.Data,
			"limit", g.plan.Limit, "needs", memoryFor(used, r.cfg.MaxValueBytes), "source", g.plan.Source, "what to do", "docs/limits.md")
	}
	wasLow, next, pause := false, time.Time{}, time.Duration(0)
	for {
		g.observe()
		switch now := time.Now(); {
		case !g.low.Load():
			next, pause = time.Time{}, 0
		case !now.Before(next):
			g.collected()
			pause = min(max(2*pause, memoryTick), maxCollectPause)
			next = now.Add(max(pause, 10*time.Since(now)))
		}
		if low := g.low.Load(); low != wasLow {
			wasLow = low
			figures := []any{"live", g.live.Load(), "heap limit", g.plan.Heap, "data", stateMemory(g.data())}
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

// status describes the memory, nil where there is neither a plan nor a quota.
func (g *memoryGuard) status() *kv.MemoryStatus {
	p := g.plan
	if p.Limit == 0 && g.quota == 0 {
		return nil
	}
	keys, size := g.data()
	s := &kv.MemoryStatus{
		Limit: p.Limit, Source: p.Source, HeapLimit: p.Heap, HeapLive: g.live.Load(),
		Data: stateMemory(keys, size), Quota: g.quota, Full: g.low.Load(),
		Bodies: p.Bodies, Proposals: p.Proposals, LogCache: p.LogCache, Peers: p.Peers, Connections: p.Connections,
		SecondState: g.secondStateFits(keys, size),
	}
	s.DataLimit, _ = g.dataLimit()
	for _, bound := range g.bounds(keys, size) {
		if bound.room <= 0 {
			s.Full, s.Reason = true, bound.full.Error()
		}
	}
	if why := g.why.Load(); why != nil && time.Since(why.at) < refusalShown {
		s.Full, s.Reason = true, why.Error()
	}
	return s
}
