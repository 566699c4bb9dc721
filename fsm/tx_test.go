package fsm_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// withHistory returns a state machine with a history, and keys "a" to "c" at revisions 2 to
// 4.
func withHistory(t *testing.T) *fsm.FSM {
	t.Helper()
	f := newFSM(t)
	mustApply(t, f, 1, 0, fsm.HistoryRequest(), putCmd("a", "1"), putCmd("b", "2"), putCmd("c", "3"))
	return f
}

// do applies one request.
func do(t *testing.T, f *fsm.FSM, r kv.Request) (kv.Response, error) {
	t.Helper()
	if err := r.Validate(kv.MaxLimits()); err != nil {
		t.Fatal(err)
	}
	data, _ := f.Apply(entry(f.AppliedIndex()+1, 1, 0, encode(r))).([]byte)
	return fsm.DecodeResponse(data)
}

func opPut(key, value string) kv.Op { return kv.Op{Kind: kv.OpPut, Key: key, Value: []byte(value)} }
func opGet(key string) kv.Op        { return kv.Op{Kind: kv.OpRange, Span: kv.One(key)} }

// TestTx_ComparesSeeStateBefore shows that the compares of nested requests see the state
// before the whole request, and its operations the changes of earlier ones.
func TestTx_ComparesSeeStateBefore(t *testing.T) {
	f := withHistory(t)
	response, err := do(t, f, kv.Request{Then: []kv.Op{
		opPut("new", "x"), opGet("new"),
		{Kind: kv.OpDelete, Span: kv.One("a")},
		{Kind: kv.OpRequest, Nested: &kv.Request{
			If:   []kv.Compare{kv.Absent("new"), kv.Present("a")},
			Then: []kv.Op{opGet("new"), opGet("a")},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	item := kv.Item{Key: "new", Value: []byte("x"), CreateRevision: 5, ModRevision: 5, Version: 1}
	found := kv.Result{Items: []kv.Item{item}, Count: 1}
	want := kv.Response{Succeeded: true, Revision: 5, Results: []kv.Result{
		{ModRevision: 5}, found, {Existed: true, Deleted: 1},
		{Nested: &kv.Response{Succeeded: true, Revision: 5, Results: []kv.Result{found, {}}}},
	}}
	if !reflect.DeepEqual(response, want) {
		t.Errorf("got  %+v\nwant %+v", response, want)
	}
}

// TestTx_Refused shows each reason for which the state refuses a request. Nothing of the
// request is done, and requests beside it are.
func TestTx_Refused(t *testing.T) {
	add := func(key string, delta int64) kv.Op { return kv.Op{Kind: kv.OpAdd, Key: key, Delta: delta} }
	at := func(revision uint64) kv.Op {
		return kv.Op{Kind: kv.OpRange, Span: kv.All(), Range: &kv.RangeOptions{Revision: revision}}
	}
	for name, tt := range map[string]struct {
		op   kv.Op
		want error
	}{
		"NoNumber":       {add("text", 1), kv.ErrNotNumber},
		"Empty":          {add("empty", 1), kv.ErrNotNumber},
		"TooLongNumber":  {add("long", 1), kv.ErrNotNumber},
		"Overflow":       {add("max", 1), kv.ErrOverflow},
		"Underflow":      {add("min", -1), kv.ErrOverflow},
		"Append":         {kv.Op{Kind: kv.OpAppend, Key: "text", Value: []byte("56"), MaxBytes: 5}, kv.ErrValueLimit},
		"Compacted":      {at(2), &kv.CompactedError{Revision: 2, CompactRevision: 3}},
		"Future":         {at(1000), &kv.FutureError{Revision: 1000, Newest: 9}},
		"FutureByItself": {at(10), &kv.FutureError{Revision: 10, Newest: 9}},
		"Nested":         {kv.Op{Kind: kv.OpRequest, Nested: &kv.Request{Then: []kv.Op{add("text", 1)}}}, kv.ErrNotNumber},
		"NestedElse":     {kv.Op{Kind: kv.OpRequest, Nested: &kv.Request{If: []kv.Compare{kv.Absent("text")}, Else: []kv.Op{at(1000)}}}, kv.ErrFuture},
	} {
		t.Run(name, func(t *testing.T) {
			f := withHistory(t)
			mustApply(t, f, 2, 0, putCmd("text", "four"), putCmd("empty", ""), putCmd("long", strings.Repeat("0", 21)),
				putCmd("max", "9223372036854775807"), putCmd("min", "-9223372036854775808"), fsm.CompactRequest(3))
			before := snapshotOf(t, f)
			_, err := do(t, f, kv.Request{Then: []kv.Op{opPut("new", ""), tt.op, {Kind: kv.OpDelete, Span: kv.Span{Start: "a", End: "c"}}}})
			refused := (*fsm.RefusedError)(nil)
			if !errors.As(err, &refused) || !errors.Is(err, kv.Classify(tt.want)) || kv.Classify(err).Outcome != kv.NotDone {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if typed := kv.Classify(tt.want) != tt.want; typed && !reflect.DeepEqual(refused.Err, tt.want) {
				t.Errorf("got %#v, want %#v", refused.Err, tt.want)
			}
			other := withHistory(t)
			mustRestore(t, other, before)
			mustApply(t, other, 3, 0, fsm.ClockRequest())
			if a, b := itemsOf(t, f), itemsOf(t, other); !reflect.DeepEqual(a, b) || f.Revision() != other.Revision() {
				t.Errorf("got %v at revision %d, want %v at %d", a, f.Revision(), b, other.Revision())
			}
			data, _ := f.Apply(entry(9, 1, 0, encode(kv.Request{Then: []kv.Op{tt.op}}), putCmd("beside", ""))).([]byte)
			if got := outcomesOf(t, data); got[0].refused == "" || !got[1].Succeeded {
				t.Errorf("beside another request: got %+v", got)
			}
		})
	}
}

// TestTx_NotTaken shows that the branch that is not done is not checked.
func TestTx_NotTaken(t *testing.T) {
	f := withHistory(t)
	mustApply(t, f, 2, 0, putCmd("text", "four"))
	bad := kv.Op{Kind: kv.OpAdd, Key: "text", Delta: 1}
	for _, r := range []kv.Request{
		{Then: []kv.Op{opGet("a")}, Else: []kv.Op{bad}},
		{If: []kv.Compare{kv.Absent("a")}, Then: []kv.Op{bad}, Else: []kv.Op{opGet("a")}},
	} {
		if got, err := do(t, f, r); err != nil || got.Results[0].Count != 1 {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	// If nothing is done, the results have the keys' state.
	got, err := do(t, f, kv.Request{If: []kv.Compare{kv.Absent("a")}, Then: []kv.Op{bad, opGet("a"), {Kind: kv.OpDelete, Span: kv.All()}}})
	want := kv.Response{Revision: 5, Results: []kv.Result{{Existed: true, ModRevision: 5}, {Existed: true, ModRevision: 2}, {}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// TestTx_DeleteThenWrite shows that a key can be deleted by a span without an end and then
// written, at one revision.
func TestTx_DeleteThenWrite(t *testing.T) {
	f := withHistory(t)
	got, err := do(t, f, kv.Request{Then: []kv.Op{
		{Kind: kv.OpDelete, Span: kv.From("b"), WantPrev: true}, opPut("b", "again"), {Kind: kv.OpAdd, Key: "c", Delta: 5},
	}})
	if err != nil || got.Revision != 5 || got.Results[0].Deleted != 2 || len(got.Results[0].Items) != 2 || got.Results[1].Existed || got.Results[2].Number != 5 {
		t.Errorf("got %+v, %v", got, err)
	}
	if it, found := f.Get("b"); !found || it.Version != 1 || it.CreateRevision != 5 || string(it.Value) != "again" {
		t.Errorf("got %+v, %t", it, found)
	}
	if it, found, err := f.GetPast("b", 4); err != nil || !found || string(it.Value) != "2" {
		t.Errorf("before: got %+v, %t, %v", it, found, err)
	}
}

// TestTx_KeepsAttributes shows that an add and an append keep flags and content type, and
// that a put replaces them.
func TestTx_KeepsAttributes(t *testing.T) {
	f := withHistory(t)
	for _, tt := range []struct {
		op    kv.Op
		value string
		flags uint32
	}{
		{kv.Op{Kind: kv.OpPut, Key: "k", Value: []byte("1"), Flags: 7, ContentType: "text/plain"}, "1", 7},
		{kv.Op{Kind: kv.OpAdd, Key: "k", Delta: 2}, "3", 7},
		{kv.Op{Kind: kv.OpAppend, Key: "k", Value: []byte("4"), MaxBytes: 2}, "34", 7},
		{opPut("k", "5"), "5", 0},
	} {
		if _, err := do(t, f, kv.Request{Then: []kv.Op{tt.op}}); err != nil {
			t.Fatal(err)
		}
		it, _ := f.Get("k")
		if string(it.Value) != tt.value || it.Flags != tt.flags || (it.ContentType == "text/plain") != (tt.flags == 7) {
			t.Errorf("got %+v, want %q with flags %d", it, tt.value, tt.flags)
		}
	}
}

// TestTx_AnswerLimit shows that a request whose answer would be too long is refused before
// anything of it is done, and so is one whose answer is too long beside earlier ones.
func TestTx_AnswerLimit(t *testing.T) {
	f := withHistory(t)
	const size = kv.MaxAnswerBytes / 64
	for i := range 50 {
		mustApply(t, f, uint64(i+2), 0, putCmd(fmt.Sprintf("k%02d", i), strings.Repeat("v", size)))
	}
	all := kv.Op{Kind: kv.OpRange, Span: kv.Prefix("k")}
	half := kv.Op{Kind: kv.OpRange, Span: kv.Prefix("k"), Range: &kv.RangeOptions{Limit: 25, Reverse: true}}
	keys := kv.Op{Kind: kv.OpRange, Span: kv.Prefix("k"), Range: &kv.RangeOptions{KeysOnly: true}}
	count := kv.Op{Kind: kv.OpRange, Span: kv.Prefix("k"), Range: &kv.RangeOptions{CountOnly: true}}
	large := opPut("l", strings.Repeat("w", 30*size))
	for name, tt := range map[string]struct {
		ops []kv.Op
		ok  bool
	}{
		"All":            {[]kv.Op{all}, true},
		"Twice":          {[]kv.Op{all, all}, false},
		"KeysTwice":      {[]kv.Op{all, keys, keys, count}, true},
		"Half":           {[]kv.Op{half, half}, true},
		"HalfThrice":     {[]kv.Op{half, half, half}, false},
		"PreviousToo":    {[]kv.Op{all, {Kind: kv.OpDelete, Span: kv.Prefix("k"), WantPrev: true}}, false},
		"OwnWrite":       {[]kv.Op{large, all, {Kind: kv.OpRange, Span: kv.From("l")}}, false},
		"OwnWriteBeside": {[]kv.Op{large, all}, true},
		"DeletedBefore":  {[]kv.Op{{Kind: kv.OpDelete, Span: kv.From("k")}, all, all, all}, true},
	} {
		r := kv.Request{Then: append(tt.ops, kv.Op{Kind: kv.OpAdd, Key: "z"})}
		g := newFSM(t)
		mustRestore(t, g, snapshotOf(t, f))
		_, err := do(t, g, r)
		if tt.ok != (err == nil) || err != nil && !errors.Is(err, kv.ErrAnswerLimit) {
			t.Errorf("%s: got %v, want done %t", name, err, tt.ok)
		}
		if _, found := g.Get("z"); found != tt.ok {
			t.Errorf("%s: a part of it is done: %t", name, found)
		}
	}
	var requests []wire.Requests
	for range 6 {
		requests = append(requests, encode(kv.Request{Then: []kv.Op{all}}))
	}
	data, _ := f.Apply(entry(100, 1, 0, append(requests, putCmd("z", ""))...)).([]byte)
	for i, got := range outcomesOf(t, data) {
		if want := i == 5; want != (got.refused == kv.ErrOverloaded.Code) || got.Succeeded == want {
			t.Errorf("request %d in an entry: got %q, %t", i, got.refused, got.Succeeded)
		}
	}
}

// TestTx_AnswerOfOneItem shows that a single item is answered however long it is, and two are
// not.
func TestTx_AnswerOfOneItem(t *testing.T) {
	f := withHistory(t)
	long := make([]byte, kv.MaxAnswerBytes+1)
	mustApply(t, f, 2, 0, encode(kv.Put("k", long)), encode(kv.Put("l", nil)))
	put := kv.Op{Kind: kv.OpPut, Key: "k", Value: long, WantPrev: true}
	if got, err := do(t, f, kv.Request{Then: []kv.Op{put}}); err != nil || len(got.Results[0].Prev.Value) != len(long) {
		t.Errorf("one: got %v", err)
	}
	_, err := do(t, f, kv.Request{Then: []kv.Op{put, {Kind: kv.OpRange, Span: kv.One("l")}}})
	if !errors.Is(err, kv.ErrAnswerLimit) || !strings.Contains(err.Error(), fmt.Sprint(kv.MaxAnswerBytes)) {
		t.Errorf("two: got %v, want ErrAnswerLimit with the limit", err)
	}
}
