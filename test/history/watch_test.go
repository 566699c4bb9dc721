package history_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/test/history"
)

// message is what one revision changes in the histories of these tests.
type message struct {
	revision uint64
	events   []history.Event
}

// messages are the changes of a cluster: a put of two keys at once, one of them again, and
// the delete of it.
func messages() []message {
	return []message{
		{11, []history.Event{{Key: "p/a", Value: "1.1", CreateRevision: 11, Version: 1}, {Key: "p/t/b", Value: "1.2", CreateRevision: 11, Version: 1}}},
		{12, []history.Event{{Key: "p/a", Value: "1.3", CreateRevision: 11, Version: 2, Prev: 11}}},
		{13, []history.Event{{Key: "other", Value: "1.4", CreateRevision: 13, Version: 1}}},
		{14, []history.Event{{Key: "p/a", Deleted: true, Prev: 12}}},
		{15, []history.Event{{Key: "p/t/b", Value: "1.5", CreateRevision: 11, Version: 2, Prev: 11}}},
	}
}

// deliver makes a watch deliver messages, and says in the end that it has all up to 15.
func deliver(w *history.Watcher, all []message) {
	w.State(10, nil)
	for _, m := range all {
		w.Changes(m.revision, m.events)
	}
	w.Progress(15)
}

// TestHistory_CheckWatches shows which deliveries are accepted, and the kind of finding for
// each error.
func TestHistory_CheckWatches(t *testing.T) {
	without := func(revision uint64) []message {
		return slices.DeleteFunc(messages(), func(m message) bool { return m.revision == revision })
	}
	for name, tt := range map[string]struct {
		add  func(h *history.History)
		want string // the kind of finding, "" for none
	}{
		"Sound": {func(*history.History) {}, ""},
		"Gap":   {func(h *history.History) { deliver(h.Watcher("third", "", true), without(12)) }, "differ"},
		"GapAtAResume": {func(h *history.History) {
			w := h.Watcher("third", "", true)
			w.State(10, nil)
			w.Changes(11, messages()[0].events)
			w.Continue(12)
			w.Progress(15)
		}, "differ"},
		"BeginsLate": {func(h *history.History) {
			w := h.Watcher("third", "", true)
			w.Begin(13)
			w.Changes(14, messages()[3].events)
			w.Progress(15)
		}, "differ"}, // revision 15
		"Overtaken": {func(h *history.History) {
			w := h.Watcher("third", "", false)
			w.State(10, nil)
			w.Changes(11, messages()[0].events)
			w.Begin(14)
			w.Changes(15, messages()[4].events)
		}, ""},
		"Twice": {func(h *history.History) {
			w := h.Watcher("third", "", true)
			deliver(w, messages())
			w.Changes(15, messages()[4].events)
		}, "alone"},
		"OutOfOrder": {func(h *history.History) {
			all := messages()
			all[0], all[1] = all[1], all[0]
			deliver(h.Watcher("third", "", true), all)
		}, "alone"},
		"SplitRevision": {func(h *history.History) {
			w := h.Watcher("third", "", true)
			w.State(10, nil)
			w.Changes(11, messages()[0].events[:1])
			w.Changes(11, messages()[0].events[1:])
		}, "alone"},
		"ProgressAhead": {func(h *history.History) {
			w := h.Watcher("third", "", true)
			w.State(10, nil)
			w.Progress(12)
			w.Changes(12, messages()[1].events)
		}, "alone"},
		"ContinuesEarlier": {func(h *history.History) {
			w := h.Watcher("third", "", true)
			deliver(w, messages())
			w.Continue(12)
		}, "alone"},
		"OtherPrefix": {func(h *history.History) {
			w := h.Watcher("third", "p/t/", false)
			w.Begin(10)
			w.Changes(12, messages()[1].events)
		}, "alone"},
		"OtherValue": {func(h *history.History) {
			all := messages()
			all[1].events[0].Value = strings.Repeat("1.3", 100)
			deliver(h.Watcher("third", "", true), all)
		}, "differ"},
		"SomeKeysGap": {func(h *history.History) {
			w := h.Watcher("third", "p/t/", false)
			w.Begin(10)
			w.Changes(15, messages()[4].events)
		}, "differ"},
		"SomeKeysMore": {func(h *history.History) {
			w := h.Watcher("third", "p/t/", false)
			w.Begin(11)
			w.Changes(13, []history.Event{{Key: "p/t/c", Value: "1.9", CreateRevision: 13, Version: 1}})
		}, "differ"},
		"Acknowledged":          {func(h *history.History) { h.Changed(12, 1, history.Event{Key: "p/a", Value: "1.3"}) }, ""},
		"AcknowledgedElsewhere": {func(h *history.History) { h.Changed(13, 1, history.Event{Key: "p/a", Value: "1.3"}) }, "acked"},
		"AcknowledgedAsMore":    {func(h *history.History) { h.Changed(12, 2, history.Event{Key: "p/a", Value: "1.3"}) }, "acked"},
		"NotDone":               {func(h *history.History) { _ = h.Refused("1.3") }, "acked"},
		"SeenElsewhere":         {func(h *history.History) { _ = h.Saw("1.3", 14) }, "acked"},
		"Past":                  {func(h *history.History) { _ = h.ReadAt("c", "p/a", 13, &history.Item{"p/a", "1.3", 11, 12, 2}) }, ""},
		"PastDeleted":           {func(h *history.History) { _ = h.ReadAt("c", "p/a", 14, nil) }, ""},
		"PastIsTheNewest":       {func(h *history.History) { _ = h.ReadAt("c", "p/t/b", 14, &history.Item{"p/t/b", "1.5", 11, 15, 2}) }, "past"},
		"PastIsTooOld":          {func(h *history.History) { _ = h.ReadAt("c", "p/a", 13, &history.Item{"p/a", "1.1", 11, 11, 1}) }, "past"},
		"PastBeforeAll":         {func(h *history.History) { _ = h.ReadAt("c", "p/z", 13, &history.Item{"p/z", "0", 3, 3, 1}) }, ""},
		"Final": {func(h *history.History) {
			h.Final("n1", 15, []history.Item{{"p/t/b", "1.5", 11, 15, 2}, {"other", "?", 1, 1, 1}})
		}, ""},
		"FinalIsAnother": {func(h *history.History) { h.Final("n1", 15, []history.Item{{"p/t/b", "1.5", 11, 15, 3}}) }, "states"},
		"StateIsAnother": {func(h *history.History) { h.Watcher("third", "", false).State(12, nil) }, "states"},
	} {
		h := history.New("p/")
		deliver(h.Watcher("first", "", true), messages())
		deliver(h.Watcher("second", "", false), messages())
		tt.add(h)
		r := h.CheckWatches()
		for kind, found := range map[string][]string{"alone": r.Alone, "differ": r.Differ, "acked": r.Acked, "states": r.States, "past": r.Past} {
			// What comes out of order or twice is different from what others deliver, too.
			if got := len(found) > 0; got != (kind == tt.want) && (tt.want != "alone" || kind != "differ" && kind != "states") {
				t.Errorf("%s: %s: got %q", name, kind, found)
			}
		}
		if r.Revisions < 5 || len(r.Empty) > 0 {
			t.Errorf("%s: got %+v", name, r)
		}
	}
}

