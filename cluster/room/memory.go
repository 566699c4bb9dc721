package room

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

const (
	// collectPause is the minimum time between two collections that a Memory asks for.
	collectPause = 500 * time.Millisecond
	// refusalShown is how long Memory.Status shows a refusal, unless there is another one.
	refusalShown = 10 * time.Second
)

// State is the part of the state machine that the model of the memory needs. Its methods may
// be called from any goroutine.
type State interface {
	// Len and Size return the number of keys, and of the bytes that they have with their values
	// and attributes.
	Len() int
	Size() int64
	// HistoryBytes returns the memory of superseded versions, and whether all that can be
	// given back was.
	HistoryBytes() (bytes int64, settled bool)
	// AnswerBytes returns about the memory of the answers that are kept for idempotency keys, and
	// of the leases.
	AnswerBytes() int64
	// Growth returns the maximum number of bytes by which requests make the data longer. A
	// key counts perKey bytes in addition to its own and its value's.
	Growth(requests wire.Requests, perKey int64) int64
	// Rewritten returns the maximum number of bytes that appends in requests write again.
	Rewritten(requests wire.Requests) int64
}

// Memory decides whether a put fits into memory, before it enters the log. The kernel ends a
// process that takes too much, and after a restart the same data would take as much again. The
// package comment states the two limits.
//
// Between two looks at the memory, an admission takes one comparison with limit, which a look
// sets. Admit is called by one goroutine at a time, all other methods by any.
type Memory struct {
	plan  MemoryPlan
	quota int64 // of keys and values; 0 is none
	state State
	heap  Heap

	admitted atomic.Int64         // bytes of puts that were admitted since the start
	limit    atomic.Int64         // the maximum of admitted without another look
	live     atomic.Int64         // bytes that the newest collection found in use
	low      atomic.Bool          // too much is live
	coming   atomic.Pointer[Data] // of the state that replaces the present one, which was dropped; nil otherwise

	mu     sync.Mutex                   // guards the fields below
	cycles uint64                       // number of collections that were seen
	base   int64                        // the minimum of admitted at the newest collection
	seen   int64                        // admitted at the previous look
	asked  time.Time                    // of the last request for a collection
	voters map[raft.ServerID]MemoryRoom // the reports of the others

	why atomic.Pointer[Refusal] // the newest refusal; nil if there is none
}

// MemoryRoom is a voter's report of its memory.
type MemoryRoom struct {
	Data int64 `json:"data"` // bytes of data that it has room for, as Data.Memory counts them
	Low  bool  `json:"low"`  // too much is live
}

// Refusal is the error for a batch whose puts that make data longer are refused.
// It wraps kv.ErrMemoryFull or kv.ErrDataLimit.
type Refusal struct {
	err   error
	grows func(wire.Requests) bool
	at    time.Time
}

// Error implements error.
func (e *Refusal) Error() string { return e.err.Error() }

// Unwrap returns the error with its class.
func (e *Refusal) Unwrap() error { return e.err }

// Grows says whether requests alone would be refused. The others of the batch may be sent
// again without them.
func (e *Refusal) Grows(requests wire.Requests) bool { return e.grows(requests) }

// NewMemory returns the model for a node with that plan and a quota of bytes for keys and
// values. A plan whose limit is 0 is no plan, and a quota of 0 is no quota.
func NewMemory(plan MemoryPlan, quota int64, state State, heap Heap) *Memory {
	return &Memory{plan: plan, quota: quota, state: state, heap: heap, voters: make(map[raft.ServerID]MemoryRoom)}
}

// Low says whether puts are refused because too much is live in this process.
func (m *Memory) Low() bool { return m.low.Load() }

// Short says whether puts are refused because too much is live, in this process or in that of
// another voter.
func (m *Memory) Short() bool { return m.Low() || m.lowVoter() != nil }

// DataLimit returns the minimum of the voters' room for data, 0 if none of them has a plan.
func (m *Memory) DataLimit() int64 {
	most, _ := m.dataLimit()
	return most
}

// Live returns the number of bytes in use after the newest observed collection.
func (m *Memory) Live() int64 { return m.live.Load() }

// Admit returns a *Refusal for requests that do not fit. The batch was not done.
func (m *Memory) Admit(requests wire.Requests) error {
	if m.plan.Limit == 0 && m.quota == 0 {
		return nil
	}
	n := Data{Keys: requests.Puts, Bytes: requests.PutBytes}.Memory()
	if n == 0 || !m.low.Load() && m.admitted.Load()+n <= m.limit.Load() {
		m.admitted.Add(n)
		return nil
	}
	if err := m.look(n, requests); err != nil {
		m.why.Store(err)
		return err
	}
	m.why.Store(nil)
	m.admitted.Add(n)
	return nil
}

