package verdict_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/test/chaos/fake"
	"github.com/kvorum/kvorum/test/chaos/load"
	"github.com/kvorum/kvorum/test/chaos/record"
	"github.com/kvorum/kvorum/test/chaos/verdict"
	"github.com/kvorum/kvorum/test/history"
)

// sound returns a cluster, and a history of it that keeps all promises and has something
// for each check.
func sound(t *testing.T) (*fake.Cluster, *history.History) {
	t.Helper()
	c, h := fake.New(t, 3), history.New("t/")
	for i := range 5 {
		key, value := fmt.Sprintf("t/o/%d", i), fmt.Sprintf("once-%d", i)
		h.Changed(c.Write(key, value), 1, history.Event{Key: key, Value: value})
		h.AddOnce(key, value, history.Acknowledged)
	}
	h.AddOnce("t/o/refused", "x", history.NotDone)
	h.AddOnce("t/o/unknown", "y", history.Unknown)
	c.Write("another's", "key")
	write(c, h, "t/k", "a", true)
	write(c, h, "t/k", "b", false)
	call := h.Call()
	h.AddCount("t/c/0", 2, 2, c.Write("t/c/0", "2"), false, call)
	call = h.Call()
	h.AddTxn(1, "t/t/0/", putTxn("t/t/0/0", "p"), history.TxnOutput{
		Succeeded: true, Revision: c.Write("t/t/0/0", "p"), Results: []history.Result{{}},
	}, call)
	watch(t, c, h, 0)
	_ = h.ReadAt("client 1", "t/k", revisionOfA, &history.Item{Key: "t/k", Value: "a", CreateRevision: revisionOfA, ModRevision: revisionOfA, Version: 1})
	for _, name := range load.Promises {
		h.Looked(name)
	}
	return c, h
}

// revisionOfA is the revision of the first put of t/k in sound.
const revisionOfA = 7

// putTxn returns a transaction that puts a key.
func putTxn(key, value string) history.Txn {
	return history.Txn{Then: []history.Op{{Put: &history.Write{Key: key, Value: value}}}}
}

