package store

// overlaySmall is up to how many changes an overlay is searched from its end,
// and from where on it keeps a map of the newest.
const overlaySmall = 8

// overlay is what writes have decided, in order, and the map does not show yet:
// the changes of all rounds that are not applied. The committer owns it.
type overlay struct {
	changes []change
	entries int   // keys more than in the map
	bytes   int64 // of keys and values, more than in the map

	dropped int            // changes before those
	newest  map[string]int // number of each key's newest change, dropped ones counted; nil while there are few
	older   []int          // beside changes where newest is not nil: number of the key's change before, -1 for none

	// last is how far decisions have come in the order of deadlines, the zero record
	// at first: what is in the map up to it, and has a deadline, is changed.
	last record

	spare map[string]int // empty: what newest was before, for another time
}

// find returns the record that key's newest change puts there, which is the
// zero record if it deletes, and whether there is a change.
func (o *overlay) find(key string) (record, bool) {
	if o.newest != nil {
		n, ok := o.newest[key]
		if !ok {
			return record{}, false
		}
		return o.changes[n-o.dropped].record, true
	}
	for i := len(o.changes) - 1; i >= 0; i-- {
		if o.changes[i].key == key {
			return o.changes[i].record, true
		}
	}
	return record{}, false
}

// add appends a change of a key that held old until now, the zero record for nothing.
func (o *overlay) add(c change, old record) {
	if old.first != nil {
		o.entries, o.bytes = o.entries-1, o.bytes-old.dataSize()
	}
	if c.record.first != nil {
		o.entries, o.bytes = o.entries+1, o.bytes+c.record.dataSize()
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
	key := o.changes[i].key
	before, ok := o.newest[key]
	if !ok {
		before = -1
	}
	o.older = append(o.older[:i], before)
	o.newest[key] = o.dropped + i
}

// mark is a state of an overlay that it can go back to, until some of it is dropped.
type mark struct {
	changes, entries int
	bytes            int64
	last             record
}

func (o *overlay) mark() mark { return mark{len(o.changes), o.entries, o.bytes, o.last} }

// rollback takes back what was added since m.
func (o *overlay) rollback(m mark) {
	for i := len(o.changes) - 1; i >= m.changes && o.newest != nil; i-- {
		if key := o.changes[i].key; o.older[i] < o.dropped {
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

// drop removes the n oldest changes, which the map has now, and with it so many
// more entries and bytes.
func (o *overlay) drop(n, entries int, bytes int64) {
	if n == len(o.changes) {
		o.reset()
		return
	}
	if o.newest != nil {
		for i, c := range o.changes[:n] {
			if o.newest[c.key] == o.dropped+i {
				delete(o.newest, c.key)
			}
		}
		o.older = o.older[:copy(o.older, o.older[n:])]
	}
	left := copy(o.changes, o.changes[n:])
	clear(o.changes[left:])
	o.changes, o.dropped = o.changes[:left], o.dropped+n
	o.entries, o.bytes = o.entries-entries, o.bytes-bytes
	o.last = record{} // the map has new records, with deadlines before it
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
