package fsm_test

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

var checkpointCmd = fsm.CheckpointRequest()

// newestHash returns f's newest checkpoint.
func newestHash(t *testing.T, f *fsm.FSM) fsm.Checkpoint {
	t.Helper()
	all := f.Checkpoints()
	if len(all) == 0 {
		t.Fatal("no checkpoint")
	}
	return all[len(all)-1]
}

// TestCheckpoint_Hash shows that states that differ in anything have different hashes, and
// that equal states have the same one, also after different changes.
func TestCheckpoint_Hash(t *testing.T) {
	states := map[string][]wire.Requests{
		"nothing":         {},
		"key":             {putCmd("k", "v")},
		"another value":   {putCmd("k", "w")},
		"another key":     {putCmd("l", "v")},
		"shifted":         {putCmd("kv", "")},
		"version":         {putCmd("k", "v"), putCmd("k", "v")},
		"made again":      {putCmd("k", "v"), delCmd("k"), putCmd("k", "v")},
		"deleted":         {putCmd("k", "v"), delCmd("k")},
		"retired":         {retireCmd("k")},
		"retired another": {retireCmd("l")},
	}
	seen := map[uint64]string{}
	for name, commands := range states {
		f := newFSM(t)
		mustApply(t, f, 1, 0, append(commands, checkpointCmd)...)
		hash := newestHash(t, f).Hash
		if other, ok := seen[hash]; ok {
			t.Errorf("%s and %s have one hash", name, other)
		}
		seen[hash] = name
	}

	one, other := newFSM(t), newFSM(t)
	mustApply(t, one, 1, 0, putCmd("gone", "x"), putCmd("a", "1"), putCmd("b", "2"), retireCmd("n1"), retireCmd("n1"), delCmd("gone"))
	mustApply(t, one, 2, 5, checkpointCmd)
	mustApply(t, other, 1, 5, putCmd("tmp", "y"), putCmd("a", "1"), putCmd("b", "2"), delCmd("tmp"), retireCmd("n1"))
	mustRestore(t, other, snapshotOf(t, other))
	mustApply(t, other, 2, 0, checkpointCmd)
	if a, b := newestHash(t, one), newestHash(t, other); a != b || a.Index != 2 {
		t.Errorf("got %+v and %+v, want the same", a, b)
	}
	mustApply(t, one, 3, 6, checkpointCmd)
	if a, b := newestHash(t, one), newestHash(t, other); a.Hash == b.Hash {
		t.Error("another cluster clock leaves the hash as it is")
	}
}

// TestCheckpoint_HashOfHistory shows that the hash covers attributes, past changes, the
// compact revision and the settings, once there is a history.
func TestCheckpoint_HashOfHistory(t *testing.T) {
	put := func(o kv.Op) wire.Requests {
		o.Kind, o.Key = kv.OpPut, "k"
		return encode(kv.Request{Then: []kv.Op{o}})
	}
	seen := map[uint64]string{}
	for name, commands := range map[string][]wire.Requests{
		"nothing":      {},
		"put":          {putCmd("k", ""), putCmd("k", "")},
		"flags":        {putCmd("k", ""), put(kv.Op{Flags: 1})},
		"other flags":  {putCmd("k", ""), put(kv.Op{Flags: 2})},
		"content type": {putCmd("k", ""), put(kv.Op{ContentType: "a/b"})},
		"past flags":   {put(kv.Op{Flags: 1}), putCmd("k", "")},
		"past value":   {putCmd("k", "past"), putCmd("k", "")},
		"compacted":    {putCmd("k", ""), putCmd("k", ""), fsm.CompactRequest(2)},
		"another":      {putCmd("k", ""), putCmd("k", ""), fsm.CompactRequest(3)},
		"settings":     {fsm.SettingsRequest(kv.Settings{MaxKeyBytes: 1})},
	} {
		f := newFSM(t)
		mustApply(t, f, 1, 0, append([]wire.Requests{fsm.HistoryRequest()}, append(commands, checkpointCmd)...)...)
		hash := newestHash(t, f).Hash
		if other, ok := seen[hash]; ok {
			t.Errorf("%s and %s have one hash", name, other)
		}
		seen[hash] = name
	}
}

// TestCheckpoint_Kept shows that a checkpoint is taken after the whole entry that asks for
// it, and that old checkpoints are dropped.
func TestCheckpoint_Kept(t *testing.T) {
	f, whole := newFSM(t), newFSM(t)
	mustApply(t, f, 1, 0, checkpointCmd, putCmd("k", "v"))
	mustApply(t, whole, 1, 0, putCmd("k", "v"), checkpointCmd)
	if a, b := newestHash(t, f), newestHash(t, whole); a != b {
		t.Errorf("got %+v, want the whole entry's %+v", a, b)
	}
	for i := uint64(2); i <= 40; i++ {
		mustApply(t, f, i, 0, checkpointCmd)
	}
	all := f.Checkpoints()
	if len(all) != 16 || all[0].Index != 25 || all[15].Index != 40 {
		t.Errorf("got %d checkpoints from %d to %d, want 16 from 25 to 40", len(all), all[0].Index, all[len(all)-1].Index)
	}
}

// TestCheckpoint_FindsDivergence shows that the next checkpoint finds an entry that one
// replica has applied and the other has not.
func TestCheckpoint_FindsDivergence(t *testing.T) {
	one, other := newFSM(t), newFSM(t)
	for i := uint64(1); i <= 10; i++ {
		command := putCmd(fmt.Sprint("k", i%3), fmt.Sprint(i))
		mustApply(t, one, i, 0, command)
		if i == 5 {
			other.Apply(&raft.Log{Index: i, Type: raft.LogConfiguration}) // instead of the entry
		} else {
			mustApply(t, other, i, 0, command)
		}
	}
	mustApply(t, one, 11, 0, checkpointCmd)
	mustApply(t, other, 11, 0, checkpointCmd)
	if newestHash(t, one) == newestHash(t, other) {
		t.Error("a skipped entry is not seen in the hash")
	}
}
