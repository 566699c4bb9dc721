package fsm_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// TestFSM_Deterministic shows that the same log makes the same snapshot and the same
// hashes, however raft groups its entries, and whether or not a replica was restored.
func TestFSM_Deterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var logs []*raft.Log
		for i, b := range rapid.SliceOfN(batchGen(), 1, 20).Draw(t, "log") {
			logs = append(logs, b.entry(uint64(2*i+1)))
		}
		logs = append(logs, entry(1000, 1, 0, checkpointCmd))
		one, other := fsm.New(fsm.Config{}), fsm.New(fsm.Config{})
		var want []any
		for _, l := range logs {
			want = append(want, one.Apply(l))
		}
		var got []any
		for rest := logs; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "group")
			got = append(got, other.ApplyBatch(rest[:n])...)
			if rest = rest[n:]; rapid.Bool().Draw(t, "restored") && len(rest) > 0 {
				snapshot := snapshotOf(t, other)
				other = fsm.New(fsm.Config{})
				mustRestore(t, other, snapshot)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("results differ: got %v, want %v", got, want)
		}
		if a, b := snapshotOf(t, one), snapshotOf(t, other); !bytes.Equal(a, b) {
			t.Fatalf("snapshots differ:\n%x\n%x", a, b)
		}
		if a, b := one.Checkpoints(), other.Checkpoints(); a[len(a)-1] != b[len(b)-1] {
			t.Fatalf("hashes differ: %v and %v", a, b)
		}
	})
}

// TestFSM_Model compares the state machine with plain maps, also after snapshots and
// restores.
func TestFSM_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fsm.New(fsm.Config{})
		m := newModel()
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				b := batchGen().Draw(t, "batch")
				m.index += rapid.Uint64Range(1, 3).Draw(t, "step")
				data, _ := f.Apply(b.entry(m.index)).([]byte)
				if got, want := outcomesOf(t, data), m.apply(b); !reflect.DeepEqual(got, want) {
					t.Fatalf("got  %s\nwant %s", inWords(got), inWords(want))
				}
			},
			"restore": func(t *rapid.T) {
				snapshot := snapshotOf(t, f)
				f = fsm.New(fsm.Config{})
				f.Apply(entry(1000, 1, 1<<60, putCmd("old", "state"), retireCmd("old")))
				mustRestore(t, f, snapshot)
			},
			"": func(t *rapid.T) { m.check(t, f) },
		})
	})
}

// outcome is a response, or the class of the refusal.
type outcome struct {
	kv.Response
	refused kv.Code
}

// inWords returns outcomes as text, nested responses included.
func inWords(all []outcome) string {
	text, _ := json.Marshal(all)
	return string(text)
}

func outcomesOf(t tb, data []byte) []outcome {
	all := []outcome{}
	for len(data) > 0 {
		one, rest, err := wire.Take(data, 1)
		if err != nil {
			t.Fatalf("responses: %v", err)
		}
		response, err := fsm.DecodeResponse(one)
		refused := (*fsm.RefusedError)(nil)
		switch {
		case errors.As(err, &refused):
			o := outcome{refused: kv.Classify(err).Code}
			o.Replayed = errors.As(err, new(*kv.ReplayedError))
			all = append(all, o)
		case err != nil:
			t.Fatalf("response: %v", err)
		default:
			all = append(all, outcome{Response: response})
		}
		data = rest
	}
	return all
}

// model is a simple implementation with the behaviour that an FSM must have.
type model struct {
	items    contents
	retired  map[string]bool
	index    uint64
	revision uint64
	clock    int64
	newest   map[byte]uint64 // index of the newest entry, by command version
	history  bool
	compact  uint64
	past     map[uint64]contents // by their revisions
	settings kv.Settings
	kept     []modelAnswer // in the order of their requests
}

// modelAnswer is the answer to a request with an idempotency key.
type modelAnswer struct {
	key, content string
	time         int64
	outcome      outcome
}

