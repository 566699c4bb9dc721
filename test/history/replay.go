package history

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// states compares the states with which streams began, and those of the end, with the result
// of the first one and the changes since, in each range of revisions without a gap.
func (j *judge) states() {
	all := slices.Clone(j.h.changes.states)
	slices.SortStableFunc(all, func(a, b state) int { return cmp.Compare(a.revision, b.revision) })
	for _, c := range j.known {
		within := func(revision uint64) bool { return c.after <= revision && revision <= c.upTo }
		at := slices.IndexFunc(j.h.changes.bases, func(b base) bool { return within(b.revision) })
		if at < 0 {
			continue
		}
		first := j.h.changes.bases[at]
		r := &replay{revision: first.revision, items: maps.Clone(first.items)}
		for _, item := range r.items {
			r.sum += sumOf(item)
		}
		for i := range all {
			if all[i].revision >= first.revision && within(all[i].revision) {
				j.state(r, &all[i])
			}
		}
	}
}

// state compares a state with the result of an earlier one.
func (j *judge) state(r *replay, s *state) {
	j.forward(r, s.revision)
	j.report.StatesCompared++
	if s.final != nil {
		j.report.FinalCompared++
	}
	if s.sum != r.sum || s.items != len(r.items) {
		note(&j.report.States, "the state of the %s at revision %d has %d keys, and the changes up to it make %d%s",
			s.from, s.revision, s.items, len(r.items), r.first(s.final))
	}
}

// replay is a state that changes are applied to.
type replay struct {
	revision uint64
	items    map[string]Item // with short values
	sum      uint64
}

// forward applies the changes up to a revision.
func (j *judge) forward(r *replay, revision uint64) {
	at, _ := slices.BinarySearch(j.revisions, r.revision+1)
	for ; at < len(j.revisions) && j.revisions[at] <= revision; at++ {
		for _, e := range j.h.changes.at[j.revisions[at]].events {
			if !strings.HasPrefix(e.Key, j.h.prefix) {
				continue
			}
			if old, ok := r.items[e.Key]; ok {
				r.sum -= sumOf(old)
				delete(r.items, e.Key)
			}
			if !e.Deleted {
				item := Item{e.Key, e.Value, e.CreateRevision, j.revisions[at], e.Version}
				r.items[e.Key] = item
				r.sum += sumOf(item)
			}
		}
	}
	r.revision = max(r.revision, revision)
}

// first describes the first difference to the items of a state, if they are known.
func (r *replay) first(items map[string]Item) string {
	if items == nil {
		return ", or other ones"
	}
	keys := slices.Collect(maps.Keys(items))
	keys = slices.AppendSeq(keys, maps.Keys(r.items))
	slices.Sort(keys)
	for _, key := range keys {
		if items[key] != r.items[key] {
			return ": " + key + " is " + items[key].describe() + ", and was " + r.items[key].describe()
		}
	}
	return ""
}

// past compares reads at a revision with the changes up to it.
func (j *judge) past() {
	for read, seen := range j.h.past {
		span, known := j.covers(read.revision)
		if !known {
			continue
		}
		j.report.PastCompared++
		events := j.byKey[read.key]
		i, _ := slices.BinarySearchFunc(events, read.revision+1, func(e keyEvent, revision uint64) int { return cmp.Compare(e.revision, revision) })
		var want Item
		if i > 0 && events[i-1].revision > span.after {
			if e := events[i-1]; !e.Deleted {
				want = Item{read.key, e.Value, e.CreateRevision, e.revision, e.Version}
			}
		} else if seen.item.ModRevision <= span.after {
			continue // it is older than all that is known
		}
		if seen.item != want {
			note(&j.report.Past, "%s at revision %d is %s for %s, and by the changes %s", read.key, read.revision, seen.item.describe(), seen.who, want.describe())
		}
	}
}
