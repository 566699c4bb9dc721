package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// findingsKept is the maximum number of findings of one kind that are kept.
const findingsKept = 1000

// WatchReport is what CheckWatches found: the amounts that were compared, and the findings.
type WatchReport struct {
	Watches, Streams, Messages int // streams that continue count once
	Revisions, Events          int // all different ones that were delivered
	// Empty are the delivered revisions without a change, whose keys have other prefixes or
	// which are those of a compaction of all history.
	Empty []uint64
	// Alone are errors of one watch: changes that come twice, out of order or not whole, and
	// progress marks that are ahead. Differ are the differences between two watches, gaps
	// included, and between two changes of a key. Acked are acknowledged changes that were
	// not delivered, and changes that were reported as not done. States are states that are
	// not the result of the changes before them. Past are reads at a revision that are not
	// what the watches have delivered up to it.
	Alone, Differ, Acked, States, Past []string
	// The numbers of acknowledged changes, states, final states and reads at a revision that
	// were compared with what was delivered.
	AckedCompared, StatesCompared, FinalCompared, PastCompared int
}

// judge compares the deliveries of all watches.
type judge struct {
	h         *History
	report    WatchReport
	known     []covered // the revisions that watches of all keys have covered, in order
	revisions []uint64  // of all changes, in order
	byKey     map[string][]keyEvent
}

// keyEvent is a change of one key.
type keyEvent struct {
	Event
	revision uint64
	prev     bool // Prev was asked for
}

// CheckWatches compares what all watches have delivered with each other, and with acknowledged
// changes, states, and reads at a revision. What no watch of all keys covered is not compared.
// It must be called after all clients and watches have ended.
func (h *History) CheckWatches() WatchReport {
	h.mu.Lock()
	defer h.mu.Unlock()
	j := &judge{h: h, byKey: map[string][]keyEvent{}}
	j.report.Watches = len(h.changes.watchers)
	j.report.Differ = slices.Clone(h.changes.differ)
	j.known = h.changes.known()
	j.empty()
	j.revisions = slices.Sorted(maps.Keys(h.changes.at))
	j.index()
	for _, w := range h.changes.watchers {
		j.watcher(w)
	}
	j.continuity()
	j.acknowledged()
	j.states()
	j.past()
	return j.report
}

// note adds a finding.
func note(to *[]string, format string, args ...any) {
	if len(*to) < findingsKept {
		*to = append(*to, fmt.Sprintf(format, args...))
	}
}

// empty finds the revisions that are covered and have no change.
func (j *judge) empty() {
	for _, c := range j.known {
		for r := c.after + 1; r <= c.upTo; r++ {
			if j.h.changes.at[r] == nil {
				j.report.Empty = append(j.report.Empty, r)
			}
		}
	}
}

// covers returns the range of known revisions that has one.
func (j *judge) covers(revision uint64) (covered, bool) {
	for _, c := range j.known {
		if revision > c.after && revision <= c.upTo {
			return c, true
		}
	}
	return covered{}, false
}

// index collects the changes of each key.
func (j *judge) index() {
	for _, r := range j.revisions {
		c := j.h.changes.at[r]
		j.report.Revisions++
		j.report.Events += len(c.events)
		for _, e := range c.events {
			j.byKey[e.Key] = append(j.byKey[e.Key], keyEvent{e, r, c.from.prev})
		}
	}
}

// watcher compares the deliveries of one watch with those of all.
func (j *judge) watcher(w *Watcher) {
	j.report.Streams += len(w.spans)
	j.report.Messages += len(w.delivered)
	for _, text := range w.broken {
		note(&j.report.Alone, "%s", text)
	}
	if w.more > 0 {
		note(&j.report.Alone, "the %s: and %d more", w.name, w.more)
	}
	want := j.expected(w)
	for i, span := range w.spans {
		got := w.delivered[w.first[i]:]
		if i+1 < len(w.spans) {
			got = w.delivered[w.first[i]:w.first[i+1]]
		}
		from, _ := slices.BinarySearchFunc(want, span.after+1, compareRevision)
		to, _ := slices.BinarySearchFunc(want, span.upTo+1, compareRevision)
		j.compare(w, got, want[from:to])
	}
}

func compareRevision(d delivered, revision uint64) int { return cmp.Compare(d.revision, revision) }

// expected returns the deliveries that a watch has if it covers all.
func (j *judge) expected(w *Watcher) (all []delivered) {
	for _, r := range j.revisions {
		d, some := delivered{revision: r}, false
		for _, e := range j.h.changes.at[r].events {
			if strings.HasPrefix(e.Key, w.prefix) {
				d.sum, some = d.sum*31+sumOfEvent(e), true
			}
		}
		if some {
			all = append(all, d)
		}
	}
	return all
}