// look decides on requests whose puts have n bytes, and sets limit.
func (m *Memory) look(n int64, requests wire.Requests) *Refusal {
	if m.plan.Limit != 0 {
		if err := m.liveRoom(n, requests.Count); err != nil {
			return &Refusal{err, wire.Requests.NeedRoom, time.Now()}
		}
	}
	left := int64(1) << 62
	for _, bound := range m.bounds(m.Data()) {
		growth := m.state.Growth(requests, bound.perKey)
		if growth > 0 && growth > bound.room {
			return &Refusal{fmt.Errorf("%w; this write needs %s more: delete keys, or raise the limit; see docs/limits.md", bound.full, InBytes(growth)), m.grows, time.Now()}
		}
		left = min(left, max(0, bound.room-max(0, growth)))
	}
	if m.plan.Limit != 0 {
		m.mu.Lock()
		left = min(left, m.highLocked()-m.admitted.Load()-n)
		m.mu.Unlock()
	}
	m.limit.Store(m.admitted.Load() + n + left)
	return nil
}

// dataBound is one limit of the data: the memory of the voters, or the quota.
type dataBound struct {
	room   int64 // number of bytes by which the data may grow
	perKey int64 // number of bytes that a key counts in addition to its own and its value's
	full   error // of a put that does not fit
}

// bounds returns the limits of data.
func (m *Memory) bounds(data Data) (bounds []dataBound) {
	if m.plan.Limit != 0 {
		most, whose := m.dataLimit()
		used := data.Memory()
		bounds = append(bounds, dataBound{most - used, keyMemory, fmt.Errorf("%w: %d keys take %s of the %s that %s has for data",
			kv.ErrMemoryFull, data.Keys, InBytes(used), InBytes(most), whose)})
	}
	if m.quota != 0 {
		bounds = append(bounds, dataBound{m.quota - data.Bytes, 0, fmt.Errorf("%w: %d keys have %d of %d bytes (--max-data-bytes)",
			kv.ErrDataLimit, data.Keys, data.Bytes, m.quota)})
	}
	return bounds
}

// dataLimit returns the minimum of the voters' room for data, and the name of that voter. A
// node without a plan has no such limit of its own.
func (m *Memory) dataLimit() (most int64, whose string) {
	most, whose = m.plan.Data, "this node"
	known := m.plan.Limit != 0
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, room := range m.voters {
		if !known || room.Data < most {
			most, whose, known = room.Data, nodeid.NameOf(id), true
		}
	}
	return most, whose
}

// grows says whether requests alone make the data longer.
func (m *Memory) grows(r wire.Requests) bool { return m.state.Growth(r, keyMemory) > 0 }

// highLocked returns the value of admitted above which too much may be live.
func (m *Memory) highLocked() int64 { return m.base + m.plan.maxLive() - m.live.Load() }

// liveRoom returns an error if with n bytes more, of count requests, too much may be live, here or on
// another voter. It asks for a collection if nothing else can decide, but never while too
// much is live, because that would delay deletes. Then others call Collect.
func (m *Memory) liveRoom(n int64, count int) error {
	if err := m.lowVoter(); err != nil {
		return err
	}
	if m.fits(n) || !m.low.Load() && m.Collect() && m.fits(n) {
		return nil
	}
	if n <= leastEnough || count > 1 { // not only a large write is refused
		m.low.Store(true)
	}
	return fmt.Errorf("%w: %s are in use, %s may be, and a batch of %d takes %s: lists and snapshots keep replaced values until they end; see docs/limits.md",
		kv.ErrMemoryFull, InBytes(m.live.Load()), InBytes(m.plan.maxLive()), count, InBytes(n))
}

// lowVoter returns an error if another voter has reported that it has too much in use.
func (m *Memory) lowVoter() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(m.voters)) {
		if m.voters[id].Low {
			return fmt.Errorf("%w: %s has too much in use; see docs/limits.md", kv.ErrMemoryFull, nodeid.NameOf(id))
		}
	}
	return nil
}

// fits says whether n bytes more may be live. It asks for no collection.
func (m *Memory) fits(n int64) bool {
	m.Observe()
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.low.Load() && m.admitted.Load()+n <= m.highLocked()
}

