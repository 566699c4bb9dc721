package fsm_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// fill puts n keys that begin with a prefix.
func fill(t *testing.T, f *fsm.FSM, prefix string, n int) {
	t.Helper()
	var requests []wire.Requests
	for i := range n {
		requests = append(requests, putCmd(fmt.Sprintf("%s%07d", prefix, i), ""))
	}
	mustApply(t, f, f.AppliedIndex()+1, 0, requests...)
}

// firstOf returns a range with a limit of one item.
func firstOf(span kv.Span) kv.Op {
	return kv.Op{Kind: kv.OpRange, Span: span, Range: &kv.RangeOptions{Limit: 1}}
}

// TestTx_KeyLimit shows that a request that looks at more keys than it may is refused with the
// limit, and nothing of it is done, and that what it may look at is not.
func TestTx_KeyLimit(t *testing.T) {
	f := withHistory(t)
	fill(t, f, "k", kv.MaxRequestKeys)
	fill(t, f, "l", 1)
	both := kv.Span{Start: "k", End: "m"}
	most, more := firstOf(kv.Prefix("k")), firstOf(both)
	present := func(span kv.Span) []kv.Compare {
		return []kv.Compare{{Span: span, Target: kv.TargetVersion, Relation: kv.Greater}}
	}
	for name, tt := range map[string]struct {
		request kv.Request
		refused bool
	}{
		"Range":         {kv.Request{Then: []kv.Op{most}}, false},
		"RangeMore":     {kv.Request{Then: []kv.Op{more}}, true},
		"RangeTwice":    {kv.Request{Then: []kv.Op{most, firstOf(kv.Prefix("l"))}}, true},
		"Count":         {kv.Request{Then: []kv.Op{{Kind: kv.OpRange, Span: both, Range: &kv.RangeOptions{CountOnly: true}}}}, true},
		"Past":          {kv.Request{Then: []kv.Op{{Kind: kv.OpRange, Span: both, Range: &kv.RangeOptions{CountOnly: true, Revision: 2}}}}, true},
		"Compare":       {kv.Request{If: present(kv.Prefix("k"))}, false},
		"CompareMore":   {kv.Request{If: present(both)}, true},
		"FailsEarly":    {kv.Request{If: []kv.Compare{{Span: both, Target: kv.TargetVersion, Relation: kv.Equal}}}, false},
		"Delete":        {kv.Request{Then: []kv.Op{{Kind: kv.OpDelete, Span: both}}}, true},
		"Nested":        {kv.Request{Then: []kv.Op{most, {Kind: kv.OpRequest, Nested: &kv.Request{If: present(kv.Prefix("l"))}}}}, true},
		"NotDoneBranch": {kv.Request{If: []kv.Compare{kv.Absent("l0000000")}, Then: []kv.Op{more}, Else: []kv.Op{most}}, false},
	} {
		request := tt.request
		add := kv.Op{Kind: kv.OpAdd, Key: "z" + name}
		request.Then, request.Else = append(request.Then, add), append(request.Else, add)
		_, err := do(t, f, request)
		if tt.refused != errors.Is(err, kv.ErrKeyLimit) || !tt.refused && err != nil || tt.refused && !strings.Contains(err.Error(), fmt.Sprint(kv.MaxRequestKeys)) {
			t.Errorf("%s: got %v, want it refused %t", name, err, tt.refused)
		}
		if _, done := f.Get(add.Key); done == tt.refused {
			t.Errorf("%s: a part of it is done: %t", name, done)
		}
	}
	var requests []wire.Requests
	for range 6 {
		requests = append(requests, encode(kv.Request{Then: []kv.Op{most, {Kind: kv.OpAdd, Key: "z"}}}))
	}
	data, _ := f.Apply(entry(f.AppliedIndex()+1, 1, 0, append(requests, putCmd("y", ""))...)).([]byte)
	for i, got := range outcomesOf(t, data) {
		if want := i == 4 || i == 5; want != (got.refused == kv.ErrOverloaded.Code) || got.Succeeded == want {
			t.Errorf("request %d in an entry: got %q, %t", i, got.refused, got.Succeeded)
		}
	}
}

