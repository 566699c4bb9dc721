package fsm_test

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// TestFSM_Deterministic shows that the same log makes the same snapshot, however raft
// groups its entries, and with any number of shards.
func TestFSM_Deterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var logs []*raft.Log
		for i, b := range rapid.SliceOfN(batchGen(), 1, 20).Draw(t, "log") {
			logs = append(logs, b.entry(uint64(2*i+1)))
		}
		one, other := fsm.New(fsm.Config{Shards: 1}), fsm.New(fsm.Config{Shards: 16})
		var want []any
		for _, l := range logs {
			want = append(want, one.Apply(l))
		}
		var got []any
		for rest := logs; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "group")
			got = append(got, other.ApplyBatch(rest[:n])...)
			rest = rest[n:]
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("results differ: got %v, want %v", got, want)
		}
		if a, b := snapshotOf(t, one), snapshotOf(t, other); !bytes.Equal(a, b) {
			t.Fatalf("snapshots differ:\n%x\n%x", a, b)
		}
	})
}

// TestFSM_Model compares the state machine with a plain map, also after snapshots and
// restores.
func TestFSM_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fsm.New(fsm.Config{Shards: 4})
		m := model{items: map[string]omap.Item{}, retired: map[string]bool{}, newest: map[byte]uint64{}}
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				b := batchGen().Draw(t, "batch")
				m.index += rapid.Uint64Range(1, 3).Draw(t, "step")
				data, _ := f.Apply(b.entry(m.index)).([]byte)
				if got, want := responsesOf(t, data), m.apply(b); !reflect.DeepEqual(got, want) {
					t.Fatalf("got responses %v, want %v", got, want)
				}
			},
			"restore": func(t *rapid.T) {
				snapshot := snapshotOf(t, f)
				f = fsm.New(fsm.Config{Shards: rapid.IntRange(1, 8).Draw(t, "shards")})
				f.Apply(entry(1000, 1, 1<<60, putCmd("old", "state"), retireCmd("old")))
				mustRestore(t, f, snapshot)
			},
			"": func(t *rapid.T) { m.check(t, f) },
		})
	})
}

// model is a simple implementation with the behaviour that an FSM must have.
type model struct {
	items    map[string]omap.Item
	retired  map[string]bool
	index    uint64
	revision uint64
	clock    int64
	newest   map[byte]uint64 // index of the newest entry, by command version
}

// apply does the requests one after the other, each on a copy of the items. The copy
// replaces the items if the request is done.
func (m *model) apply(b testBatch) []kv.Response {
	m.clock = max(m.clock, b.clock)
	version := byte(1)
	responses := []kv.Response{}
	for _, r := range b.requests {
		version = max(version, r.encoded().Version)
		if r.retire != nil {
			m.retired[*r.retire] = true
		}
		responses = append(responses, m.request(r.Request))
	}
	m.newest[version] = m.index
	return responses
}

func (m *model) request(r kv.Request) kv.Response {
	response := kv.Response{Succeeded: true}
	for _, c := range r.If {
		old, exists := m.items[c.Key]
		holds := c.Kind == kv.IsAbsent && !exists ||
			c.Kind == kv.IsPresent && exists ||
			c.Kind == kv.HasModRevision && exists && c.Revision == old.ModRevision
		response.Succeeded = response.Succeeded && holds
	}
	after, next := maps.Clone(m.items), m.revision
	for _, op := range r.Then {
		old, exists := m.items[op.Key]
		result := kv.OpResult{Existed: exists, ModRevision: old.ModRevision}
		switch {
		case !response.Succeeded:
		case op.Kind == kv.OpPut:
			next = m.revision + 1
			it := omap.Item{Key: op.Key, Value: op.Value, CreateRevision: next, ModRevision: next, Version: old.Version + 1}
			if exists {
				it.CreateRevision = old.CreateRevision
			}
			after[op.Key] = it
			result.ModRevision = next
		case exists:
			next = m.revision + 1
			delete(after, op.Key)
			result.ModRevision = 0
		}
		response.Results = append(response.Results, result)
	}
	m.items, m.revision = after, next
	response.Revision = m.revision
	return response
}