// contents are the items at one revision, by their keys.
type contents map[string]kv.Item

// at returns the items without those whose deadlines the clock has reached.
func (c contents) at(clock int64) contents {
	visible := contents{}
	for key, it := range c {
		if it.Deadline == 0 || clock < it.Deadline*int64(time.Millisecond) {
			visible[key] = it
		}
	}
	return visible
}

// without returns the items without those of some keys.
func (c contents) without(keys []string) contents {
	rest := maps.Clone(c)
	for _, key := range keys {
		delete(rest, key)
	}
	return rest
}

func newModel() *model {
	return &model{items: contents{}, retired: map[string]bool{}, newest: map[byte]uint64{}, past: map[uint64]contents{0: {}}}
}

// apply does the requests one after the other, each on a copy of the items. The copy
// replaces the items if the request is done.
func (m *model) apply(b testBatch) []outcome {
	m.clock = max(m.clock, b.clock)
	if version := b.version(); version >= 3 && !m.history {
		if m.history = true; m.revision > 0 {
			m.compact = m.revision + 1
		}
		m.revision++
		m.past[m.revision] = m.items
	}
	m.drop(1000)
	all := []outcome{}
	for _, r := range b.requests {
		o := outcome{Response: kv.Response{Succeeded: true, Revision: m.revision}}
		switch {
		case r.retire != nil:
			m.retired[*r.retire] = true
		case r.settings != nil:
			m.settings = *r.settings
		case r.compact != nil:
			o = m.compactTo(*r.compact, o)
		case r.IdempotencyKey != "":
			o = m.once(r.Request)
		case r.expire:
			m.remove(m.due())
			o.Revision = m.revision
		case !r.internal():
			o = m.request(&r.Request)
		}
		all = append(all, o)
	}
	if !m.history {
		m.compact = m.revision
	}
	m.newest[b.version()] = m.index
	return all
}

// expired reports whether an answer is past the window.
func (m *model) expired(a modelAnswer) bool {
	return m.clock-a.time >= int64(m.settings.Idempotency.WithDefaults().Window)
}

// drop drops up to most of the oldest answers that are past the window.
func (m *model) drop(most int) {
	for ; most > 0 && len(m.kept) > 0 && m.expired(m.kept[0]); most-- {
		m.kept = m.kept[1:]
	}
}

// once does a request with an idempotency key, unless there is an answer to it.
func (m *model) once(r kv.Request) outcome {
	key := r.IdempotencyKey
	r.IdempotencyKey = ""
	content := string(encode(r).Data)
	for _, a := range slices.Backward(m.kept) {
		if a.key != key {
			continue
		}
		if m.expired(a) {
			break
		}
		if a.content != content {
			return outcome{refused: kv.ErrIdempotencyReused.Code}
		}
		a.outcome.Replayed = true
		return a.outcome
	}
	limit := int(m.settings.Idempotency.WithDefaults().MaxKeys)
	if m.drop(max(0, len(m.kept)-limit+1)); len(m.kept) >= limit {
		return outcome{refused: kv.ErrOverloaded.Code}
	}
	o := m.request(&r)
	m.kept = append(m.kept, modelAnswer{key, content, m.clock, o})
	return o
}

func (m *model) compactTo(revision uint64, done outcome) outcome {
	switch {
	case revision == 0: // all of it, at a revision of its own
		m.revision++
		m.compact, m.past[m.revision] = m.revision, m.items
		done.Revision = m.revision
		return done
	case revision <= m.compact:
		return outcome{refused: kv.ErrCompacted.Code}
	case revision > m.revision:
		return outcome{refused: kv.ErrFuture.Code}
	}
	m.compact = revision
	return done
}

// due returns the keys whose deadlines the clock has reached.
func (m *model) due() []string {
	return slices.Collect(maps.Keys(m.items.without(slices.Collect(maps.Keys(m.items.at(m.clock))))))
}

