package room_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

const mib = int64(1 << 20)

// limits are those of a node with the default size of values.
var limits = room.Limits{ValueBytes: 1 << 20, BatchBytes: 1 << 20, AppendEntries: 16, Connections: 8192}

// encode returns requests as they are carried.
func encode(requests ...kv.Request) (all wire.Requests) {
	for _, r := range requests {
		all = fsm.Encode(all, r)
	}
	return all
}

// emptyState returns a state machine without data.
func emptyState() room.State { return fsm.New(fsm.Config{}) }

// smallPlan is a plan with room for so many bytes of data, on a heap that is no concern.
func smallPlan(data int64) room.MemoryPlan {
	return room.MemoryPlan{Limit: 1 << 40, Source: "test", Heap: 1 << 39, Data: data}
}

// fakeHeap is a heap of which a test says what a collection finds.
type fakeHeap struct {
	live        atomic.Int64
	collections atomic.Uint64
}

// collected has a collection find so many bytes.
func (h *fakeHeap) collected(live int64) {
	h.live.Store(live)
	h.collections.Add(1)
}

func (h *fakeHeap) Live() (bytes int64, collections uint64) {
	return h.live.Load(), h.collections.Load()
}

func (h *fakeHeap) Collect() { h.collections.Add(1) }

// fakeVoters are the other voters of a leader. Those without a report do not answer.
type fakeVoters struct {
	ids     []raft.ServerID
	self    bool
	reports map[raft.ServerID]room.Report
	heardOf []raft.ServerID
	lacks   int64 // bytes of the leader's log behind any index
	asked   atomic.Int64
	running sync.WaitGroup
}

func (v *fakeVoters) Others() (ids []raft.ServerID, self bool) { return v.ids, v.self }

func (v *fakeVoters) Ask(_ context.Context, id raft.ServerID) (room.Report, error) {
	v.asked.Add(1)
	if report, ok := v.reports[id]; ok {
		return report, nil
	}
	return room.Report{}, errors.New("no answer")
}

func (v *fakeVoters) HeardOf(time.Duration) []raft.ServerID { return v.heardOf }

func (v *fakeVoters) BytesAfter(uint64) int64 { return v.lacks }

func (v *fakeVoters) Go(f func()) { v.running.Go(f) }