func (m *model) check(t *rapid.T, f *fsm.FSM) {
	from, version := rapid.Uint64Range(0, m.index+1).Draw(t, "from"), byte(1)
	for v, index := range m.newest {
		if index >= from {
			version = max(version, v)
		}
	}
	if got := f.WrittenSince(from); got != version {
		t.Fatalf("since %d: got command version %d, want %d", from, got, version)
	}
	if f.AppliedIndex() != m.index || f.Revision() != m.revision || f.Clock() != m.clock {
		t.Fatalf("got index %d, revision %d, clock %d, want %d, %d, %d",
			f.AppliedIndex(), f.Revision(), f.Clock(), m.index, m.revision, m.clock)
	}
	v := f.View()
	if v.AppliedIndex != m.index || v.Revision != m.revision || v.Len() != len(m.items) || f.Len() != len(m.items) {
		t.Fatalf("got view %+v of %d keys, want index %d, revision %d, %d keys", v, v.Len(), m.index, m.revision, len(m.items))
	}
	var want []omap.Item
	for _, k := range slices.Sorted(maps.Keys(m.items)) {
		want = append(want, m.items[k])
		if got, ok := f.Get(k); !ok || !equal(got, m.items[k]) {
			t.Fatalf("Get(%q): got %v %v, want %v", k, got, ok, m.items[k])
		}
	}
	if got := slices.Collect(v.All("", "")); !slices.EqualFunc(got, want, equal) {
		t.Fatalf("got items %v, want %v", got, want)
	}
	for _, id := range []string{"", "a", "b", "old"} {
		if f.Retired(id) != m.retired[id] {
			t.Fatalf("Retired(%q): got %v, want %v", id, f.Retired(id), m.retired[id])
		}
	}
}

// testBatch is the contents of an entry.
type testBatch struct {
	clock    int64
	requests []testRequest
}

// testRequest is a request of clients or, if that has no operation, one of the leader's
// own.
type testRequest struct {
	kv.Request
	retire *string
	clock  bool
}

func (r testRequest) encoded() wire.Requests {
	switch {
	case r.retire != nil:
		return fsm.RetireRequest(*r.retire)
	case r.clock:
		return fsm.ClockRequest()
	case len(r.Then) == 0:
		return fsm.CheckpointRequest()
	}
	return fsm.Encode(wire.Requests{}, r.Request)
}

func (b testBatch) entry(index uint64) *raft.Log {
	var all []wire.Requests
	for _, r := range b.requests {
		all = append(all, r.encoded())
	}
	return entry(index, 1, b.clock, all...)
}

// batchGen makes batches on few keys, so that several requests change the same key.
func batchGen() *rapid.Generator[testBatch] {
	return rapid.Custom(func(t *rapid.T) testBatch {
		return testBatch{
			clock:    rapid.Int64Range(-5, 1000).Draw(t, "clock"),
			requests: rapid.SliceOfN(testRequestGen(), 0, 6).Draw(t, "requests"),
		}
	})
}

func testRequestGen() *rapid.Generator[testRequest] {
	return rapid.Custom(func(t *rapid.T) testRequest {
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			id := rapid.StringMatching(`[ab]{0,1}`).Draw(t, "id")
			return testRequest{retire: &id}
		case 1:
			return testRequest{clock: true}
		case 2:
			return testRequest{}
		}
		return testRequest{Request: requestGen().Draw(t, "request")}
	})
}

// requestGen makes requests of clients, most of them with one operation.
func requestGen() *rapid.Generator[kv.Request] {
	key := rapid.StringMatching(`[abc]{1,2}`)
	return rapid.Custom(func(t *rapid.T) kv.Request {
		var r kv.Request
		for range rapid.SampledFrom([]int{0, 0, 1, 1, 2, 3}).Draw(t, "compares") {
			c := kv.Compare{Kind: kv.CompareKind(rapid.IntRange(1, 3).Draw(t, "compare")), Key: key.Draw(t, "key")}
			if c.Kind == kv.HasModRevision {
				c.Revision = rapid.Uint64Range(0, 30).Draw(t, "revision")
			}
			r.If = append(r.If, c)
		}
		keys := rapid.SliceOfNDistinct(key, 1, rapid.SampledFrom([]int{1, 1, 1, 4}).Draw(t, "operations"), rapid.ID[string]).Draw(t, "keys")
		for _, k := range keys {
			op := kv.Op{Kind: kv.OpKind(rapid.IntRange(1, 2).Draw(t, "operation")), Key: k}
			if op.Kind == kv.OpPut {
				op.Value = rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "value")
			}
			r.Then = append(r.Then, op)
		}
		if len(r.Then) == 1 && len(r.If) == 1 && rapid.Bool().Draw(t, "same key") {
			r.If[0].Key = r.Then[0].Key
		}
		return r
	})
}
