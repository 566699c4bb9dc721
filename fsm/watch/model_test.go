package watch_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/kv"
)

// model has all states that the store ever had, and all changes.
type model struct {
	*machine
	states  []map[string]string // by revision
	changes [][]op              // by revision; those that changed something
	compact uint64
	watches []*modelWatch
}

// modelWatch is a watch and what its user knows.
type modelWatch struct {
	kv.Watch
	options kv.WatchOptions
	next    uint64 // the revision after the last one that was returned
}

// TestModel compares watches with all changes that were made: at every time, each watch
// returns the next changes in its span, or says that they are compacted, or waits.
func TestModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ testing.TB }{t}, func(rt *rapid.T) { // a bubble has no Deadline
			m := &model{machine: newMachine(), states: []map[string]string{nil, {}}, changes: make([][]op, 2)}
			defer m.close()
			defer m.closeWatches()
			rt.Repeat(map[string]func(*rapid.T){
				"apply":   func(rt *rapid.T) { m.apply(m.machine, rapid.SliceOfN(drawRequest, 1, 4).Draw(rt, "entry")) },
				"compact": func(rt *rapid.T) { m.compactAt(rapid.Uint64Range(1, m.newest()).Draw(rt, "revision")) },
				"replace": func(rt *rapid.T) { m.replaceBy(rt) },
				"watch":   m.watch,
				"next":    m.next,
				"close":   m.closeOne,
			})
		})
	})
}

var drawKey = rapid.SampledFrom([]string{"a", "a1", "a1x", "a2", "b", "b1", "c"})

var drawRequest = rapid.Custom(func(rt *rapid.T) request {
	keys := rapid.SliceOfNDistinct(drawKey, 0, 3, rapid.ID).Draw(rt, "keys")
	var r request
	for _, key := range keys {
		r = append(r, op{key, rapid.SampledFrom([]string{"", "x", "yy"}).Draw(rt, "value")})
	}
	return r
})

var drawSpan = rapid.OneOf(
	rapid.Map(drawKey, kv.One),
	rapid.Map(drawKey, kv.Prefix),
	rapid.Map(drawKey, kv.From),
	rapid.Custom(func(rt *rapid.T) kv.Span {
		return kv.Span{Start: drawKey.Draw(rt, "start"), End: drawKey.Draw(rt, "end")}
	}).
		Filter(func(s kv.Span) bool { return !s.Empty() }),
	rapid.Just(kv.All()),
)

func (m *model) newest() uint64 { return uint64(len(m.states) - 1) }

// apply applies an entry to a machine, which is not the model's own while that is replaced.
func (m *model) apply(to *machine, entry []request) {
	to.apply(entry...)
	for _, r := range entry {
		state := maps.Clone(m.states[m.newest()])
		var changed []op
		for _, o := range r {
			if _, existed := state[o.key]; o.value == "" && !existed {
				continue
			} else if o.value == "" {
				delete(state, o.key)
			} else {
				state[o.key] = o.value
			}
			changed = append(changed, o)
		}
		if len(changed) > 0 {
			m.states, m.changes = append(m.states, state), append(m.changes, changed)
		}
	}
}

func (m *model) compactAt(revision uint64) {
	m.machine.compact(revision)
	m.compact = max(m.compact, revision)
}

// replaceBy replaces the store by a later one.
func (m *model) replaceBy(rt *rapid.T) {
	m.replace(rt, func(later *machine) {
		m.apply(later, rapid.SliceOfN(drawRequest, 0, 4).Draw(rt, "entry"))
		if rapid.Bool().Draw(rt, "compacts") {
			m.compact = rapid.Uint64Range(max(m.compact, 1), m.newest()).Draw(rt, "revision")
			later.compact(m.compact)
		}
	})
}

