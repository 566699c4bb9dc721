package omap

import (
	"iter"
	"strings"
)

// View is a Map at one instant. It never changes, and is safe for concurrent use. Writers of
// the Map don't wait for its readers. It holds only memory: that of its records, as long as
// there is a reference to the View.
type View struct {
	indexes []*index // never changed
	length  int
	size    int64
}

// Len returns the number of keys.
func (v *View) Len() int { return v.length }

// Size returns the size in bytes of all keys and values.
func (v *View) Size() int64 { return v.size }

// All yields the Items whose keys begin with prefix and are at or after start, in byte order
// of their keys. It may be ranged over several times, also concurrently. Its cost grows with
// the number of shards and of Items yielded. Values must not be modified.
func (v *View) All(prefix, start string) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		// Keys with one prefix are neighbours, and none of them is before the prefix itself.
		// So they begin at from and end at the first key without the prefix.
		from := max(prefix, start)
		seek := NewRecord(Item{Key: from[:min(len(from), MaxKeyLength)]})
		m := make(merge, 0, len(v.indexes))
		for _, x := range v.indexes {
			if c, ok := x.seek(seek); ok {
				m = append(m, c)
			}
		}
		m.init()
		for len(m) > 0 && m[0].key < from {
			m.advance()
		}
		for len(m) > 0 && strings.HasPrefix(m[0].key, prefix) {
			if !yield(m[0].current().Item()) {
				return
			}
			m.advance()
		}
	}
}

// merge is a binary min-heap of cursors by their present key. No two have the same key, since
// a key is in only one shard.
type merge []*cursor

func (m merge) init() {
	for i := len(m)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
}

// advance moves the first cursor by one record, and drops it at its end.
func (m *merge) advance() {
	h := *m
	if !h[0].next() {
		h[0] = h[len(h)-1]
		h = h[:len(h)-1]
		*m = h
	}
	h.down(0)
}

// down restores the heap's order below i.
func (m merge) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(m); child++ {
			if m[child].key < m[least].key {
				least = child
			}
		}
		if least == i {
			return
		}
		m[i], m[least] = m[least], m[i]
		i = least
	}
}