// TestTx_KeyLimitCountsDeletions shows that deletions count until they are compacted, also on a
// replica that was restored, and not afterwards, whether or not their memory was given back.
func TestTx_KeyLimitCountsDeletions(t *testing.T) {
	f := withHistory(t)
	fill(t, f, "k", kv.MaxRequestKeys)
	both := kv.Span{Start: "k", End: "m"}
	all := kv.Request{Then: []kv.Op{firstOf(both), {Kind: kv.OpAdd, Key: "z"}}}
	if got, err := do(t, f, kv.Request{Then: []kv.Op{{Kind: kv.OpDelete, Span: kv.Prefix("k")}}}); err != nil || got.Results[0].Deleted != kv.MaxRequestKeys {
		t.Fatalf("delete: got %v", err)
	}
	fill(t, f, "l", 1)
	view := mustView(t, f) // keeps the memory
	defer func() { _ = view.Close() }()
	restored := newFSM(t)
	mustRestore(t, restored, snapshotOf(t, f))
	for _, replica := range []*fsm.FSM{f, restored} {
		if _, err := do(t, replica, all); !errors.Is(err, kv.ErrKeyLimit) {
			t.Errorf("before the compaction: got %v, want ErrKeyLimit", err)
		}
		mustApply(t, replica, replica.AppliedIndex()+1, 0, fsm.CompactAllRequest())
		if _, err := do(t, replica, all); err != nil {
			t.Errorf("after the compaction: got %v", err)
		}
	}
}

// TestFSM_AnswersAwaitedOnly shows that a replica where nobody waits for the answers makes
// none, decides the same, and has the same state.
func TestFSM_AnswersAwaitedOnly(t *testing.T) {
	leader, follower := fsm.New(fsm.Config{AnswerAwaited: true}), fsm.New(fsm.Config{AnswerAwaited: true})
	defer func() { _ = errors.Join(leader.Close(), follower.Close()) }()
	value := strings.Repeat("v", kv.MaxAnswerBytes/10)
	all := kv.Op{Kind: kv.OpRange, Span: kv.Prefix("k")}
	getset := kv.Op{Kind: kv.OpPut, Key: "k1", Value: []byte("new"), WantPrev: true}
	logs := []*raft.Log{
		entry(1, 1, 0, putCmd("k1", value), putCmd("k2", value), putCmd("k3", value)),
		entry(2, 1, 0, encode(kv.Request{Then: []kv.Op{all, getset}}), encode(kv.Request{Then: []kv.Op{all, all, all, all, all, all, getset}})),
		entry(3, 1, 0, encode(kv.Request{Then: []kv.Op{all, {Kind: kv.OpDelete, Span: kv.Prefix("k"), WantPrev: true}}})),
		entry(4, 1, 0, checkpointCmd),
	}
	for _, l := range logs {
		done := leader.Await(l.Data)
		answer, _ := leader.Apply(l).([]byte)
		done()
		if len(answer) == 0 {
			t.Fatalf("entry %d has no answer", l.Index)
		}
		if refused := outcomesOf(t, answer)[len(outcomesOf(t, answer))-1].refused; (refused == kv.ErrAnswerLimit.Code) != (l.Index == 2) {
			t.Errorf("entry %d: got %q", l.Index, refused)
		}
		copied := *l
		copied.Data = bytes.Clone(l.Data)
		if answer, ok := follower.Apply(&copied).([]byte); !ok || len(answer) != 0 {
			t.Errorf("entry %d: a follower has an answer of %d bytes", l.Index, len(answer))
		}
	}
	if a, b := newestHash(t, leader), newestHash(t, follower); a != b {
		t.Errorf("got hashes %+v and %+v", a, b)
	}
	if !bytes.Equal(snapshotOf(t, leader), snapshotOf(t, follower)) {
		t.Error("their states differ")
	}
}
