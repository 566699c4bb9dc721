package chronicle_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chronicle"
)

// put returns a request that writes two keys.
func put(value string) kv.Request {
	r := kv.Put("t-a", []byte(value))
	r.Then = append(r.Then, kv.Op{Kind: kv.OpPut, Key: "t-b", Value: []byte(value)})
	return r
}

// TestChronicle_Finds shows that each kind of error is found, by Check or at once.
func TestChronicle_Finds(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(r *run) error
		want  string
	}{
		"WrongAnswer": {func(r *run) error {
			call, request := r.c.Call(), kv.Put("t-a", []byte("other"))
			response, _ := r.apply(fsm.Encode(wire.Requests{}, request))
			response.Results[0].Existed = false
			return r.c.Done(call, request, response)
		}, "differs from the model's"},
		"WrongChange": {func(r *run) error {
			call := r.c.Call()
			response, _ := r.apply(fsm.Encode(wire.Requests{}, kv.Put("t-a", []byte("other"))))
			return r.c.Done(call, kv.Put("t-a", []byte("one")), response)
		}, "differ from those that watches tell"},
		"OldAnswer": {func(r *run) error {
			response, _ := r.apply(fsm.Encode(wire.Requests{}, put("x")))
			r.must(r.drain(r.audit, r.told))
			return r.c.Done(r.c.Call(), put("x"), response)
		}, "was known before"},
		"OldAnswerOfReads": {func(r *run) error {
			return r.c.Read(r.c.Call(), "n1", kv.All(), r.state.Revision()-1, nil)
		}, "was known before"},
		"DoneTwice": {func(r *run) error {
			_, _ = r.apply(fsm.Encode(wire.Requests{}, put("x")))
			r.do(put("x"))
			return nil
		}, "no request explains"},
		"NotDoneIsDone": {func(r *run) error {
			_, _ = r.apply(fsm.Encode(wire.Requests{}, put("x")))
			r.c.Refused(r.c.Call(), put("x"), kv.ErrNoLeader)
			return nil
		}, "no request explains"},
		"WrongRefusal": {func(r *run) error {
			r.do(kv.Put("t-a", []byte("7")))
			r.c.Refused(r.c.Call(), kv.Request{Then: []kv.Op{{Kind: kv.OpAdd, Key: "t-a", Delta: 1}}}, kv.ErrNotNumber)
			return nil
		}, "should have been done"},
		"WrongPast": {func(r *run) error {
			return r.c.ReadPast(r.c.Call(), chronicle.Past{Who: "n1", Span: kv.One("t-a"), Revision: 3, Answered: 3})
		}, "differs from the state after it"},
		"WrongCount": {func(r *run) error {
			return r.c.ReadPast(r.c.Call(), chronicle.Past{Who: "n1", Span: kv.All(), Revision: 3, Answered: 3, Counted: true, Count: 7})
		}, "counts 7 keys"},
		"CompactedThoughKept": {func(r *run) error {
			err := &kv.CompactedError{Revision: 3, CompactRevision: 3}
			return r.c.ReadPast(r.c.Call(), chronicle.Past{Who: "n1", Revision: 3, Err: err, After: 3})
		}, "compact revision"},
		"KeptThoughCompacted": {func(r *run) error {
			r.must(r.c.CompactDone(r.c.Call(), 4, kv.CompactResult{Revision: r.state.Revision(), CompactRevision: 4}))
			return r.c.ReadPast(r.c.Call(), chronicle.Past{Who: "n1", Revision: 3, Answered: 3, Linearizable: true})
		}, "to which a compaction was acknowledged"},
		"CompactedBelowAnswer": {func(r *run) error {
			r.must(r.c.Compacted("n1", 3, &kv.CompactedError{Revision: 3, CompactRevision: 9}, 9))
			return r.c.Ended(8)
		}, "in the end"},
		"FutureThoughKnown": {func(r *run) error {
			err := &kv.FutureError{Revision: 4, Newest: 3}
			return r.c.ReadPast(r.c.Call(), chronicle.Past{Who: "n1", Revision: 4, Err: err, Linearizable: true})
		}, "was known before"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRun(t, 1)
			r.do(put("1"))
			r.do(put("2"))
			r.do(put("3"))
			r.must(r.drain(r.audit, r.told))
			if found := r.failures(); found != "" {
				t.Fatalf("found before: %s", found)
			}
			found := ""
			if err := test.spoil(r); err != nil {
				found = err.Error()
			} else {
				r.must(r.drain(r.audit, r.told))
				found = r.failures()
			}
			if !strings.Contains(found, test.want) {
				t.Errorf("got %q, want %q", found, test.want)
			}
		})
	}
}

