package fsm

import (
	"runtime"
	"testing"

	"github.com/kvorum/kvorum/store"
)

// TestDecoders_MemoryIsBounded checks that blocks in memory don't grow with processors.
func TestDecoders_MemoryIsBounded(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(64))
	d := newDecoders(store.NewShardedMap(1), 1)
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