// Observe takes in the result of a collection since the last look. It ends Low if enough is
// free again: five percent more than where Low begins.
func (m *Memory) Observe() {
	live, cycles := m.heap.Live()
	m.mu.Lock()
	defer m.mu.Unlock()
	if cycles != m.cycles {
		m.cycles, m.base = cycles, m.seen
		m.live.Store(live)
		m.low.Store(live > m.plan.maxLive() || m.low.Load() && live > m.plan.Heap*(livePercent-5)/100)
	}
	m.seen = m.admitted.Load()
}

// Collect runs a collection and observes it, unless it did so less than half a second
// ago. It reports whether it did.
func (m *Memory) Collect() bool {
	m.mu.Lock()
	if time.Since(m.asked) < collectPause {
		m.mu.Unlock()
		return false
	}
	m.asked = time.Now()
	m.seen = m.admitted.Load()
	m.mu.Unlock()
	m.heap.Collect()
	m.Observe()
	return true
}

// Heard takes in a voter's report of its memory, nil if the voter has none.
func (m *Memory) Heard(id raft.ServerID, room *MemoryRoom) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.voters, id)
	if room != nil {
		m.voters[id] = *room
	}
	m.limit.Store(0) // the next put looks
}

// Silent takes in that a voter does not answer. Its plan stays the same, but nothing
// is known of its memory in use: a voter that is down must not block puts.
func (m *Memory) Silent(id raft.ServerID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if room, told := m.voters[id]; told && room.Low {
		m.voters[id] = MemoryRoom{Data: room.Data}
		m.limit.Store(0) // the next put looks
		m.why.Store(nil)
	}
}

// Forget forgets which voters had too much in use. It is called when a term begins: reports
// from an earlier term are of no use.
func (m *Memory) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, room := range m.voters {
		m.voters[id] = MemoryRoom{Data: room.Data}
	}
	m.limit.Store(0) // the next put looks
	m.why.Store(nil)
}

// Keep forgets the reports of all but these voters.
func (m *Memory) Keep(ids []raft.ServerID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.voters, func(id raft.ServerID, _ MemoryRoom) bool { return !slices.Contains(ids, id) })
}

// Report returns this node's report for its leader, nil without a plan.
func (m *Memory) Report() *MemoryRoom {
	if m.plan.Limit == 0 {
		return nil
	}
	return &MemoryRoom{Data: m.plan.Data, Low: m.low.Load()}
}

// Data returns the size of the state. Between Replace and Replaced it is the size of the
// coming state.
func (m *Memory) Data() Data {
	if coming := m.coming.Load(); coming != nil {
		return *coming
	}
	history, _ := m.state.HistoryBytes()
	return Data{m.state.Len(), m.state.Size(), history, m.state.AnswerBytes()}
}

// Replace takes in that the present state is dropped for one of that size. Replaced takes in
// that the new state is complete.
func (m *Memory) Replace(data Data) { m.coming.Store(&data) }

// Replaced takes in that the state of the last Replace is complete.
func (m *Memory) Replaced() { m.coming.Store(nil) }

// SecondStateFits says whether a state of that size fits beside the present one, both with
// their history: it does not give way while a snapshot is loaded.
func (m *Memory) SecondStateFits(data Data) bool {
	return m.plan.Limit == 0 ||
		m.Data().Total()+data.Total()+memoryBase+m.plan.LogCache+m.plan.Peers <= m.plan.maxLive()
}

// Status describes the memory; nil if there is neither a plan nor a quota.
func (m *Memory) Status() *kv.MemoryStatus {
	p := m.plan
	if p.Limit == 0 && m.quota == 0 {
		return nil
	}
	data := m.Data()
	s := &kv.MemoryStatus{
		Limit: p.Limit, Source: p.Source, HeapLimit: p.Heap, HeapLive: m.live.Load(),
		Data: data.Memory(), Quota: m.quota, Full: m.low.Load(),
		Bodies: p.Bodies, Proposals: p.Proposals, LogCache: p.LogCache, Peers: p.Peers, Connections: p.Connections,
		SecondState: m.SecondStateFits(data),
	}
	s.DataLimit, _ = m.dataLimit()
	for _, bound := range m.bounds(data) {
		if bound.room <= 0 {
			s.Full, s.Reason = true, bound.full.Error()
		}
	}
	if why := m.why.Load(); why != nil && time.Since(why.at) < refusalShown {
		s.Full, s.Reason = true, why.Error()
	}
	return s
}
