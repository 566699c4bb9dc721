package chronicle

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"sort"
	"strings"

	"github.com/kvorum/kvorum/kv"
)

// shortValue is the maximum length of a value that is recorded as it is.
const shortValue = 64

var seed = maphash.MakeSeed()

// brief returns a value as it is recorded. Equal values remain equal, different ones
// different.
func brief(value []byte) []byte {
	switch {
	case len(value) == 0:
		return nil
	case len(value) <= shortValue:
		return slices.Clone(value)
	}
	return fmt.Appendf(nil, "%s… of %d bytes, %016x", value[:shortValue/4], len(value), maphash.Bytes(seed, value))
}

// briefItem returns an item as it is recorded: it keeps no memory of a store.
func briefItem(it kv.Item) kv.Item {
	it.Key, it.ContentType, it.Value = strings.Clone(it.Key), strings.Clone(it.ContentType), brief(it.Value)
	return it
}

func briefItems(items []kv.Item) []kv.Item {
	if len(items) == 0 {
		return nil
	}
	short := make([]kv.Item, len(items))
	for i, it := range items {
		short[i] = briefItem(it)
	}
	return short
}

func briefEvents(events []kv.Event) []kv.Event {
	short := make([]kv.Event, len(events))
	for i, e := range events {
		short[i] = kv.Event{Kind: e.Kind, Item: briefItem(e.Item)}
		if e.Prev != nil {
			prev := briefItem(*e.Prev)
			short[i].Prev = &prev
		}
	}
	return short
}

// version is an item from a revision on, until the key's next version.
type version struct {
	revision uint64
	exists   bool
	item     kv.Item
}

// span is the revisions after one and up to another.
type span struct{ after, to uint64 }

// past has the states of a store, as far as they are known. It does not change once it is
// built.
type past struct {
	keys     []string // sorted
	versions map[string][]version
	known    []span // in order; the state at the end of a gap is known, those in it are not
}

// knows reports whether the state at a revision is known.
func (p *past) knows(revision uint64) bool {
	i := sort.Search(len(p.known), func(i int) bool { return p.known[i].to >= revision })
	return i < len(p.known) && revision >= p.known[i].after
}

// knowsChanges reports whether the changes of a revision, and the state before it, are known.
func (p *past) knowsChanges(revision uint64) bool {
	i := sort.Search(len(p.known), func(i int) bool { return p.known[i].to >= revision })
	return i < len(p.known) && revision > p.known[i].after
}

// last returns the newest revision whose state is known.
func (p *past) last() uint64 {
	if len(p.known) == 0 {
		return 0
	}
	return p.known[len(p.known)-1].to
}

// get returns the item of a key at a revision.
func (p *past) get(key string, revision uint64) (kv.Item, bool) {
	all := p.versions[key]
	i := sort.Search(len(all), func(i int) bool { return all[i].revision > revision })
	if i == 0 || !all[i-1].exists {
		return kv.Item{}, false
	}
	return all[i-1].item, true
}

// within returns the keys in a span that ever existed.
func (p *past) within(s kv.Span) []string {
	from, _ := slices.BinarySearch(p.keys, s.Start)
	to := len(p.keys)
	if s.End != "" {
		to, _ = slices.BinarySearch(p.keys, s.End)
	}
	return p.keys[from:max(from, to)]
}

// in returns the items in a span at a revision, in order.
func (p *past) in(s kv.Span, revision uint64) (items []kv.Item) {
	for _, key := range p.within(s) {
		if it, ok := p.get(key, revision); ok {
			items = append(items, it)
		}
	}
	return items
}

// set makes the state of a key from a revision on known.
func (p *past) set(key string, v version) {
	all := p.versions[key]
	if len(all) == 0 {
		p.keys = append(p.keys, key) // sorted in the end
	}
	if n := len(all); n > 0 && all[n-1].revision == v.revision {
		all[n-1] = v // the last change of the key in its revision
		return
	}
	p.versions[key] = append(all, v)
}

// base makes the whole state at a revision known.
func (p *past) base(revision uint64, items []kv.Item) {
	for key := range p.versions {
		p.set(key, version{revision: revision})
	}
	for _, it := range items {
		p.set(it.Key, version{revision: revision, exists: true, item: it})
	}
}

// build makes the past of the changes of revisions, of the revisions in which there were no
// others, and of whole states.
func build(changes map[uint64][]kv.Event, covered []span, bases map[uint64][]kv.Item) *past {
	p := &past{versions: map[string][]version{}}
	starts := sortedKeys(bases)
	revisions := sortedKeys(changes)
	covered = join(covered)
	for len(starts) > 0 {
		begin := starts[0]
		p.base(begin, bases[begin])
		end := begin
		for _, s := range covered {
			if s.after <= begin && s.to > begin {
				end = s.to
			}
		}
		from, _ := slices.BinarySearch(revisions, begin+1)
		for _, r := range revisions[from:] {
			if r > end {
				break
			}
			for _, e := range changes[r] {
				p.set(e.Item.Key, version{revision: r, exists: e.Kind == kv.EventPut, item: e.Item})
			}
		}
		p.known = append(p.known, span{begin, end})
		next, _ := slices.BinarySearch(starts, end+1)
		starts = starts[next:]
	}
	slices.Sort(p.keys)
	return p
}

// join returns the union of spans, in order.
func join(spans []span) (joined []span) {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.after, b.after) })
	for _, s := range spans {
		if n := len(joined); n > 0 && s.after <= joined[n-1].to {
			joined[n-1].to = max(joined[n-1].to, s.to)
		} else {
			joined = append(joined, s)
		}
	}
	return joined
}

func sortedKeys[V any](m map[uint64]V) []uint64 {
	keys := make([]uint64, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// byKeys is the order of items.
func byKeys(a, b kv.Item) int { return strings.Compare(a.Key, b.Key) }
