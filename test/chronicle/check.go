package chronicle

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/kvorum/kvorum/kv"
)

// Report is what Check found, and how much it has checked.
type Report struct {
	Failures  []string
	Requests  int // answers that were compared with the model's
	Refusals  int // refusals that were
	Explained int // revisions that requests of unknown outcome explain
	Reads     int // reads that were compared with the state at their revision
	Watched   int // revisions that watches delivered, auditors not counted
	Unchecked int // of all of these, in gaps
	Known     int // revisions whose changes are known
}

// Add adds the counts of another report, and its failures.
func (r *Report) Add(other Report) {
	r.Failures = append(r.Failures, other.Failures...)
	r.Known += other.Known
	r.Requests += other.Requests
	r.Refusals += other.Refusals
	r.Explained += other.Explained
	r.Reads += other.Reads
	r.Watched += other.Watched
	r.Unchecked += other.Unchecked
}

// String returns the counts in words.
func (r Report) String() string {
	return fmt.Sprintf("%d revisions, %d of them of requests without an answer, %d answers, %d refusals, %d reads and %d revisions of watches (%d not compared)",
		r.Known, r.Explained, r.Requests, r.Refusals, r.Reads, r.Watched, r.Unchecked)
}

// failuresKept is the maximum number of failures of a report.
const failuresKept = 5

// check is one run of Check.
type check struct {
	*Chronicle
	past      *past
	claimed   map[uint64]*request // by the revision of its changes
	report    Report
	unknowns  []*request // not used yet
	following []uint64   // of each clock: the least revision of changes of a later call
}

// Check checks everything that is recorded. Nothing may be recorded meanwhile.
func (c *Chronicle) Check() Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := check{Chronicle: c, claimed: map[uint64]*request{}, past: build(c.changes, c.coveredLocked(), c.bases)}
	for _, s := range k.past.known {
		k.report.Known += int(s.to - s.after)
	}
	k.begins()
	k.answers()
	k.others()
	k.refusals()
	for i := range c.reads {
		k.read(&c.reads[i])
	}
	for _, w := range c.watches {
		k.watch(w)
	}
	return k.report
}

// coveredLocked returns the revisions of which auditors were told all changes.
func (c *Chronicle) coveredLocked() (covered []span) {
	for _, w := range c.watches {
		if w.auditor {
			covered = append(covered, span{w.after, w.position})
		}
	}
	return covered
}

func (k *check) fail(format string, args ...any) {
	if len(k.report.Failures) < failuresKept {
		k.report.Failures = append(k.report.Failures, fmt.Sprintf(format, args...))
	}
}

// checked counts what is checked, or not because it is unknown.
func (k *check) checked(known bool, count *int) bool {
	if known {
		*count++
	} else {
		k.report.Unchecked++
	}
	return known
}

// begins compares the states with which auditors began.
func (k *check) begins() {
	for _, revision := range sortedKeys(k.bases) {
		if k.past.knows(revision) {
			k.same("the state at the beginning of a watch", kv.All(), revision, k.bases[revision])
		}
	}
}

// same compares items with those in a span at a revision.
func (k *check) same(what string, s kv.Span, revision uint64, items []kv.Item) {
	want := k.without(k.past.in(s, revision))
	items = k.without(items)
	if slices.EqualFunc(items, want, func(a, b kv.Item) bool { return reflect.DeepEqual(a, b) }) {
		return
	}
	k.fail("%s, of revision %d and %v, differs from the state after it: %s", what, revision, s, firstDifference(items, want))
}

// without returns items without those of Apart.
func (k *check) without(items []kv.Item) []kv.Item {
	return slices.DeleteFunc(slices.Clone(items), func(it kv.Item) bool { return k.isApart(it.Key) })
}

// allApart reports whether the changes of a revision are all of keys of Apart.
func (k *check) allApart(events []kv.Event) bool {
	return !slices.ContainsFunc(events, func(e kv.Event) bool { return !k.isApart(e.Item.Key) })
}

// firstDifference describes where two lists of items differ first.
func firstDifference(got, want []kv.Item) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Sprintf("%s is missing", words(want[i]))
		case i >= len(want):
			return fmt.Sprintf("%s should not be there", words(got[i]))
		case !reflect.DeepEqual(got[i], want[i]):
			return fmt.Sprintf("%s instead of %s", words(got[i]), words(want[i]))
		}
	}
	return "they are equal"
}