// remove removes keys at a revision, if there are any.
func (m *model) remove(keys []string) {
	if len(keys) > 0 {
		m.revision++
		m.items = m.items.without(keys)
		m.past[m.revision] = m.items
	}
}

func (m *model) request(r *kv.Request) outcome {
	before := m.items.at(m.clock)
	t := modelTx{m: m, before: before, now: maps.Clone(before), newest: m.revision}
	if refused := t.plan(r); refused != "" {
		return outcome{refused: refused}
	}
	expired, written := m.due(), t.writes(r)
	m.remove(slices.DeleteFunc(slices.Clone(expired), func(key string) bool { return !slices.Contains(written, key) }))
	response := t.run(r)
	if t.changed {
		m.revision++
		for _, key := range m.due() {
			t.now[key] = m.items[key]
		}
		m.items = t.now
		m.past[m.revision] = m.items
	}
	return outcome{Response: response}
}

// modelTx does one request.
type modelTx struct {
	m           *model
	before, now contents
	newest      uint64 // the previous revision
	changed     bool
}

// writes returns the keys that the request gives values.
func (t *modelTx) writes(r *kv.Request) (keys []string) {
	for _, o := range t.branch(r) {
		switch o.Kind {
		case kv.OpPut, kv.OpAdd, kv.OpAppend:
			keys = append(keys, o.Key)
		case kv.OpRequest:
			keys = append(keys, t.writes(o.Nested)...)
		}
	}
	return keys
}

// in returns the items of a span, in order.
func (c contents) in(span kv.Span) (items []kv.Item) {
	for _, key := range slices.Sorted(maps.Keys(c)) {
		if span.Contains(key) {
			items = append(items, c[key])
		}
	}
	return items
}

func (t *modelTx) holds(r *kv.Request) bool {
	for i := range r.If {
		items := t.before.in(r.If[i].Span)
		if len(items) == 0 && !r.If[i].Holds(nil) {
			return false
		}
		for j := range items {
			if !r.If[i].Holds(&items[j]) {
				return false
			}
		}
	}
	return true
}

// branch returns the operations that are done.
func (t *modelTx) branch(r *kv.Request) []kv.Op {
	if t.holds(r) {
		return r.Then
	}
	return r.Else
}

func (t *modelTx) plan(r *kv.Request) (refused kv.Code) {
	for _, o := range t.branch(r) {
		switch o.Kind {
		case kv.OpRequest:
			refused = t.plan(o.Nested)
		case kv.OpAdd:
			if it, ok := t.before[o.Key]; ok {
				n, err := parse(it.Value)
				if sum := n + o.Delta; err != nil {
					refused = kv.ErrNotNumber.Code
				} else if (sum > n) != (o.Delta > 0) && o.Delta != 0 {
					refused = kv.ErrOverflow.Code
				}
			}
		case kv.OpAppend:
			if len(t.before[o.Key].Value)+len(o.Value) > o.MaxBytes {
				refused = kv.ErrValueLimit.Code
			}
		case kv.OpRange:
			if o.Range != nil && o.Range.Revision != 0 {
				switch {
				case o.Range.Revision < t.m.compact:
					refused = kv.ErrCompacted.Code
				case o.Range.Revision > t.m.revision:
					refused = kv.ErrFuture.Code
				}
			}
		}
		if refused != "" {
			return refused
		}
	}
	return ""
}

// parse returns the number in a value.
func parse(value []byte) (n int64, err error) {
	if len(value) > len("-9223372036854775808") {
		return 0, errors.New("too long")
	}
	return strconv.ParseInt(string(value), 10, 64)
}

// revision returns the one that the request takes, or that of the store so far.
func (t *modelTx) revision() uint64 {
	if t.changed {
		return t.m.revision + 1
	}
	return t.m.revision
}