// TestWatch_Finds shows that each kind of error in what a watch delivers is found, both in
// an auditor's and in another watch.
func TestWatch_Finds(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(batches []kv.WatchBatch) []kv.WatchBatch
		want  []string // for an auditor, and for a watch
	}{
		"EventDropped": {func(b []kv.WatchBatch) []kv.WatchBatch {
			b[1].Events = b[1].Events[1:]
			return b
		}, []string{"tells of other changes", "delivers other changes"}},
		"RevisionDropped": {func(b []kv.WatchBatch) []kv.WatchBatch {
			return slices.Delete(b, 1, 2)
		}, []string{"lacks revision 3", "delivers other changes of revision 3: [] instead"}},
		"RevisionSplit": {func(b []kv.WatchBatch) []kv.WatchBatch {
			rest := kv.WatchBatch{Revision: b[1].Revision, Events: b[1].Events[1:]}
			b[1].Events = b[1].Events[:1]
			return slices.Insert(b, 2, rest)
		}, []string{"tells of other changes", "in two parts"}},
		"PartLost": {func(b []kv.WatchBatch) []kv.WatchBatch {
			b[1].Partial = true
			return b
		}, []string{"after a part of 3", "after a part of 3"}},
		"Twice": {func(b []kv.WatchBatch) []kv.WatchBatch {
			return append(b, b[0])
		}, []string{"after it was at", "after it was at"}},
		"OutOfOrder": {func(b []kv.WatchBatch) []kv.WatchBatch {
			slices.Reverse(b[1].Events)
			return b
		}, []string{"tells of other changes", "delivers other changes"}},
		"OtherPrev": {func(b []kv.WatchBatch) []kv.WatchBatch {
			prev := *b[1].Events[0].Prev
			prev.Version++
			b[1].Events[0].Prev = &prev
			return b
		}, []string{"tells of other changes", "delivers other changes"}},
		"MarkAhead": {func(b []kv.WatchBatch) []kv.WatchBatch {
			return slices.Insert(b, 1, kv.WatchBatch{Kind: kv.WatchProgress, Revision: b[1].Revision})
		}, []string{"after it was at", "after it was at"}},
		"Invented": {func(b []kv.WatchBatch) []kv.WatchBatch {
			return append(b[:1:1], kv.WatchBatch{Revision: b[1].Revision, Events: b[0].Events}, b[2])
		}, []string{"tells of other changes", "delivers other changes"}},
	} {
		for i, auditor := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				r := newRun(t, 1)
				w := r.c.Watch(r.c.Call(), "n2", kv.WatchOptions{Span: kv.All(), PrevItems: true})
				if auditor {
					w = r.c.Auditor("n2")
				}
				watch := r.watch(w)
				if auditor { // the state, which has no keys
					b, err := watch.Next(t.Context())
					r.must(err)
					r.must(w.Received(b))
				}
				batches := make([]kv.WatchBatch, 3)
				for i := range batches {
					r.do(put(strings.Repeat("x", i+1)))
					b, err := watch.Next(t.Context())
					r.must(err)
					batches[i] = b
				}
				r.must(r.drain(r.audit, r.told))
				found := ""
				for _, b := range test.spoil(batches) {
					if err := w.Received(b); err != nil {
						found = err.Error()
						break
					}
				}
				if found == "" {
					found = r.failures()
				}
				if !strings.Contains(found, test.want[i]) {
					t.Errorf("auditor %t: got %q, want %q", auditor, found, test.want[i])
				}
			})
		}
	}
}