// answers compares the answers of requests that were done with the model's.
func (k *check) answers() {
	for _, r := range k.requests {
		switch r.outcome {
		case unknown:
			k.unknowns = append(k.unknowns, r)
			continue
		case refused:
			continue
		}
		revision, changed := r.response.Revision, changes(&r.response, &r.Request)
		if changed && revision <= r.call.newest {
			k.fail("%s took revision %d, and %d was known before", words(r.Request), revision, r.call.newest)
		}
		if changed {
			if other := k.claimed[revision]; other != nil {
				k.fail("two requests took revision %d: %s and %s", revision, words(r.Request), words(other.Request))
			}
			k.claimed[revision] = r
		}
		k.answer(r, revision, changed)
	}
}

// answer compares one answer with the model's.
func (k *check) answer(r *request, revision uint64, changed bool) {
	before := revision
	known := k.past.knows(revision)
	if changed {
		before--
		known = k.past.knowsChanges(revision)
	}
	var t *tx
	var want kv.Response
	var code kv.Code
	if known {
		t, want, code, known = k.past.try(&r.Request, before)
	}
	if !k.checked(known, &k.report.Requests) {
		return
	}
	switch {
	case code != "":
		k.fail("%s was done at revision %d, and should have been refused: %s", words(r.Request), revision, code)
	case !reflect.DeepEqual(r.response, want):
		k.fail("the answer to %s differs from the model's, on the state at %d: %s instead of %s", words(r.Request), before, words(r.response), words(want))
	case changed && !reflect.DeepEqual(t.events, k.changes[revision]):
		k.fail("%s took revision %d, and its changes differ from those that watches tell: %s, and not %s",
			words(r.Request), revision, words(t.events), words(k.changes[revision]))
	}
}

// changes reports whether a response is that of a request which has changed something.
func changes(response *kv.Response, r *kv.Request) bool {
	ops := r.Then
	if !response.Succeeded {
		ops = r.Else
	}
	for i := range ops {
		if i >= len(response.Results) {
			return false
		}
		result := &response.Results[i]
		switch ops[i].Kind {
		case kv.OpPut, kv.OpAdd, kv.OpAppend:
			return true
		case kv.OpDelete:
			if result.Deleted > 0 || result.Existed {
				return true
			}
		case kv.OpRequest:
			if result.Nested != nil && changes(result.Nested, ops[i].Nested) {
				return true
			}
		}
	}
	return false
}

// others finds, for all revisions that no acknowledged request has taken, one of unknown
// outcome that explains the changes.
func (k *check) others() {
	for _, revision := range sortedKeys(k.changes) {
		if k.claimed[revision] != nil || !k.past.knowsChanges(revision) || k.allApart(k.changes[revision]) {
			continue
		}
		i := slices.IndexFunc(k.unknowns, func(r *request) bool { return k.explains(r, revision) })
		if i < 0 {
			k.fail("no request explains the changes of revision %d: %s", revision, words(k.changes[revision]))
			continue
		}
		k.claimed[revision] = k.unknowns[i]
		k.unknowns = slices.Delete(k.unknowns, i, i+1)
		k.report.Explained++
	}
}

func (k *check) explains(r *request, revision uint64) bool {
	if r.call.newest >= revision {
		return false
	}
	t, _, code, _ := k.past.try(&r.Request, revision-1)
	return code == "" && reflect.DeepEqual(t.events, k.changes[revision])
}

// windowLimit is the maximum number of revisions at which a refusal is tried.
const windowLimit = 500

// refusals checks that each refused request was rightly refused at some moment between its
// call and its return.
func (k *check) refusals() {
	k.following = make([]uint64, k.clock+2)
	k.following[k.clock+1] = k.past.last() + 1
	byCall := map[uint64]uint64{}
	for _, r := range k.requests {
		if r.outcome == done && changes(&r.response, &r.Request) {
			byCall[r.call.clock] = r.response.Revision
		}
	}
	for clock := k.clock; clock > 0; clock-- {
		k.following[clock] = k.following[clock+1]
		if revision, ok := byCall[clock]; ok {
			k.following[clock] = min(k.following[clock], revision)
		}
	}
	for _, r := range k.requests {
		if r.outcome == refused && slices.Contains(refusing, r.code) {
			k.refusal(r)
		}
	}
}

