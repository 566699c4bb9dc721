package store

import "github.com/kvorum/kvorum/internal/omap"

// overlaySmall is the number of changes up to which an overlay is searched from its end.
// A larger one keeps a map of the newest change of each key.
const overlaySmall = 8

// overlay is a sequence of changes that are decided, and that the map does not show yet:
// those of all rounds that are not applied. The committer owns it.
type overlay struct {
	changes []omap.Change
	entries int   // keys more than in the map
	bytes   int64 // of keys and values, more than in the map

	dropped int            // the number of changes that came first and were dropped
	newest  map[string]int // number of each key's newest change, dropped ones counted; nil while there are few
	older   []int          // beside changes if newest is not nil: number of the key's previous change, -1 for none

	// last is the record up to which decisions have taken records in the order of
	// deadlines, the zero record at first: all that precede it in the map are changed.
	last omap.Record

	spare map[string]int // an empty map that newest may be next
}

// find returns the record that key's newest change puts there, which is the
// zero record if it deletes, and whether there is a change.
func (o *overlay) find(key string) (omap.Record, bool) {
	if o.newest != nil {
		n, ok := o.newest[key]
		if !ok {
			return omap.Record{}, false
		}
		return o.changes[n-o.dropped].Record(), true
	}
	for i := len(o.changes) - 1; i >= 0; i-- {
		if o.changes[i].Key() == key {
			return o.changes[i].Record(), true
		}
	}
	return omap.Record{}, false
}

// add appends a change of a key whose present record is old, the zero record for none.
func (o *overlay) add(c omap.Change, old omap.Record) {
	if !old.IsZero() {
		o.entries, o.bytes = o.entries-1, o.bytes-old.Size()
	}
	if !c.Record().IsZero() {
		o.entries, o.bytes = o.entries+1, o.bytes+c.Record().Size()
	}
	o.changes = append(o.changes, c)
	switch {
	case o.newest != nil:
		o.note(len(o.changes) - 1)
	case len(o.changes) > overlaySmall:
		if o.newest = o.spare; o.newest == nil {
			o.newest = make(map[string]int)
		}
		for i := range o.changes {
			o.note(i)
		}
	}
}

// note makes the change at i the newest of its key.
func (o *overlay) note(i int) {
	key := o.changes[i].Key()
	before, ok := o.newest[key]
	if !ok {
		before = -1
	}
	o.older = append(o.older[:i], before)
	o.newest[key] = o.dropped + i
}

// mark is a state of an overlay that rollback restores, until some of it is dropped.
type mark struct {
	changes, entries int
	bytes            int64
	last             omap.Record
}

func (o *overlay) mark() mark { return mark{len(o.changes), o.entries, o.bytes, o.last} }

// rollback takes back the changes that were added since m.
func (o *overlay) rollback(m mark) {
	for i := len(o.changes) - 1; i >= m.changes && o.newest != nil; i-- {
		if key := o.changes[i].Key(); o.older[i] < o.dropped {
			delete(o.newest, key)
		} else {
			o.newest[key] = o.older[i]
		}
	}
	clear(o.changes[m.changes:])
	o.changes, o.entries, o.bytes, o.last = o.changes[:m.changes], m.entries, m.bytes, m.last
	if o.newest != nil {
		o.older = o.older[:m.changes]
	}
}

// drop removes the n oldest changes. The map has them now, and holds so many entries and
// bytes more with them.
func (o *overlay) drop(n, entries int, bytes int64) {
	if n == len(o.changes) {
		o.reset()
		return
	}
	if o.newest != nil {
		for i, c := range o.changes[:n] {
			if o.newest[c.Key()] == o.dropped+i {
				delete(o.newest, c.Key())
			}
		}
		o.older = o.older[:copy(o.older, o.older[n:])]
	}
	left := copy(o.changes, o.changes[n:])
	clear(o.changes[left:])
	o.changes, o.dropped = o.changes[:left], o.dropped+n
	o.entries, o.bytes = o.entries-entries, o.bytes-bytes
	o.last = omap.Record{} // the map has new records, with deadlines before it
}

// reset empties the overlay and keeps the memory of usual rounds.
func (o *overlay) reset() {
	if cap(o.changes) > 8*maxRoundWrites {
		*o = overlay{}
		return
	}
	if o.newest != nil {
		clear(o.newest)
		o.spare = o.newest
	}
	clear(o.changes)
	*o = overlay{changes: o.changes[:0], older: o.older[:0], spare: o.spare}
}
