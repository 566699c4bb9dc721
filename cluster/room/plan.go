package room

import "fmt"

// Parts of a MemoryPlan that do not depend on the limit, in bytes.
const (
	// memoryBase is what a node without data has live: connections to peers, gossip,
	// metrics, buffers of files.
	memoryBase = 16 << 20
	// leastMemory is the least limit that any node runs with.
	leastMemory = 64 << 20
	// leastData is the least room for data that a plan has beside one value of the
	// largest size.
	leastData = 8 << 20
	// connectionMemory is the maximum of an HTTP connection: buffers and a stack.
	connectionMemory = 64 << 10
)

// Shares of the memory that Go may use, in percent.
const (
	// dataPercent is the maximum of data and full budgets together.
	dataPercent = 80
	// livePercent is the maximum of what is live. The collector needs the rest to keep up.
	livePercent = 85
	// loadPercent is the maximum of a state that is loaded at start.
	loadPercent = 95
)

// Limits are the greatest sizes that the parts of a node may have, however much memory
// there is.
type Limits struct {
	ValueBytes    int // of a value
	BatchBytes    int // of a batch of several requests
	AppendEntries int // log entries of one message
	Connections   int // HTTP connections
}

// MemoryPlan divides the memory that a process may take among the parts of a node.
// The zero value is no plan: the parts have their defaults, and nothing is refused
// because of memory.
type MemoryPlan struct {
	Limit  int64  // bytes that the process may take
	Source string // what sets it

	System        int64 // outside of Go's memory: code, page tables, files' pages, sockets
	Heap          int64 // Limit without System: Go's memory limit
	Bodies        int64 // bodies of HTTP requests in flight
	Proposals     int64 // writes that wait or are under way
	LogCache      int64 // newest records of the log
	Peers         int64 // messages with log entries, sent and received
	Connections   int   // HTTP connections that may be open
	AppendEntries int   // log entries of one message
	Data          int64 // data as Data.Memory counts it
}

// MinMemory returns the least limit that a node with these limits can run with, in
// whole MiB: its plan has room for one value of the largest size, and a little more.
func MinMemory(limits Limits) int64 {
	limit := int64(leastMemory)
	for divideMemory(limit, limits).Data < int64(limits.ValueBytes)+leastData {
		limit += 1 << 20
	}
	return limit
}

// PlanMemory divides limit, which source sets. It fails below MinMemory, with an error
// that names that number.
func PlanMemory(limit int64, source string, limits Limits) (MemoryPlan, error) {
	if least := MinMemory(limits); limit < least {
		return MemoryPlan{}, fmt.Errorf("%d bytes of memory may be taken (%s), and a node with values of up to %d bytes needs %d: raise that limit, or lower --max-value-bytes",
			limit, source, limits.ValueBytes, least)
	}
	p := divideMemory(limit, limits)
	p.Source = source
	return p, nil
}

// divideMemory returns the plan for a limit. Data is negative where that is too small.
func divideMemory(limit int64, limits Limits) MemoryPlan {
	entry := int64(max(limits.ValueBytes, limits.BatchBytes))
	p := MemoryPlan{
		Limit:         limit,
		System:        min(max(limit/6, 16<<20), 512<<20),
		Bodies:        min(max(limit/16, 2*entry), max(256<<20, 2*entry)),
		Proposals:     min(max(limit/16, 2*entry), max(256<<20, 2*entry)),
		LogCache:      min(max(limit/64, 1<<20), 16<<20),
		Connections:   int(min(limit/8/connectionMemory, int64(limits.Connections))),
		AppendEntries: int(min(max(limit/64/entry, 1), int64(limits.AppendEntries))),
	}
	p.Peers = 3 * int64(p.AppendEntries) * entry
	p.Heap = limit - p.System
	p.Data = p.Heap*dataPercent/100 - p.budgets()
	return p
}

// budgets returns how many bytes are live beside the data when all that is in flight is
// at its limit.
func (p *MemoryPlan) budgets() int64 {
	return memoryBase + p.Bodies + p.Proposals + p.LogCache + p.Peers
}

// maxLive returns how many bytes may be live.
func (p *MemoryPlan) maxLive() int64 { return p.Heap * livePercent / 100 }

// MemoryFor returns about the least limit whose plan has room for so many bytes of data,
// as Data.Memory counts them.
func MemoryFor(data int64, limits Limits) int64 {
	for limit := MinMemory(limits); ; limit += limit / 16 {
		if p, err := PlanMemory(limit, "", limits); err == nil && p.Data >= data {
			return (limit + 1<<20 - 1) >> 20 << 20
		}
	}
}

// CheckLoad fails where a snapshot that has data can't be loaded when a node starts, with
// an error that names how much memory is needed: the kernel would end the node in the
// middle of the load, again and again.
func (p *MemoryPlan) CheckLoad(data Data, limits Limits) error {
	if p.Limit == 0 {
		return nil
	}
	need := data.Memory()
	if need+memoryBase <= p.Heap*loadPercent/100 {
		return nil
	}
	return fmt.Errorf("the newest snapshot has %d keys with %d bytes, which take %d bytes of memory; %d may be taken (%s), and %d are needed: raise that limit; nothing was changed",
		data.Keys, data.Bytes, need, p.Limit, p.Source, MemoryFor(need, limits))
}
