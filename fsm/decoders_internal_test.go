package fsm

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

// TestDecoders_MemoryIsBounded checks that the number of blocks in memory does not grow
// with the number of processors.
func TestDecoders_MemoryIsBounded(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(64))
	d := newDecoders(mvcc.NewLoader(mvcc.LoadOptions{Revision: 1}), readBlockV2)
	if got := cap(d.blocks); got > maxWorkers {
		t.Errorf("64 processors: up to %d blocks wait, want at most %d", got, maxWorkers)
	}
	if got := cap(d.free); got > 2*maxWorkers+1 {
		t.Errorf("64 processors: %d blocks are kept, want at most %d", got, 2*maxWorkers+1)
	}
	if _, err := d.wait(); err != nil {
		t.Fatal(err)
	}
}

// TestDecoders_LargeBlocksShareMemory gives the decoders large and small blocks in turn.
// Small blocks must not get the memory of a large one: in the end all their memory would be
// as large.
func TestDecoders_LargeBlocksShareMemory(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	const large, rounds, each = 8 << 20, 60, 2000
	d := newDecoders(mvcc.NewLoader(mvcc.LoadOptions{Revision: 1}), readBlockV2)
	var memory []byte
	items := 0
	add := func(value int) {
		memory = appendItemV2(memory, &kv.Item{Key: fmt.Sprintf("key %09d", items), Value: make([]byte, value), CreateRevision: 1, ModRevision: 1, Version: 1})
		items++
	}
	for i := range rounds {
		memory = memory[:0]
		if i > rounds/2 && i%2 == 0 { // after many small blocks, whose memory is free now
			add(large)
		} else {
			for range each {
				add(8)
			}
		}
		if memory = d.decode(memory, memory); memory == nil {
			break // wait returns the error
		}
	}
	all, err := d.wait()
	if err != nil || all.items != uint64(items) {
		t.Fatalf("got %d items, %v; want %d", all.items, err, items)
	}
	kept := cap(memory)
	for close(d.free); len(d.free) > 0; {
		kept += cap(<-d.free)
	}
	if most := 3 * large; kept > most {
		t.Errorf("%d MiB are kept for blocks, want at most %d", kept>>20, most>>20)
	}
}
