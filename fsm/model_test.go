package fsm_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/store"
)

// The same log makes the same bytes, however raft groups its entries and
// however many shards there are.
func TestFSM_Deterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var logs []*raft.Log
		for i, b := range rapid.SliceOfN(batchGen(), 1, 20).Draw(t, "log") {
			logs = append(logs, entry(uint64(2*i+1), 1, b.Clock, b.Commands...))
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

// The state machine does what a plain map does, across snapshots and restores.
func TestFSM_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fsm.New(fsm.Config{Shards: 4})
		m := model{items: map[string]store.Item{}, retired: map[string]bool{}}
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				b := batchGen().Draw(t, "batch")
				m.index += rapid.Uint64Range(1, 3).Draw(t, "step")
				got, want := f.Apply(entry(m.index, 1, b.Clock, b.Commands...)), m.apply(b)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("got results %v, want %v", got, want)
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

// model is what an FSM must be like.
type model struct {
	items    map[string]store.Item
	retired  map[string]bool
	index    uint64
	revision uint64
	clock    int64
}

func (m *model) apply(b fsm.Batch) []fsm.Result {
	m.clock = max(m.clock, b.Clock)
	results := []fsm.Result{}
	for _, c := range b.Commands {
		old, exists := m.items[c.Key]
		holds := c.Cond.Kind == fsm.CondNone ||
			c.Cond.Kind == fsm.CondAbsent && !exists ||
			c.Cond.Kind == fsm.CondPresent && exists ||
			c.Cond.Kind == fsm.CondRevision && exists && c.Cond.Revision == old.ModRevision
		r := fsm.Result{Status: fsm.StatusOK}
		switch {
		case c.Op == fsm.OpRetire:
			m.retired[c.Key] = true
		case c.Op == fsm.OpClock, c.Op == fsm.OpCheckpoint:
		case !holds:
			r.Status, r.Current = fsm.StatusConditionFailed, old.ModRevision
		case c.Op == fsm.OpPut:
			m.revision++
			it := store.Item{Key: c.Key, Value: c.Value, CreateRevision: m.revision, ModRevision: m.revision, Version: old.Version + 1}
			if exists {
				it.CreateRevision = old.CreateRevision
			}
			m.items[c.Key] = it
			r.Created, r.Current = !exists, m.revision
		case exists:
			m.revision++
			delete(m.items, c.Key)
		default:
			r.Status = fsm.StatusNotFound
		}
		r.Revision = m.revision
		results = append(results, r)
	}
	return results
}

func (m *model) check(t *rapid.T, f *fsm.FSM) {
	if f.AppliedIndex() != m.index || f.Revision() != m.revision || f.Clock() != m.clock {
		t.Fatalf("got index %d, revision %d, clock %d, want %d, %d, %d",
			f.AppliedIndex(), f.Revision(), f.Clock(), m.index, m.revision, m.clock)
	}
	v := f.View()
	if v.AppliedIndex != m.index || v.Revision != m.revision || v.Len() != len(m.items) || f.Len() != len(m.items) {
		t.Fatalf("got view %+v of %d keys, want index %d, revision %d, %d keys", v, v.Len(), m.index, m.revision, len(m.items))
	}
	var want []store.Item
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

// batchGen makes batches on few keys, so that commands meet each other.
func batchGen() *rapid.Generator[fsm.Batch] {
	command := rapid.Custom(func(t *rapid.T) fsm.Command {
		c := fsm.Command{
			Op:    rapid.SampledFrom([]fsm.Op{fsm.OpPut, fsm.OpPut, fsm.OpPut, fsm.OpDelete, fsm.OpDelete, fsm.OpClock, fsm.OpRetire, fsm.OpCheckpoint}).Draw(t, "op"),
			Key:   rapid.StringMatching(`[ab]{0,2}`).Draw(t, "key"),
			Value: rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "value"),
		}
		c.Cond.Kind = fsm.ConditionKind(rapid.IntRange(0, 3).Draw(t, "condition"))
		if c.Cond.Kind == fsm.CondRevision {
			c.Cond.Revision = rapid.Uint64Range(0, 30).Draw(t, "revision")
		}
		return c
	})
	return rapid.Custom(func(t *rapid.T) fsm.Batch {
		return fsm.Batch{
			Clock:    rapid.Int64Range(-5, 1000).Draw(t, "clock"),
			Commands: rapid.SliceOfN(command, 0, 6).Draw(t, "commands"),
		}
	})
}
