package fsm_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
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
	older := fsm.New(fsm.Config{Version: 1})
	_, err := older.Check(two.Version, two.Count, two.Data)
	check("from another node", err)
	_, err = older.Check(1, two.Count, two.Data) // the sender says a version that is too low
	check("from another node that says version 1", err)

	_, err = older.Check(1, 1, checkpointCmd.Data) // its table has no row for it
	want = fsm.VersionError{What: "operation 0x83", Supported: 1}
	check("an unknown operation", err)
}

// TestVersion2_KnowsNoHistory shows that programs that understand versions 2 and 3 agree on
// a state without history. The first entry of version 3 begins one at a revision of its own,
// and a program that lacks it refuses the entry, and a snapshot that follows it.
func TestVersion2_KnowsNoHistory(t *testing.T) {
	now := newFSM(t)
	var fatal error
	var old *fsm.FSM
	old = fsm.New(fsm.Config{Version: 2, OnFatal: func(err error) { fatal = err; old.Close() }})
	for _, f := range []*fsm.FSM{now, old} {
		mustApply(t, f, 1, 5, encode(twoPuts), putCmd("a", "2"), checkpointCmd)
		if f.History() || f.Revision() != 2 || f.CompactRevision() != 2 {
			t.Errorf("got history %t, revision %d, compact revision %d, want none, 2, 2", f.History(), f.Revision(), f.CompactRevision())
		}
	}
	if a, b := newestHash(t, now), newestHash(t, old); a != b {
		t.Errorf("got hashes %+v and %+v", a, b)
	}
	if !bytes.Equal(snapshotOf(t, old), snapshotOf(t, now)) {
		t.Error("their states differ")
	}
	mustApply(t, now, 2, 6, fsm.HistoryRequest())
	if !now.History() || now.Revision() != 3 || now.CompactRevision() != 3 {
		t.Errorf("got history %t, revision %d, compact revision %d, want one, 3, 3", now.History(), now.Revision(), now.CompactRevision())
	}
	var got *fsm.VersionError
	want := fsm.VersionError{What: "snapshot format", Version: 3, Supported: 2}
	if err := old.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, now)))); !errors.As(err, &got) || *got != want {
		t.Errorf("a snapshot: got %v, want %v", err, &want)
	}
	old.Apply(entry(2, 1, 6, fsm.HistoryRequest()))
	want = fsm.VersionError{What: "command version", Version: 3, Supported: 2}
	if !errors.As(fatal, &got) || *got != want {
		t.Errorf("an entry: got %v, want %v", fatal, &want)
	}
}

// TestHistory_OfEmptyStore shows that a store is at revision 1 once its history begins, and
// that the first write takes revision 2.
func TestHistory_OfEmptyStore(t *testing.T) {
	f := newFSM(t)
	if got := f.Revision(); got != 0 {
		t.Errorf("before: got revision %d", got)
	}
	for index := range uint64(2) { // the second one changes nothing
		mustApply(t, f, index+1, 0, fsm.HistoryRequest())
		if f.Revision() != 1 || f.CompactRevision() != 0 {
			t.Errorf("got revision %d, compact revision %d, want 1, 0", f.Revision(), f.CompactRevision())
		}
	}
	if got := mustApply(t, f, 3, 0, putCmd("k", "v")); got[0].Revision != 2 {
		t.Errorf("the first write: got revision %d, want 2", got[0].Revision)
	}
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

// TestVersion_Limits names the limits by which replicas decide when they apply a request.
// A change of one needs a new command version: replicas of two builds, and a log that is
// applied again, must decide alike.
func TestVersion_Limits(t *testing.T) {
	if fsm.Version != 4 {
		t.Skip("this build has another command version")
	}
	item := kv.Item{Key: "key", Value: []byte("value"), ContentType: "t"}
	got := []int{kv.MaxAnswerBytes, kv.MaxRequestKeys, kv.MaxRequestParts, kv.LimitMaxRequestOps, item.AnswerBytes(), kv.MaxKeptAnswerBytes, kv.IdempotencyKeyBytes,
		int(kv.Idempotency{}.WithDefaults().Window), int(kv.Idempotency{}.WithDefaults().MaxKeys), int(kv.Idempotency{}.WithDefaults().MaxBytes)}
	if want := []int{4 << 20, 100_000, 2048, 1024, 160 + 3 + 5 + 1, 64 << 10, 100, 600e9, 1e6, 64 << 20}; !slices.Equal(got, want) {
		t.Errorf("limits of command version %d are %v, want %v", fsm.Version, got, want)
	}
}