func (t *modelTx) run(r *kv.Request) kv.Response {
	response := kv.Response{Succeeded: t.holds(r)}
	ops := t.branch(r)
	for i := range ops {
		response.Results = append(response.Results, t.do(&ops[i]))
	}
	if !response.Succeeded && len(ops) == 0 {
		for _, o := range r.Then {
			key, one := o.Span.Key()
			if !one {
				key = o.Key
			}
			it, existed := t.now[key]
			response.Results = append(response.Results, kv.Result{Existed: existed, ModRevision: it.ModRevision})
		}
	}
	response.Revision = t.revision()
	return response
}

func (t *modelTx) do(o *kv.Op) (result kv.Result) {
	switch o.Kind {
	case kv.OpDelete:
		return t.delete(o)
	case kv.OpRange:
		return t.read(o)
	case kv.OpRequest:
		nested := t.run(o.Nested)
		return kv.Result{Nested: &nested}
	}
	old, existed := t.now[o.Key]
	if touch := o.Kind == kv.OpTouch || o.Kind == kv.OpPersist; touch && (!existed || o.TTL == 0 && old.Deadline == 0) {
		if result = (kv.Result{Existed: existed, ModRevision: old.ModRevision}); existed && o.WantPrev {
			result.Prev = &old
		}
		return result
	}
	t.changed = true
	revision := t.revision()
	it := kv.Item{
		Key: o.Key, Value: o.Value, CreateRevision: revision, ModRevision: revision, Version: old.Version + 1,
		Flags: o.Flags, ContentType: o.ContentType,
	}
	if o.TTL > 0 {
		it.Deadline = (t.m.clock+int64(time.Millisecond)-1)/int64(time.Millisecond) + o.TTL.Milliseconds()
	}
	if existed {
		it.CreateRevision = old.CreateRevision
	}
	result = kv.Result{Existed: existed, ModRevision: revision}
	if o.Kind != kv.OpPut {
		it.Flags, it.ContentType = old.Flags, old.ContentType
	}
	if existed && (o.Kind == kv.OpAdd || o.Kind == kv.OpAppend) {
		it.Deadline = old.Deadline
	}
	result.Deadline = it.Deadline
	switch o.Kind {
	case kv.OpTouch, kv.OpPersist:
		it.Value = old.Value
	case kv.OpAdd:
		n, _ := parse(old.Value)
		result.Number = n + o.Delta
		it.Value = []byte(fmt.Sprint(result.Number))
	case kv.OpAppend:
		it.Value = slices.Concat(old.Value, o.Value)
		result.Number = int64(len(it.Value))
	}
	if it.Value = plain(it.Value); existed && o.WantPrev {
		result.Prev = &old
	}
	t.now[o.Key] = it
	return result
}

// plain returns nil for a value without bytes, as a decoded one is.
func plain(value []byte) []byte {
	if len(value) == 0 {
		return nil
	}
	return value
}

func (t *modelTx) delete(o *kv.Op) (result kv.Result) {
	items := t.now.in(o.Span)
	result.Deleted = len(items)
	if _, one := o.Span.Key(); one {
		result.Existed = len(items) > 0
	}
	for _, it := range items {
		t.changed = true
		delete(t.now, it.Key)
	}
	if o.WantPrev {
		result.Items = items
	}
	return result
}

func (t *modelTx) read(o *kv.Op) (result kv.Result) {
	var how kv.RangeOptions
	if o.Range != nil {
		how = *o.Range
	}
	from := t.now
	switch how.Revision {
	case 0:
	case t.newest:
		from = t.before
	default:
		from = t.m.past[how.Revision]
	}
	items := from.in(o.Span)
	if result.Count = len(items); how.CountOnly {
		return result
	}
	items = slices.DeleteFunc(items, func(it kv.Item) bool { return !how.Keeps(&it) })
	if how.Reverse {
		slices.Reverse(items)
	}
	if how.Limit > 0 && len(items) > how.Limit {
		items, result.More = items[:how.Limit], true
	}
	for i := range items {
		if how.KeysOnly {
			items[i].Value = nil
		}
	}
	if len(items) > 0 {
		result.Items = items
	}
	return result
}

