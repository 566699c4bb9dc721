package httpapi

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/kvorum/kvorum/kv"
)

// writeOrdered writes the entries of a list in order of the keys.
func (l *listing) writeOrdered() {
	p := &l.params
	for span, going := p.rest(p.span(), p.after), true; going; {
		going = false
		for item := range p.iterate(l.view, span) {
			if !l.goesOn() {
				return
			}
			if p.limit > 0 && l.count == p.limit {
				if l.more = true; !p.reverse && p.delimiter == "" {
					l.next = item.Key
				}
				return
			}
			if prefix, ok := p.commonPrefix(item.Key); ok {
				l.writePrefix(prefix)
				span, going = p.rest(span, l.last), true // the next keys that don't have it
				break
			}
			l.writeItem(&item, place{key: item.Key})
		}
	}
}

// iterate yields the items of a span in the order of the list.
func (p *listParams) iterate(view kv.View, span kv.Span) iter.Seq[kv.Item] {
	switch {
	case span.Empty():
		return func(func(kv.Item) bool) {}
	case p.reverse:
		return p.shown(view.Descend(span))
	}
	return p.shown(view.Ascend(span))
}

// shown yields the items that the pages before have not hidden.
func (p *listParams) shown(items iter.Seq[kv.Item]) iter.Seq[kv.Item] {
	if p.hidden == 0 {
		return items
	}
	return func(yield func(kv.Item) bool) {
		for it := range items {
			if expired := it.Deadline != 0 && it.Deadline <= p.hidden; !expired && !yield(it) {
				return
			}
		}
	}
}

// rest returns the part of a span that follows a place, all of it for nil.
func (p *listParams) rest(span kv.Span, after *place) kv.Span {
	switch {
	case after == nil:
		return span
	case p.reverse:
		if span.End == "" || after.key < span.End {
			span.End = after.key
		}
		return span
	}
	next := after.key + "\x00"
	if _, ok := p.commonPrefix(after.key); ok {
		if next = kv.Prefix(after.key).End; next == "" {
			return kv.Span{Start: after.key, End: after.key} // no key follows the prefix
		}
	}
	span.Start = max(span.Start, next)
	return span
}

// commonPrefix returns the beginning of a key up to the first delimiter after the prefix, and
// whether there is one.
func (p *listParams) commonPrefix(key string) (string, bool) {
	if p.delimiter == "" || !strings.HasPrefix(key, p.prefix) {
		return "", false
	}
	i := strings.Index(key[len(p.prefix):], p.delimiter)
	if i < 0 {
		return "", false
	}
	return key[:len(p.prefix)+i+len(p.delimiter)], true
}

// writeSorted writes the entries of a list in the order of a number, and of the keys where
// that is the same. It looks at all keys of the range, and keeps as many as limit allows.
func (l *listing) writeSorted() {
	p, number := &l.params, sortKeys[l.params.sort]
	order := func(a, b place) int {
		c := cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.key, b.key))
		if p.reverse {
			return -c
		}
		return c
	}
	placeOf := func(it *kv.Item) place { return place{number(it), it.Key} }
	var first []kv.Item // those with the lowest places, and the next one
	keep := func() {
		slices.SortFunc(first, func(a, b kv.Item) int { return order(placeOf(&a), placeOf(&b)) })
		first = first[:min(len(first), p.limit+1)]
	}
	for item := range p.shown(l.view.Ascend(p.span())) {
		if !l.goesOn() {
			return // what is in first may not be the first entries
		}
		if p.after != nil && order(placeOf(&item), *p.after) <= 0 {
			continue
		}
		if first = append(first, item); len(first) > 2*p.limit {
			keep()
		}
	}
	if l.view.Err() != nil {
		return
	}
	keep()
	for i := range first {
		if l.more = i == p.limit; l.more || !l.goesOn() {
			return
		}
		l.writeItem(&first[i], placeOf(&first[i]))
	}
}