// watch adds a watch of all that the cluster has to the history, from an empty state on. It
// drops the changes of one revision, 0 for none.
func watch(t *testing.T, c *fake.Cluster, h *history.History, drop uint64) {
	t.Helper()
	newest := c.Write("t/watched", fmt.Sprint("w-", drop))
	h.AddOnce("t/watched", fmt.Sprint("w-", drop), history.Acknowledged)
	s, err := load.OpenStream(t.Context(), http.DefaultClient, c.Nodes[0].URL(), url.Values{"from_revision": {"1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := h.Watcher(fmt.Sprint("watch without ", drop), "", false)
	w.State(0, nil)
	for w.After() < newest {
		m, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		events, err := m.Events()
		if err != nil {
			t.Fatal(err)
		}
		if m.Type == "changes" && m.Revision != drop {
			w.Changes(m.Revision, events)
		}
	}
}

// write sets a key and adds that to the history.
func write(c *fake.Cluster, h *history.History, key, value string, created bool) {
	call := h.Call()
	h.Changed(c.Write(key, value), 1, history.Event{Key: key, Value: value})
	h.Add(1, history.Input{Kind: history.Put, Key: key, Value: value}, history.Output{Done: created}, call)
}

// TestFinal shows what the final checks accept and refuse: each case breaks one promise of
// a cluster or a history that is otherwise sound.
func TestFinal(t *testing.T) {
	served := record.Fault{Name: "kill", Done: true, Served: 0.7, Terms: 1}
	for name, tt := range map[string]struct {
		breaks func(c *fake.Cluster, h *history.History, run *record.Run)
		want   []string // parts of promises; all violations are of these, and each is broken
		keys   int      // number of keys whose operations have no order
	}{
		"Sound":  {func(*fake.Cluster, *history.History, *record.Run) {}, nil, 0},
		"Served": {func(_ *fake.Cluster, _ *history.History, run *record.Run) { run.Faults = []record.Fault{served} }, nil, 0},
		"LostWrite": {func(c *fake.Cluster, _ *history.History, _ *record.Run) { c.Nodes[1].Lose("t/o/3") },
			[]string{"an acknowledged write is there", "all nodes hold the same", "a state and the changes after it"}, 0},
		"LostOnAllNodes": {func(_ *fake.Cluster, h *history.History, _ *record.Run) {
			h.AddOnce("t/o/lost", "z", history.Acknowledged)
		},
			[]string{"an acknowledged write is there"}, 0},
		"OtherValue": {func(_ *fake.Cluster, h *history.History, _ *record.Run) {
			h.AddOnce("t/o/3", "other", history.Acknowledged)
		},
			[]string{"an acknowledged write is there"}, 0},
		"NotDoneAndThere": {func(c *fake.Cluster, _ *history.History, _ *record.Run) { c.Write("t/o/refused", "x") },
			[]string{"a write that was reported as not done"}, 0},
		"WrittenByNobody": {func(c *fake.Cluster, _ *history.History, _ *record.Run) { c.Write("t/stray", "x") },
			[]string{"none that nobody made"}, 0},
		"NodesDiffer": {func(c *fake.Cluster, _ *history.History, _ *record.Run) { c.Nodes[2].Lose("another's") },
			[]string{"all nodes hold the same"}, 0},
		"HashesDiffer": {func(c *fake.Cluster, _ *history.History, _ *record.Run) { c.Nodes[2].Hash("00000000000000bb") },
			[]string{"state hashes are equal"}, 0},
		"LostInTheEnd": {func(_ *fake.Cluster, h *history.History, _ *record.Run) {
			h.Add(1, history.Input{Kind: history.Put, Key: "t/k", Value: "gone"}, history.Output{}, h.Call())
		}, []string{"the operations on each key"}, 1},
		"StaleRead": {func(_ *fake.Cluster, h *history.History, _ *record.Run) {
			h.Add(2, history.Input{Key: "t/k"}, history.Output{Value: "a"}, h.Call())
		}, []string{"the operations on each key"}, 1},
		"WriteDoneTwice": {func(_ *fake.Cluster, h *history.History, _ *record.Run) { _ = h.Saw("once-1", 99) },
			[]string{"a write happens once", "watches deliver what was acknowledged"}, 0},
		"SessionGoesBack": {func(_ *fake.Cluster, h *history.History, _ *record.Run) {
			h.Broke("a session never goes back", "from 7 to 5")
		}, []string{"a session never goes back"}, 0},
		"WatchDropsAChange": {func(c *fake.Cluster, h *history.History, _ *record.Run) { watch(t, c, h, 3) },
			[]string{"all watches deliver the same changes"}, 0},
		"NodeHidesAChange": {func(c *fake.Cluster, _ *history.History, _ *record.Run) {
			c.Nodes[1].Hide = func(key string) bool { return key == "t/o/3" }
		}, []string{"all watches deliver the same changes"}, 0},
		"NewestAtARevision": {func(_ *fake.Cluster, h *history.History, _ *record.Run) {
			_ = h.ReadAt("client 2", "t/k", revisionOfA-1, &history.Item{Key: "t/k", Value: "b", CreateRevision: revisionOfA, ModRevision: revisionOfA + 1, Version: 2})
		}, []string{"a read at a revision is the result"}, 0},
		"AcknowledgedAndNotDelivered": {func(_ *fake.Cluster, h *history.History, _ *record.Run) {
			h.Changed(revisionOfA, 1, history.Event{Key: "t/k", Value: "other"})
		}, []string{"watches deliver what was acknowledged"}, 0},
		"HalfOfATransaction": {func(_ *fake.Cluster, h *history.History, _ *record.Run) {
			h.Changed(revisionOfA, 2, history.Event{Key: "t/k", Value: "a"})
		}, []string{"watches deliver what was acknowledged"}, 0},
		"RefusedAndDelivered": {func(_ *fake.Cluster, h *history.History, _ *record.Run) { _ = h.Refused("b") },
			[]string{"watches deliver what was acknowledged", "a write happens once"}, 0},
		"StateOfAWatchIsOld": {func(_ *fake.Cluster, h *history.History, _ *record.Run) {
			h.Watcher("late", "", false).State(revisionOfA, nil)
		},
			[]string{"a state and the changes after it"}, 0},
		"FinalStateIsAnother": {func(c *fake.Cluster, _ *history.History, _ *record.Run) { c.Nodes[2].Plant("t/o/unknown", "y") },
			[]string{"a state and the changes after it", "all nodes hold the same"}, 0},
		"CounterLosesAnAddition": {func(_ *fake.Cluster, h *history.History, _ *record.Run) {
			h.AddCount("t/c/0", 3, 5, 90, false, h.Call())
		},
			[]string{"a counter has all acknowledged additions"}, 0},
		"CounterAnswersTwice": {func(c *fake.Cluster, h *history.History, _ *record.Run) {
			h.AddCount("t/c/0", 2, 2, 90, false, h.Call())
			h.AddCount("t/c/0", 9, 0, 0, true, h.Call())
			c.Write("t/c/0", "4")
		}, []string{"a counter has all acknowledged additions"}, 0},
		"TransactionIsLost": {func(_ *fake.Cluster, h *history.History, _ *record.Run) {
			h.AddTxn(1, "t/t/0/", putTxn("t/t/0/1", "lost"), history.TxnOutput{Succeeded: true, Revision: 10, Results: []history.Result{{}}}, h.Call())
		}, []string{"the transactions on each group"}, 1},
		"CompactedByNobody": {func(_ *fake.Cluster, h *history.History, _ *record.Run) { _ = h.Compacted(2, 9) },
			[]string{"history that nobody compacted is kept"}, 0},
		"CompactedOnRequest": {func(_ *fake.Cluster, h *history.History, _ *record.Run) {
			h.Compacts(9)
			_ = h.Compacted(2, 9)
		}, nil, 0},
		"Undecided": {func(_ *fake.Cluster, h *history.History, _ *record.Run) {
			for i := range 30 {
				h.Add(1, history.Input{Kind: history.Put, Key: "t/u", Value: fmt.Sprint("u", i)}, history.Output{Unknown: true}, h.Call())
			}
			for range 31 {
				h.Add(2, history.Input{Kind: history.Delete, Key: "t/u"}, history.Output{Done: true}, h.Call())
			}
		}, []string{"undecided"}, 0},
		"ServedLate": {func(_ *fake.Cluster, _ *history.History, run *record.Run) {
			late := served
			late.Served = 5.5
			run.Faults = []record.Fault{served, late}
		}, []string{"a write is acknowledged within 5 s"}, 0},
		"NeverServed": {func(_ *fake.Cluster, _ *history.History, run *record.Run) {
			never := served
			never.Served = -1
			run.Faults = []record.Fault{never}
		}, []string{"a write is acknowledged within 5 s"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c, h := sound(t)
			run := &record.Run{Began: time.Now()}
			tt.breaks(c, h, run)
			verdict.Final(t.Context(), c.Hosts(), h, run)
			compare(t, run, tt.want)
			if len(run.Keys) != tt.keys {
				t.Errorf("got %d keys without an order, want %d", len(run.Keys), tt.keys)
			}
			for _, k := range run.Keys {
				if k.Name != "t/k" && k.Name != "t/t/0/" || k.Explain == "" || !strings.Contains(k.Picture, "</html>") {
					t.Errorf("key %s is explained by %q, with a picture of %d bytes", k.Name, k.Explain, len(k.Picture))
				}
			}
		})
	}
}

// compare checks that the promises broken are those wanted, both as violations and as
// checks that did not pass.
func compare(t *testing.T, run *record.Run, want []string) {
	t.Helper()
	broken := map[string]bool{}
	for _, v := range run.Violations {
		broken[v.Promise] = true
	}
	for _, c := range run.Checks {
		if !c.Passed {
			broken[c.Name] = true
		}
		if c.Of == "" {
			t.Errorf("check %q does not say of how much", c.Name)
		}
	}
	for _, part := range want {
		found := false
		for name := range broken {
			found = found || strings.Contains(name, part)
		}
		if !found {
			t.Errorf("%q is not broken", part)
		}
	}
	for name := range broken {
		expected := slices.ContainsFunc(want, func(part string) bool { return strings.Contains(name, part) })
		// A key that is undecided fails the check of all keys, and is a violation of its own.
		expected = expected || slices.Contains(want, "undecided") && strings.HasPrefix(name, "the operations")
		if !expected {
			t.Errorf("%q is broken: %+v", name, run.Violations)
		}
	}
}

// TestFinal_NothingToLookAt shows that a check of nothing is a violation.
func TestFinal_NothingToLookAt(t *testing.T) {
	c := fake.New(t, 3)
	c.Write("x", "y")
	run := &record.Run{Began: time.Now()}
	verdict.Final(t.Context(), c.Hosts(), history.New("t/"), run)
	empty := 0
	for _, v := range run.Violations {
		if strings.Contains(v.What, "nothing to look at") {
			empty++
		}
	}
	if want := len(load.Promises) + 8; empty != want || run.Passed() {
		t.Errorf("got %d checks of nothing, want %d: %+v", empty, want, run.Violations)
	}
}

// TestFinal_MemberDown shows that a member that does not run is a violation, and that the
// rest is checked all the same.
func TestFinal_MemberDown(t *testing.T) {
	c, h := sound(t)
	c.Nodes[2].Halt()
	h.Add(2, history.Input{Key: "t/k"}, history.Output{Value: "a"}, h.Call())
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	run := &record.Run{Began: time.Now()}
	verdict.Final(ctx, c.Hosts(), h, run)
	found := slices.ContainsFunc(run.Violations, func(v record.Violation) bool { return strings.Contains(v.What, "3 members, of which 2 run") })
	if !found || len(run.Keys) != 1 {
		t.Errorf("got %+v, %d keys", run.Violations, len(run.Keys))
	}
}

// TestFinal_NodeNeverCatchesUp shows that nodes at different indexes are a violation.
func TestFinal_NodeNeverCatchesUp(t *testing.T) {
	c, h := sound(t)
	c.Nodes[1].Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	run := &record.Run{Began: time.Now()}
	verdict.Final(ctx, c.Hosts(), h, run)
	if !slices.ContainsFunc(run.Violations, func(v record.Violation) bool { return strings.Contains(v.What, "has applied index") }) {
		t.Errorf("got %+v", run.Violations)
	}
}

// TestFinal_Load shows that the results of real clients of a sound cluster pass, and that
// their lies are found at the end.
func TestFinal_Load(t *testing.T) {
	for lie, want := range map[load.Lie][]string{
		load.Honest:     nil,
		load.LostWrite:  {"an acknowledged write is there", "the operations on each key"},
		load.DropChange: {"all watches deliver the same changes"},
	} {
		t.Run("Lie"+string(lie), func(t *testing.T) {
			c, h := fake.New(t, 3), history.New("t/")
			began := time.Now()
			l := load.Start(load.Config{Hosts: c.Hosts(), Pause: 2 * time.Millisecond, Lie: lie}, h)
			for h.Len() < 1000 || len(h.Groups()) == 0 || time.Since(began) < 3*time.Second {
				time.Sleep(10 * time.Millisecond) // between two checks
			}
			l.Stop()
			run := &record.Run{Began: began, Seconds: l.Seconds()}
			verdict.Final(t.Context(), c.Hosts(), h, run)
			compare(t, run, want)
			if passed := run.Passed(); passed != (lie == load.Honest) {
				t.Errorf("passed: %t", passed)
			}
		})
	}
}