// compare compares what a stream delivered with what it had to deliver.
func (j *judge) compare(w *Watcher, got, want []delivered) {
	has := map[uint64]uint64{}
	for _, d := range got {
		has[d.revision] = d.sum
	}
	for _, d := range want {
		sum, ok := has[d.revision]
		delete(has, d.revision)
		switch c := j.h.changes.at[d.revision]; {
		case !ok:
			note(&j.report.Differ, "the %s has a gap at revision %d, at which the %s got %v", w.name, d.revision, c.from.name, c.events)
		case sum != d.sum && w.prefix != "": // those of all keys were compared when they came
			note(&j.report.Differ, "the %s got other changes of revision %d than the %s, which got %v", w.name, d.revision, c.from.name, c.events)
		}
	}
	for _, r := range slices.Sorted(maps.Keys(has)) {
		if _, known := j.covers(r); known {
			note(&j.report.Differ, "the %s got changes of revision %d, and a watch of all keys none", w.name, r)
		}
	}
}

// continuity checks that each change of a key follows the one before.
func (j *judge) continuity() {
	for _, key := range slices.Sorted(maps.Keys(j.byKey)) {
		var last *keyEvent
		for i := range j.byKey[key] {
			e := &j.byKey[key][i]
			span, _ := j.covers(e.revision)
			if last != nil && last.revision <= span.after {
				last = nil
			}
			if why := e.follows(last, span.after); why != "" {
				note(&j.report.Differ, "%s at revision %d: %s", key, e.revision, why)
			}
			last = e
		}
	}
}

// follows returns the reason why a change can't be the next one after another, which is nil
// if there was none after a revision.
func (e *keyEvent) follows(last *keyEvent, after uint64) string {
	exists := last != nil && !last.Deleted
	switch {
	case last == nil && e.prev && e.Prev > after,
		last != nil && e.prev && exists && e.Prev != last.revision,
		last != nil && e.prev && !exists && e.Prev != 0:
		return fmt.Sprintf("the item before is of revision %d, and the change before is %v", e.Prev, last)
	case e.Deleted && last != nil && last.Deleted:
		return fmt.Sprintf("it is deleted, and was deleted at revision %d", last.revision)
	case e.Deleted:
		return ""
	case (e.Version == 1) != (e.CreateRevision == e.revision), e.Version == 0:
		return fmt.Sprintf("version %d was created at revision %d", e.Version, e.CreateRevision)
	case exists && (e.Version != last.Version+1 || e.CreateRevision != last.CreateRevision),
		last != nil && !exists && e.Version != 1,
		last == nil && e.Version > 1 && e.CreateRevision > after:
		return fmt.Sprintf("version %d, created at revision %d, follows %v", e.Version, e.CreateRevision, last)
	}
	return ""
}

// acknowledged checks that acknowledged changes were delivered, and none that was reported as
// not done.
func (j *judge) acknowledged() {
	for _, a := range j.h.changes.acked {
		if _, known := j.covers(a.revision); !known {
			continue
		}
		j.report.AckedCompared++
		c := j.h.changes.at[a.revision]
		if c == nil {
			note(&j.report.Acked, "%v was acknowledged at revision %d, of which no change was delivered", a.event, a.revision)
			continue
		}
		there := slices.ContainsFunc(c.events, func(e Event) bool {
			return e.Key == a.event.Key && e.Deleted == a.event.Deleted && e.Value == a.event.Value
		})
		if !there || a.whole != 0 && a.whole != len(c.events) {
			note(&j.report.Acked, "%v was acknowledged at revision %d, with %d changes, and %v were delivered", a.event, a.revision, a.whole, c.events)
		}
	}
	refused, written := map[string]bool{}, map[string]uint64{}
	for value := range j.h.notDone {
		refused[digest(value)] = true
	}
	for value, revision := range j.h.revision {
		written[digest(value)] = revision
	}
	for key, events := range j.byKey {
		for _, e := range events {
			if refused[e.Value] {
				note(&j.report.Acked, "%s got %q at revision %d, and that write was reported as not done", key, e.Value, e.revision)
			}
			if r, ok := written[e.Value]; ok && r != e.revision {
				note(&j.report.Acked, "%s got %q at revision %d, and a client saw it written at %d", key, e.Value, e.revision, r)
			}
		}
	}
}