// refusing are the codes with which the state refuses a request, if no operation reads the
// past.
var refusing = []kv.Code{kv.ErrNotNumber.Code, kv.ErrOverflow.Code, kv.ErrValueLimit.Code}

func (k *check) refusal(r *request) {
	low, high := r.call.newest, k.following[r.returned] // changes of later calls come after it
	known := high > low && high-low <= windowLimit
	for revision := low; known && revision < high; revision++ {
		_, _, code, certain := k.past.try(&r.Request, revision)
		if code == r.code {
			k.report.Refusals++
			return
		}
		known = certain
	}
	if k.checked(known, &k.report.Refusals) {
		k.fail("%s was refused (%s), and should have been done at each revision from %d to %d", words(r.Request), r.code, low, high-1)
	}
}

// read compares a read with the state at its revision.
func (k *check) read(r *read) {
	unsure := r.counted && k.apart != "" && r.span.Contains(k.apart)
	if !k.checked(!unsure && k.past.knows(r.revision), &k.report.Reads) {
		return
	}
	if !r.counted {
		k.same("a read of "+r.who, r.span, r.revision, r.items)
	} else if want := len(k.past.in(r.span, r.revision)); r.count != want {
		k.fail("%s counts %d keys of %v at revision %d, and there are %d", r.who, r.count, r.span, r.revision, want)
	}
}

// watch compares what a watch was told with the changes between its beginning and its end.
func (k *check) watch(w *Watch) {
	if w.whole && k.past.knows(w.snapshot) {
		k.same("the snapshot of a watch of "+w.who, w.options.Span, w.snapshot, w.items)
	}
	if w.auditor {
		k.audit(w)
		return
	}
	got := 0
	for _, revision := range sortedKeys(k.changes) {
		if revision <= w.after || revision > w.position {
			continue
		}
		for ; got < len(w.revisions) && w.revisions[got] < revision; got++ {
			k.invented(w, got)
		}
		var events []kv.Event
		if got < len(w.revisions) && w.revisions[got] == revision {
			events = w.events[got]
			got++
		}
		if !k.checked(k.past.knowsChanges(revision), &k.report.Watched) {
			continue
		}
		if want := wanted(w.options, k.changes[revision]); !reflect.DeepEqual(events, want) {
			k.fail("the watch of %s (%v, from %d to %d) delivers other changes of revision %d: %s instead of %s",
				w.who, w.options.Span, w.after+1, w.position, revision, words(events), words(want))
		}
	}
	for ; got < len(w.revisions); got++ {
		k.invented(w, got)
	}
}

// invented judges the i-th revision of a watch, of which no auditor was told.
func (k *check) invented(w *Watch, i int) {
	if k.checked(k.past.knowsChanges(w.revisions[i]), &k.report.Watched) {
		k.fail("the watch of %s delivers revision %d, which has no changes: %s", w.who, w.revisions[i], words(w.events[i]))
	}
}

// wanted returns the events of a revision that a watch with these options is told.
func wanted(options kv.WatchOptions, all []kv.Event) (events []kv.Event) {
	for _, e := range all {
		if !options.Span.Contains(e.Item.Key) || !options.Kinds.Has(e.Kind) {
			continue
		}
		if !options.PrevItems {
			e.Prev = nil
		}
		events = append(events, e)
	}
	return events
}

// audit checks that an auditor was told all revisions, and the items before each.
func (k *check) audit(w *Watch) {
	got := w.revisions
	for _, revision := range sortedKeys(k.changes) {
		if revision <= w.after || revision > w.position {
			continue
		}
		if len(got) == 0 || got[0] != revision {
			k.fail("the watch of %s, from %d to %d, lacks revision %d: %s", w.who, w.after+1, w.position, revision, words(k.changes[revision]))
			return
		}
		got = got[1:]
		for _, e := range k.changes[revision] {
			prev, existed := k.past.get(e.Item.Key, revision-1)
			if k.past.knowsChanges(revision) && !k.isApart(e.Item.Key) && (existed != (e.Prev != nil) || existed && !reflect.DeepEqual(*e.Prev, prev)) {
				k.fail("revision %d tells of another item before it than there was: %s, and not %s", revision, words(e), words(prev))
			}
		}
	}
}
