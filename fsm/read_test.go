package fsm_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// TestFSM_Read shows that a request that only reads has the same response or refusal without
// the log as in an entry, and changes nothing.
func TestFSM_Read(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fsm.New(fsm.Config{})
		defer func() { _ = f.Close() }()
		mustApply(t, f, 1, 0, fsm.HistoryRequest())
		for i, b := range rapid.SliceOfN(batchGen(), 1, 10).Draw(t, "log") {
			f.Apply(b.entry(uint64(i + 2)))
		}
		request := onlyReads(requestGen().Draw(t, "request"))
		if len(request.If)+len(request.Then)+len(request.Else) == 0 {
			request.Then = []kv.Op{{Kind: kv.OpRange, Span: kv.Prefix("")}}
		}
		if !request.ReadOnly() {
			t.Fatalf("not taken for one that only reads: %+v", request)
		}
		before := f.Revision()
		got, err := f.Read(t.Context(), &request)
		data, _ := f.Apply(entry(100, 1, 0, encode(request))).([]byte)
		want, refused := fsm.DecodeResponse(data)
		if kv.Classify(err) != kv.Classify(refused) || err != nil && !strings.Contains(refused.Error(), err.Error()) {
			t.Fatalf("got %v, want %v", err, refused)
		}
		if plainResponse(&got); err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
		if f.Revision() != before {
			t.Fatalf("revision %d became %d", before, f.Revision())
		}
	})
}

// onlyReads returns a request without its changes.
func onlyReads(r kv.Request) kv.Request {
	reads := func(ops []kv.Op) (kept []kv.Op) {
		for _, o := range ops {
			switch o.Kind {
			case kv.OpRequest:
				nested := onlyReads(*o.Nested)
				o.Nested = &nested
				kept = append(kept, o)
			case kv.OpRange:
				kept = append(kept, o)
			case kv.OpDelete:
				kept = append(kept, kv.Op{Kind: kv.OpRange, Span: o.Span})
			}
		}
		return kept
	}
	return kv.Request{If: r.If, Then: reads(r.Then), Else: reads(r.Else)}
}

// plainResponse makes a response one as a decoded one is.
func plainResponse(r *kv.Response) {
	for i := range r.Results {
		result := &r.Results[i]
		for j := range result.Items {
			result.Items[j].Value = plain(result.Items[j].Value)
		}
		if result.Nested != nil {
			plainResponse(result.Nested)
		}
	}
}

// TestFSM_ReadLimits shows that a read without the log may look at any number of keys, that
// its answer has the limit of all answers, and that it ends with its context.
func TestFSM_ReadLimits(t *testing.T) {
	f := withHistory(t)
	fill(t, f, "k", kv.MaxRequestKeys+1)
	count := kv.Op{Kind: kv.OpRange, Span: kv.Prefix("k"), Range: &kv.RangeOptions{CountOnly: true}}
	got, err := f.Read(t.Context(), &kv.Request{Then: []kv.Op{count}})
	if err != nil || got.Results[0].Count != kv.MaxRequestKeys+1 {
		t.Errorf("count: got %+v, %v", got, err)
	}
	all := kv.Request{Then: []kv.Op{{Kind: kv.OpRange, Span: kv.Prefix("k")}}}
	if _, err := f.Read(t.Context(), &all); !errors.Is(err, kv.ErrAnswerLimit) || !strings.Contains(err.Error(), fmt.Sprint(kv.MaxAnswerBytes)) {
		t.Errorf("all: got %v, want ErrAnswerLimit with the limit", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	present := kv.Request{If: []kv.Compare{{Span: kv.Prefix("k"), Target: kv.TargetVersion, Relation: kv.Greater}}}
	for name, request := range map[string]kv.Request{"count": {Then: []kv.Op{count}}, "compare": present, "all": all} {
		if _, err := f.Read(ctx, &request); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want the context's error", name, err)
		}
	}
}
