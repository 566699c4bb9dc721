package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// entryCommands is the number of commands in a log entry that is applied here.
const entryCommands = 256

// heapUse returns, in words, the memory of a state machine with n keys, filled in no order.
func heapUse(n, valueBytes int) string {
	before := heapInUse()
	f := filledState(n, valueBytes)
	bytes := heapInUse() - before
	runtime.KeepAlive(f)
	return fmt.Sprintf("%.0f MB, %.0f bytes a key", float64(bytes)/1e6, float64(bytes)/float64(n))
}

// heapInUse returns the bytes of the heap's spans after garbage collection.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // this completes the sweep of the first one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// filledState returns a state machine of n keys.
func filledState(n, valueBytes int) *fsm.FSM {
	f := fsm.New(fsm.Config{})
	keys := rand.New(rand.NewPCG(1, 2)).Perm(n)
	for len(keys) > 0 {
		count := min(entryCommands, len(keys))
		i := 0
		f.Apply(puts(f.AppliedIndex()+1, count, valueBytes, func() int { i++; return keys[i-1] }))
		keys = keys[count:]
	}
	return f
}

// puts returns a log entry of count puts; pick returns the number of each key.
func puts(index uint64, count, valueBytes int, pick func() int) *raft.Log {
	all, value := fsm.ClockRequest(), make([]byte, valueBytes)
	for range count {
		all = fsm.Encode(all, kv.Put(keyOf(pick()), value))
	}
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: fsm.AppendEntry(nil, 0, all.Version, all.Count, all.Data)}
}
