package cluster

import (
	"fmt"
	"time"

	"github.com/kvorum/kvorum/cluster/propose"
)

// Parts of a MemoryPlan that do not depend on the limit, in bytes.
const (
	// memoryBase is what a node without data has live: connections to peers, gossip,
	// metrics, buffers of files.
	memoryBase = 16 << 20
	// keyMemory is what a key takes in memory beside its own bytes and its value's.
	keyMemory = 191
	// leastMemory is the least limit that any node runs with.
	leastMemory = 64 << 20
	// leastData is the least room for data that a plan has beside one value of the
	// largest size.
	leastData = 8 << 20
)

// Shares of the memory that Go may use, in percent.
const (
	// dataPercent is how much may be data and full budgets together.
	dataPercent = 80
	// livePercent is how much may be live; the rest is what the collector needs to
	// keep up.
	livePercent = 85
)

// MemoryPlan divides the memory that a process may take among the parts of a node.
// The zero value is no plan: the parts have their defaults, and nothing is refused
// because of memory.
type MemoryPlan struct {
	Limit  int64  // bytes that the process may take
	Source string // what sets it

	System      int64 // outside of Go's memory: code, page tables, files' pages, sockets
	Heap        int64 // Limit without System: Go's memory limit
	Bodies      int64 // bodies of HTTP requests in flight
	Proposals   int64 // writes that wait or are under way
	LogCache    int64 // newest records of the log
	Peers       int64 // messages with log entries, sent and received
	Connections int   // HTTP connections that may be open; each takes up to connectionMemory
	Data        int64 // keys and values, with keyMemory for each key

	appendEntries int // log entries of one message
}

// connectionMemory is what an HTTP connection may take: buffers and a stack.
const connectionMemory = 64 << 10

// MinMemory returns the least limit that a node with values of that size can run with,
// in whole MiB: its plan has room for one such value and leastData.
func MinMemory(maxValueBytes int) int64 {
	limit := int64(leastMemory)
	for divideMemory(limit, maxValueBytes).Data < int64(maxValueBytes)+leastData {
		limit += 1 << 20
	}
	return limit
}

// PlanMemory divides limit for a node with values of at most maxValueBytes. It fails
// below MinMemory, with an error that names that number.
func PlanMemory(limit int64, source string, maxValueBytes int) (MemoryPlan, error) {
	if least := MinMemory(maxValueBytes); limit < least {
		return MemoryPlan{}, fmt.Errorf("%d bytes of memory may be taken (%s), and a node with values of up to %d bytes needs %d: raise that limit, or lower --max-value-bytes",
			limit, source, maxValueBytes, least)
	}
	p := divideMemory(limit, maxValueBytes)
	p.Source = source
	return p, nil
}

// divideMemory returns the plan for a limit. Data is negative where that is too small.
func divideMemory(limit int64, maxValueBytes int) MemoryPlan {
	value := int64(max(maxValueBytes, propose.MaxBatchBytes))
	p := MemoryPlan{
		Limit:       limit,
		System:      min(max(limit/6, 16<<20), 512<<20),
		Bodies:      min(max(limit/16, 2*value), max(256<<20, 2*value)),
		Proposals:   min(max(limit/16, 2*value), max(256<<20, 2*value)),
		LogCache:    min(max(limit/64, 1<<20), 16<<20),
		Connections: int(min(limit/8/connectionMemory, maxClientDescriptors)),
	}
	p.appendEntries = int(min(max(limit/64/value, 1), maxAppendEntries))
	p.Peers = 3 * int64(p.appendEntries) * value
	p.Heap = limit - p.System
	p.Data = p.Heap*dataPercent/100 - p.budgets()
	return p
}

// budgets returns what is live beside the data when all that is in flight is at its
// limit.
func (p *MemoryPlan) budgets() int64 {
	return memoryBase + p.Bodies + p.Proposals + p.LogCache + p.Peers
}

// memoryFor returns about the least limit whose plan has room for data.
func memoryFor(data int64, maxValueBytes int) int64 {
	for limit := MinMemory(maxValueBytes); ; limit += limit / 16 {
		if p, err := PlanMemory(limit, "", maxValueBytes); err == nil && p.Data >= data {
			return (limit + 1<<20 - 1) >> 20 << 20
		}
	}
}

// stateMemory returns what so many keys take in memory, which have size bytes with
// their values.
func stateMemory(keys int, size int64) int64 { return size + int64(keys)*keyMemory }

// memoryTick is how often a node looks how much of its memory is in use, at least.
const memoryTick = time.Second