func (m *model) check(t *rapid.T, f *fsm.FSM) {
	from, version := rapid.Uint64Range(0, m.index+1).Draw(t, "from"), byte(1)
	for v, index := range m.newest {
		if index >= from || v >= 3 { // snapshots need it
			version = max(version, v)
		}
	}
	if got := f.WrittenSince(from); got != version {
		t.Fatalf("since %d: got command version %d, want %d", from, got, version)
	}
	if f.AppliedIndex() != m.index || f.Revision() != m.revision || f.Clock() != m.clock || f.CompactRevision() != m.compact || f.History() != m.history {
		t.Fatalf("got index %d, revision %d, clock %d, compact revision %d, history %t, want %d, %d, %d, %d, %t",
			f.AppliedIndex(), f.Revision(), f.Clock(), f.CompactRevision(), f.History(), m.index, m.revision, m.clock, m.compact, m.history)
	}
	if !reflect.DeepEqual(f.Settings(), m.settings) || f.Len() != len(m.items) {
		t.Fatalf("got settings %+v and %d keys, want %+v and %d", f.Settings(), f.Len(), m.settings, len(m.items))
	}
	if got := f.Idempotency().Keys; got != int64(len(m.kept)) {
		t.Fatalf("got %d kept answers, want %d", got, len(m.kept))
	}
	visible := m.items.at(m.clock)
	for key := range m.items {
		want, exists := visible[key]
		if got, ok := f.Get(key); ok != exists || !equal(got, want) {
			t.Fatalf("Get(%q): got %v %v, want %v %v", key, got, ok, want, exists)
		}
	}
	if got, want := itemsOf(t, f), visible.in(kv.All()); !slices.EqualFunc(got, want, equal) {
		t.Fatalf("got items %v, want %v", got, want)
	}
	m.checkDeadlines(t, f)
	for _, id := range []string{"", "a", "b", "old"} {
		if f.Retired(id) != m.retired[id] {
			t.Fatalf("Retired(%q): got %v, want %v", id, f.Retired(id), m.retired[id])
		}
	}
	m.checkPast(t, f)
}

// checkDeadlines compares the index of deadlines.
func (m *model) checkDeadlines(t *rapid.T, f *fsm.FSM) {
	next, n := int64(0), 0
	for _, it := range m.items {
		if it.Deadline != 0 {
			if n++; next == 0 || it.Deadline < next {
				next = it.Deadline
			}
		}
	}
	if f.NextDeadline() != next || f.Expiring() != n {
		t.Fatalf("got %d deadlines from %d on, want %d from %d on", f.Expiring(), f.NextDeadline(), n, next)
	}
}

// checkPast reads at any revision.
func (m *model) checkPast(t *rapid.T, f *fsm.FSM) {
	revision := rapid.Uint64Range(1, m.revision+2).Draw(t, "past")
	v, err := f.View(revision)
	it, found, getErr := f.GetPast("a", revision)
	class := kv.Classify(err)
	if kv.Classify(getErr) != class {
		t.Fatalf("revision %d: got %v and %v", revision, err, getErr)
	}
	switch {
	case revision < m.compact:
		if class != kv.ErrCompacted {
			t.Fatalf("revision %d, compact revision %d: got %v", revision, m.compact, err)
		}
		return
	case revision > m.revision:
		if class != kv.ErrFuture {
			t.Fatalf("revision %d of %d: got %v", revision, m.revision, err)
		}
		return
	case err != nil:
		t.Fatal(err)
	}
	defer func() { _ = v.Close() }()
	want := m.past[revision]
	if revision == m.revision {
		want = want.at(m.clock)
	}
	if got := slices.Collect(v.Ascend(kv.All())); !slices.EqualFunc(got, want.in(kv.All()), equal) {
		t.Fatalf("revision %d: got items %v, want %v", revision, got, want)
	}
	if old, existed := want["a"]; existed != found || found && !equal(it, old) {
		t.Fatalf("revision %d: got %v, %t, want %v", revision, it, found, old)
	}
}
