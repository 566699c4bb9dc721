package mvcc_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

// expiring is a store whose keys have deadlines, beside a map of them.
type expiring struct {
	s         *mvcc.Store
	clock     int64
	deadlines map[string]int64 // of the keys that exist; 0 is none
}

// due returns the keys whose deadlines the clock has reached, in order.
func (e *expiring) due() (keys []string) {
	for key, deadline := range e.deadlines {
		if deadline != 0 && deadline <= e.clock {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(e.deadlines[a], e.deadlines[b]), cmp.Compare(a, b))
	})
	return keys
}

// TestStore_Deadlines compares the index of deadlines, and what reads hide, with a map, also
// after the store was loaded again.
func TestStore_Deadlines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &expiring{s: mvcc.New(mvcc.Options{}), deadlines: map[string]int64{}}
		defer func() { _ = e.s.Close() }()
		tx := e.s.Begin()
		tx.KeepHistory()
		tx.Commit(nil)
		t.Repeat(map[string]func(*rapid.T){
			"entry": e.entry,
			"load":  e.load,
			"":      e.check,
		})
	})
}

// entry moves the clock, removes some keys that are due, and changes others.
func (e *expiring) entry(t *rapid.T) {
	tx := e.s.Begin()
	defer tx.Commit(nil)
	e.clock += rapid.Int64Range(0, 3).Draw(t, "time")
	tx.SetClock(e.clock)
	tx.SetClock(e.clock - 1) // changes nothing
	tx.NextRequest()
	most := rapid.IntRange(0, 4).Draw(t, "most")
	due := e.due()
	if got := tx.DueKeys(nil, most); !slices.Equal(got, due[:min(most, len(due))]) || tx.Due() != (len(due) > 0) {
		t.Fatalf("got keys %q, due %t, want the first %d of %q", got, tx.Due(), most, due)
	}
	for _, key := range due[:min(most, len(due))] {
		if _, existed := tx.Delete(key, 0); existed {
			t.Fatalf("%s was deleted after its deadline", key)
		}
		if it, existed := tx.Expire(key, 1); !existed || it.Deadline != e.deadlines[key] {
			t.Fatalf("%s did not expire: %+v", key, it)
		}
		delete(e.deadlines, key)
	}
	for range rapid.IntRange(0, 5).Draw(t, "changes") {
		key := fmt.Sprintf("k%02d", rapid.IntRange(0, 30).Draw(t, "key"))
		_, exists := e.deadlines[key]
		if exists && slices.Contains(e.due(), key) {
			continue // its user removes it before it is written
		}
		if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
			if _, expired := tx.Expire(key, 1); expired {
				t.Fatalf("%s expired before its deadline", key)
			}
			if _, existed := tx.Delete(key, 0); existed != exists {
				t.Fatalf("delete of %s: existed %t, want %t", key, existed, exists)
			}
			delete(e.deadlines, key)
			continue
		}
		deadline := rapid.SampledFrom([]int64{0, e.clock + 1, e.clock + 2, e.clock + 9}).Draw(t, "deadline")
		tx.Put(kv.Item{Key: key, Deadline: deadline})
		e.deadlines[key] = deadline
	}
}

// load replaces the store by one of its snapshot, in blocks of a few versions.
func (e *expiring) load(t *rapid.T) {
	snapshot := e.s.Snapshot()
	loader := mvcc.NewLoader(mvcc.LoadOptions{
		Revision: snapshot.Revision(), CompactRevision: snapshot.CompactRevision(), History: true, Clock: e.clock,
	})
	w, n, size := loader.Worker(), 0, rapid.IntRange(1, 9).Draw(t, "block")
	for v := range snapshot.Versions() {
		if n%size == 0 {
			w.Block(n / size)
		}
		if n++; w.Add(v) != nil {
			t.Fatalf("version %+v was refused", v)
		}
	}
	_ = snapshot.Close()
	w.Close()
	loaded, err := loader.Finish()
	if err != nil {
		t.Fatal(err)
	}
	_ = e.s.Close()
	e.s = loaded
}

func (e *expiring) check(t *rapid.T) {
	next, n := int64(0), 0
	for _, deadline := range e.deadlines {
		if deadline != 0 {
			if n++; next == 0 || deadline < next {
				next = deadline
			}
		}
	}
	if e.s.NextDeadline() != next || e.s.Expiring() != n || e.s.Clock() != e.clock {
		t.Fatalf("got %d deadlines from %d on at %d, want %d from %d on at %d", e.s.Expiring(), e.s.NextDeadline(), e.s.Clock(), n, next, e.clock)
	}
	view, err := e.s.View(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = view.Close() }()
	due := e.due()
	visible := 0
	for key := range e.deadlines {
		want := !slices.Contains(due, key)
		_, _, found := e.s.Get(key)
		_, inView := view.Get(key)
		_, at, err := e.s.GetAt(key, e.s.Revision())
		if found != want || inView != want || at != want || err != nil || view.Count(kv.One(key)) != 0 != want {
			t.Fatalf("%s: found %t, in a view %t, at the newest revision %t %v, want %t", key, found, inView, at, err, want)
		}
		if want {
			visible++
		}
	}
	left := 1000
	walked := 0
	for range view.Walk(kv.All(), false, &left) {
		walked++
	}
	if walked != visible || view.Count(kv.All()) != visible || e.s.Len() != len(e.deadlines) {
		t.Fatalf("walked over %d of %d keys, which count as %d, want %d of %d", walked, e.s.Len(), view.Count(kv.All()), visible, len(e.deadlines))
	}
}