func (m *model) watch(rt *rapid.T) {
	o := kv.WatchOptions{Span: drawSpan.Draw(rt, "span"), PrevItems: true}
	o.Kinds = rapid.SampledFrom([]kv.EventKinds{0, kv.Kinds(kv.EventPut), kv.Kinds(kv.EventDelete)}).Draw(rt, "kinds")
	if o.Snapshot = rapid.Bool().Draw(rt, "snapshot"); !o.Snapshot {
		o.From = rapid.Uint64Range(0, m.newest()+3).Draw(rt, "from")
	}
	w, err := m.hub.Watch(o)
	if compacted := o.From != 0 && o.From < m.compact; compacted != (err != nil) || err != nil && !errors.Is(err, kv.ErrCompacted) {
		rt.Fatalf("watch from %d, compact revision %d: %v", o.From, m.compact, err)
	} else if compacted {
		return
	}
	mw := &modelWatch{w, o, o.From}
	if o.From == 0 {
		mw.next = m.newest() + 1
	}
	m.watches = append(m.watches, mw)
	if o.Snapshot {
		m.checkState(rt, mw)
	}
}

// checkState reads the state with which a watch begins.
func (m *model) checkState(rt *rapid.T, w *modelWatch) {
	got := make(map[string]string)
	b := mustNext(rt, w)
	for ; b.Kind == kv.WatchState; b = mustNext(rt, w) {
		for _, it := range b.Items {
			got[it.Key] = string(it.Value)
		}
	}
	want := maps.Clone(m.states[m.newest()])
	maps.DeleteFunc(want, func(key, _ string) bool { return !w.options.Span.Contains(key) })
	if b.Kind != kv.WatchSynced || b.Revision != m.newest() || !maps.Equal(got, want) {
		rt.Fatalf("state %v at %d, want %v at %d", got, b.Revision, want, m.newest())
	}
}

// next reads from one watch.
func (m *model) next(rt *rapid.T) {
	if len(m.watches) == 0 {
		rt.Skip()
	}
	w := rapid.SampledFrom(m.watches).Draw(rt, "watch")
	want, lost := m.expect(w)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	b, err := w.Next(ctx)
	switch {
	case errors.Is(err, kv.ErrCompacted):
		if w.next >= m.compact {
			rt.Fatalf("watch from %d: %v", w.next, err)
		}
		m.forget(w)
	case lost:
		rt.Fatalf("watch from %d, compact revision %d: got %v and %v", w.next, m.compact, text(b), err)
	case want == "" && errors.Is(err, context.DeadlineExceeded):
		if got := w.Revision(); got != max(w.next-1, m.newest()) {
			rt.Fatalf("watch from %d at %d, newest %d, without events", w.next, got, m.newest())
		}
		w.next = w.Revision() + 1
	case err != nil || text(b) != want:
		rt.Fatalf("watch from %d: got %q and %v, want %q", w.next, text(b), err, want)
	default:
		if w.next = b.Revision + 1; w.Revision() < b.Revision {
			rt.Fatalf("revision is %d after %d", w.Revision(), b.Revision)
		}
	}
}

// expect returns the text of the next batch of a watch, and whether changes before it are
// lost.
func (m *model) expect(w *modelWatch) (want string, lost bool) {
	for revision := w.next; revision <= m.newest(); revision++ {
		text := fmt.Sprint("changes ", revision)
		n := len(text)
		for _, o := range m.changes[revision] {
			if !w.options.Span.Contains(o.key) {
				continue
			}
			if revision < m.compact {
				return "", true
			}
			kind := kv.EventPut
			if o.value == "" {
				kind = kv.EventDelete
			}
			if !w.options.Kinds.Has(kind) {
				continue
			}
			text += fmt.Sprintf(" %v %s=%s", kind, o.key, o.value)
			if before, existed := m.states[revision-1][o.key]; existed {
				text += " was " + before
			}
		}
		if len(text) > n {
			return text, false
		}
	}
	return "", false
}

func (m *model) closeOne(rt *rapid.T) {
	if len(m.watches) == 0 {
		rt.Skip()
	}
	m.forget(rapid.SampledFrom(m.watches).Draw(rt, "watch"))
}

func (m *model) forget(w *modelWatch) {
	_ = w.Close()
	for i := range m.watches {
		if m.watches[i] == w {
			m.watches = append(m.watches[:i], m.watches[i+1:]...)
			break
		}
	}
	if m.hub.Len() != len(m.watches) {
		panic(fmt.Sprintf("%d watchers, want %d", m.hub.Len(), len(m.watches)))
	}
}

func (m *model) closeWatches() {
	for len(m.watches) > 0 {
		m.forget(m.watches[0])
	}
}
