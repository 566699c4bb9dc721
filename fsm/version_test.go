package fsm_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

var twoPuts = kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "a"}, {Kind: kv.OpPut, Key: "b"}}}

// TestVersion1_HasAllOfVersion1 shows that a program that understands version 1, such as
// one built with the tag kvorum_v1, treats requests of version 1 as the newest program
// does.
func TestVersion1_HasAllOfVersion1(t *testing.T) {
	old, now := fsm.New(fsm.Config{Version: 1, OnFatal: func(err error) { t.Error(err) }}), newFSM(t)
	requests := []wire.Requests{
		fsm.ClockRequest(), putCmd("a", "1"), encode(kv.Put("a", nil, kv.ModRevision("a", 1))), retireCmd("n1.x"),
		encode(kv.Put("b", nil, kv.Absent("b"))), encode(kv.Delete("a", kv.Present("a"))),
	}
	mustApply(t, old, 1, 5, requests...)
	mustApply(t, now, 1, 5, requests...)
	if !bytes.Equal(snapshotOf(t, old), snapshotOf(t, now)) {
		t.Error("their states differ")
	}
	mustRestore(t, old, snapshotOf(t, now))
}

// TestVersion1_RefusesVersion2 shows that such a program refuses version 2 with an error
// that has both versions: in an entry, before it applies any of it, and from another node.
func TestVersion1_RefusesVersion2(t *testing.T) {
	want := fsm.VersionError{What: "command version", Version: 2, Supported: 1}
	check := func(what string, err error) {
		t.Helper()
		var got *fsm.VersionError
		if !errors.As(err, &got) || *got != want || !errors.Is(err, kv.ErrUnsupported) {
			t.Errorf("%s: got %v, want %v", what, err, &want)
		}
	}
	for name, r := range map[string]wire.Requests{"checkpoint": checkpointCmd, "two puts": encode(twoPuts)} {
		var old *fsm.FSM
		var fatal error
		old = fsm.New(fsm.Config{Version: 1, OnFatal: func(err error) { fatal = err; old.Close() }})
		old.Apply(entry(1, 1, 0, putCmd("k", "v"), r))
		check(name, fatal)
		if old.Len() != 0 {
			t.Errorf("%s: a part of the entry was applied", name)
		}
	}
	two := encode(twoPuts)
	older := fsm.New(fsm.Config{Shards: 1, Version: 1})
	_, err := older.Check(two.Version, two.Count, two.Data)
	check("from another node", err)
	_, err = older.Check(1, two.Count, two.Data) // the sender says a version that is too low
	check("from another node that says version 1", err)

	_, err = older.Check(1, 1, checkpointCmd.Data) // its table has no row for it
	want = fsm.VersionError{What: "operation 0x83", Supported: 1}
	check("an unknown operation", err)
}

// TestVersion1_ContinuesFromSnapshot shows that an older program continues from a state
// that newer requests have made. The two programs agree about the state, including the
// marks of the newer entries.
func TestVersion1_ContinuesFromSnapshot(t *testing.T) {
	now, old := newFSM(t), fsm.New(fsm.Config{Version: 1, OnFatal: func(err error) { t.Error(err) }})
	mustApply(t, now, 1, 5, encode(twoPuts))
	mustApply(t, now, 2, 5, checkpointCmd)
	mustRestore(t, old, snapshotOf(t, now))
	for _, f := range []*fsm.FSM{now, old} {
		mustApply(t, f, 3, 6, putCmd("c", "1"))
		for index, want := range map[uint64]byte{0: 2, 2: 2, 3: 1} {
			if got := f.WrittenSince(index); got != want {
				t.Errorf("since %d: got version %d, want %d", index, got, want)
			}
		}
	}
	if !bytes.Equal(snapshotOf(t, old), snapshotOf(t, now)) {
		t.Error("their states differ")
	}
}