// TestHistory_CheckWatchesOfAKey shows which changes can't follow each other, although all
// watches deliver them.
func TestHistory_CheckWatchesOfAKey(t *testing.T) {
	for name, change := range map[string]func(all []message){
		"VersionIsSkipped": func(all []message) { all[1].events[0].Version = 3 },
		"OtherCreation":    func(all []message) { all[1].events[0].CreateRevision = 9 },
		"NewAndOld":        func(all []message) { all[2].events[0].Version = 2 },
		"OtherItemBefore":  func(all []message) { all[4].events[0].Prev = 10 },
		"NoItemBefore":     func(all []message) { all[1].events[0].Prev = 0 },
		"DeletedTwice":     func(all []message) { all[4].events[0] = history.Event{Key: "p/a", Deleted: true} },
	} {
		h := history.New("p/")
		all := messages()
		change(all)
		deliver(h.Watcher("first", "", true), all)
		if r := h.CheckWatches(); len(r.Differ) != 1 {
			t.Errorf("%s: got %q", name, r.Differ)
		}
	}
	h := history.New("p/")
	deliver(h.Watcher("first", "", true), messages()[:2]) // nobody got the rest
	if r := h.CheckWatches(); len(r.Empty) != 3 || r.Empty[0] != 13 {
		t.Errorf("empty: got %v", r.Empty)
	}
}

// TestHistory_CheckWatchesAfterAGap shows that states after revisions that no watch has covered
// are compared with the first state after them.
func TestHistory_CheckWatchesAfterAGap(t *testing.T) {
	for version, want := range map[uint64]int{2: 0, 3: 1} {
		h := history.New("p/")
		w := h.Watcher("first", "", false)
		w.State(10, nil)
		w.Changes(11, messages()[0].events)
		w.State(14, []history.Item{{"p/t/b", "1.2", 11, 11, 1}})
		w.Changes(15, messages()[4].events)
		h.Final("n1", 15, []history.Item{{"p/t/b", "1.5", 11, 15, version}})
		if r := h.CheckWatches(); r.StatesCompared != 3 || r.FinalCompared != 1 || len(r.States) != want {
			t.Errorf("version %d: got %+v", version, r)
		}
	}
}

// TestHistory_ReadAt shows that two answers to a read at a revision must be the same.
func TestHistory_ReadAt(t *testing.T) {
	h := history.New("")
	item := &history.Item{"a", "1.1", 3, 4, 2}
	for _, err := range []error{h.ReadAt("c1", "a", 5, item), h.ReadAt("c2", "a", 5, item), h.ReadAt("c2", "a", 6, nil)} {
		if err != nil {
			t.Error(err)
		}
	}
	for _, err := range []error{h.ReadAt("c2", "a", 5, nil), h.ReadAt("c2", "a", 6, item), h.ReadAt("c1", "a", 5, &history.Item{"a", "1.1", 3, 4, 3})} {
		if err == nil {
			t.Error("another answer is accepted")
		}
	}
}

// TestHistory_Compacted shows which refusals can be true.
func TestHistory_Compacted(t *testing.T) {
	h := history.New("")
	h.Reached(50)
	h.Compacts(20)
	if err := h.Compacted(19, 20); err != nil {
		t.Error(err)
	}
	if err := h.Compacted(20, 20); err == nil {
		t.Error("the oldest revision is refused, and nobody says so")
	}
	if got := h.Unasked(0); got != 0 {
		t.Errorf("unasked: %d", got)
	}
	if err := h.Compacted(19, 30); err != nil {
		t.Error(err)
	}
	if got := h.Unasked(0); got != 0 {
		t.Errorf("unasked: %d, and revision 50 is old enough", got)
	}
	if got := h.Unasked(1 << 40); got != 30 {
		t.Errorf("unasked: %d, want 30", got)
	}
}
