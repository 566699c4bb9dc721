package chronicle_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chronicle"
)

// run is a store, which is a state machine, with a chronicle, an auditor and a generator.
type run struct {
	t     *testing.T
	state *fsm.FSM
	index uint64
	c     *chronicle.Chronicle
	audit *chronicle.Watch
	told  kv.Watch // of the auditor
	gen   chronicle.Generator
	next  int
}

func newRun(t *testing.T, seed uint64) *run {
	r := &run{t: t, state: fsm.New(fsm.Config{}), c: chronicle.New()}
	t.Cleanup(func() { _ = r.state.Close() })
	r.gen = chronicle.Generator{
		Rand: rand.New(rand.NewPCG(seed, 0)), Prefix: "t-", Keys: []string{"t-a", "t-b", "t-c", "t-d"},
		Value: func() string { r.next++; return fmt.Sprint("v", r.next) },
	}
	r.apply(fsm.HistoryRequest())
	r.audit = r.c.Auditor("n1")
	r.told = r.watch(r.audit)
	return r
}

// apply applies an entry with one request.
func (r *run) apply(requests wire.Requests) (kv.Response, error) {
	r.index++
	entry := fsm.AppendEntry(nil, int64(r.index), requests.Version, requests.Count, requests.Data)
	data, ok := r.state.Apply(&raft.Log{Index: r.index, Term: 1, Type: raft.LogCommand, Data: entry}).([]byte)
	if !ok {
		r.t.Fatal("not applied")
	}
	one, _, err := wire.Take(data, 1)
	if err != nil {
		r.t.Fatal(err)
	}
	return fsm.DecodeResponse(one)
}

// do does a request and records it.
func (r *run) do(request kv.Request) {
	call := r.c.Call()
	response, err := r.apply(fsm.Encode(wire.Requests{}, request))
	if err != nil {
		r.c.Refused(call, request, err)
		return
	}
	r.must(r.c.Done(call, request, response))
}

func (r *run) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// watch opens a watch of the store.
func (r *run) watch(w *chronicle.Watch) kv.Watch {
	watch, err := r.state.Watch(w.Options())
	r.must(err)
	r.t.Cleanup(func() { _ = watch.Close() })
	r.must(w.Opened(watch.Revision()))
	return watch
}

// drain records all that a watch has to deliver, and returns the first error.
func (r *run) drain(w *chronicle.Watch, watch kv.Watch) error {
	ended, cancel := context.WithCancel(r.t.Context())
	cancel()
	for {
		b, err := watch.Next(ended)
		if err != nil {
			return w.Reached(watch.Revision(), r.state.Revision())
		}
		if err := w.Received(b); err != nil {
			return err
		}
	}
}

// play does random requests, some of which have no answer.
func (r *run) play(requests int) {
	for range requests {
		r.gen.Newest = r.state.Revision()
		request := r.gen.Request()
		switch r.gen.Rand.IntN(12) {
		case 0:
			r.c.Unknown(r.c.Call(), request) // never done
		case 1:
			call := r.c.Call()
			_, _ = r.apply(fsm.Encode(wire.Requests{}, request))
			r.c.Unknown(call, request)
		default:
			r.do(request)
		}
		if r.gen.Rand.IntN(3) == 0 {
			r.read()
		}
		r.must(r.drain(r.audit, r.told))
	}
}

// read reads at some revision.
func (r *run) read() {
	revision := 1 + r.gen.Rand.Uint64N(r.state.Revision())
	view, err := r.state.View(revision)
	r.must(err)
	defer func() { _ = view.Close() }()
	past := chronicle.Past{Who: "n1", Span: kv.All(), Revision: revision, Answered: view.Revision()}
	past.Items = slices.Collect(view.Ascend(kv.All()))
	r.must(r.c.ReadPast(r.c.Call(), past))
	past.Span, past.Counted, past.Count, past.Items = kv.Prefix("t-"), true, view.Count(kv.Prefix("t-")), nil
	r.must(r.c.ReadPast(r.c.Call(), past))
}

// failures returns what Check finds, and fails if it has checked nothing.
func (r *run) failures() string {
	report := r.c.Check()
	if report.Requests == 0 || report.Known == 0 {
		r.t.Errorf("nothing was checked: %+v", report)
	}
	return strings.Join(report.Failures, "\n")
}

// TestChronicle_Right shows that nothing is found in what a right store does, and that all
// of it is checked.
func TestChronicle_Right(t *testing.T) {
	var sum chronicle.Report
	for seed := range uint64(30) {
		r := newRun(t, seed)
		r.play(30)
		begin := r.state.Revision() / 2
		var watches []*chronicle.Watch
		for _, options := range []kv.WatchOptions{
			{Span: kv.Prefix("t-"), From: begin},
			{Span: kv.One("t-a"), From: 1, PrevItems: true},
			{Span: kv.All(), Snapshot: true, Kinds: kv.Kinds(kv.EventDelete)},
			{Span: kv.Span{Start: "t-b", End: "t-d"}, PrevItems: true},
		} {
			w := r.c.Watch(r.c.Call(), "n2", options)
			watch := r.watch(w)
			r.must(r.drain(w, watch))
			watches = append(watches, w)
		}
		r.play(30)
		for _, w := range watches { // on another node, so to speak
			w.Again("n3")
			r.must(r.drain(w, r.watch(w)))
		}
		if found := r.failures(); found != "" {
			t.Errorf("seed %d: %s", seed, found)
		}
		report := r.c.Check()
		sum.Requests, sum.Refusals, sum.Explained = sum.Requests+report.Requests, sum.Refusals+report.Refusals, sum.Explained+report.Explained
		sum.Reads, sum.Watched, sum.Unchecked = sum.Reads+report.Reads, sum.Watched+report.Watched, sum.Unchecked+report.Unchecked
	}
	if sum.Requests < 1000 || sum.Refusals == 0 || sum.Explained == 0 || sum.Reads == 0 || sum.Watched == 0 || sum.Unchecked > sum.Requests/20 {
		t.Errorf("checked: %+v", sum)
	}
}
