package fsm_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
)

// TestRetired_Bounded shows that the state remembers the newest MaxRetired ids. They are
// the same on every replica, also after a restore. RetiredFull reports when some may have
// been forgotten.
func TestRetired_Bounded(t *testing.T) {
	const extra, perEntry = 5, 1000
	id := func(i int) string { return fmt.Sprintf("n%d.%016x", i%7, (i*7919)%100_003) } // not in byte order
	one, other := newFSM(t), newFSM(t)
	retire := func(f *fsm.FSM, index uint64, from, to int) {
		var commands []wire.Requests
		for i := from; i < to; i++ {
			commands = append(commands, retireCmd(id(i)))
		}
		mustApply(t, f, index, 0, commands...)
	}
	index := uint64(1)
	for from := 0; from < fsm.MaxRetired; from += perEntry {
		retire(one, index, from, min(from+perEntry, fsm.MaxRetired-1))
		index++
	}
	if one.RetiredFull() || one.RetiredCount() != fsm.MaxRetired-1 || !one.Retired(id(0)) {
		t.Errorf("one below the bound: %d ids, full %t, the first %t", one.RetiredCount(), one.RetiredFull(), one.Retired(id(0)))
	}
	mustRestore(t, other, snapshotOf(t, one))
	for _, f := range []*fsm.FSM{one, other} {
		retire(f, index, fsm.MaxRetired-1, fsm.MaxRetired+extra)
		mustApply(t, f, index+1, 0, retireCmd(id(extra)), checkpointCmd) // retired already: the oldest stays the oldest
		if !f.RetiredFull() || f.RetiredCount() != fsm.MaxRetired {
			t.Errorf("above the bound: %d ids, full %t", f.RetiredCount(), f.RetiredFull())
		}
		for i := range fsm.MaxRetired + extra {
			if got, want := f.Retired(id(i)), i >= extra; got != want {
				t.Fatalf("id %d of %d: retired %t, want %t", i, fsm.MaxRetired+extra, got, want)
			}
		}
	}
	if a, b := newestHash(t, one), newestHash(t, other); a != b {
		t.Errorf("got hashes %+v and %+v, want the same", a, b)
	}
	snapshot := snapshotOf(t, one)
	if !bytes.Equal(snapshot, snapshotOf(t, other)) {
		t.Error("two replicas' snapshots differ")
	}
	third := newFSM(t)
	mustRestore(t, third, snapshot) // it checks the hash
	if !bytes.Equal(snapshotOf(t, third), snapshot) {
		t.Error("the snapshot of what was restored differs")
	}
}

// TestRestore_DropsCheckpoints shows that a restored state has no checkpoints of the
// replaced one: those hashes are not its own.
func TestRestore_DropsCheckpoints(t *testing.T) {
	f := newFSM(t)
	empty := snapshotOf(t, f)
	mustApply(t, f, 5, 1, putCmd("k", "v"), checkpointCmd)
	mustRestore(t, f, empty)
	if got := f.Checkpoints(); len(got) != 0 {
		t.Errorf("got checkpoints %+v after a restore", got)
	}
	mustApply(t, f, 1, 1, putCmd("k", "w"), checkpointCmd)
	if got := f.Checkpoints(); len(got) != 1 || got[0].Index != 1 {
		t.Errorf("got checkpoints %+v, want the one at 1", got)
	}
}
