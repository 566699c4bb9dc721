package store

import (
	"iter"
	"strings"

	"github.com/google/btree"
)

// View is a ShardedMap as it was at one instant. It never changes, and writers
// of the map don't wait for its readers. It holds no resource but memory: the
// records that it shows, until it is dropped.
type View struct {
	trees  []*btree.BTreeG[record] // never written
	length int
	size   int64
}

// Len returns the number of keys.
func (v *View) Len() int { return v.length }

// Size returns the number of bytes that all keys and values have.
func (v *View) Size() int64 { return v.size }

// All yields the Items whose keys begin with prefix and are at or after start,
// in byte order of their keys. It may be ranged over many times, concurrently
// too. It costs by the number of shards and of Items yielded.
func (v *View) All(prefix, start string) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		// Keys with one prefix are neighbours, and the first of them is the
		// prefix itself: from here on they end at the first key without it.
		from := newRecord(Item{Key: max(prefix, start)})
		m := make(merge, 0, len(v.trees))
		for _, t := range v.trees {
			c := &cursor{tree: t, prefix: prefix}
			if c.fill(from) {
				m = append(m, c)
			}
		}
		m.init()
		for len(m) > 0 {
			if !yield(m[0].record().item()) {
				return
			}
			m.advance()
		}
	}
}

// A cursor's chunks begin small, so that a short list doesn't read many records
// of every shard, and double up to where the seek before each no longer counts.
const (
	minChunk = 4
	maxChunk = 256
)

// cursor walks one tree in chunks, since btree can only push and a merge has to pull.
type cursor struct {
	tree   *btree.BTreeG[record]
	prefix string

	chunk []record
	pos   int    // chunk[pos] is where the cursor stands
	key   string // the key there
	last  bool   // nothing follows the chunk
}

// record returns the record that the cursor stands at.
func (c *cursor) record() record { return c.chunk[c.pos] }

// next moves on by one record. It returns false at the end.
func (c *cursor) next() bool {
	if c.pos+1 == len(c.chunk) {
		return !c.last && c.fill(c.record())
	}
	c.pos++
	c.key = c.record().key()
	return true
}

// fill reads the next chunk: records behind from, or with its key if from isn't
// the tree's own. It returns false if there are none.
func (c *cursor) fill(from record) bool {
	size := min(max(minChunk, 2*len(c.chunk)), maxChunk)
	c.chunk, c.pos = c.chunk[:0], 0
	c.tree.AscendGreaterOrEqual(from, func(r record) bool {
		if r == from {
			return true
		}
		if !strings.HasPrefix(r.key(), c.prefix) {
			return false
		}
		c.chunk = append(c.chunk, r)
		return len(c.chunk) < size
	})
	c.last = len(c.chunk) < size
	if len(c.chunk) == 0 {
		return false
	}
	c.key = c.record().key()
	return true
}

// merge is a binary min-heap of cursors by the key they stand at. No two stand
// at the same key, since a key is in one shard only.
type merge []*cursor

func (m merge) init() {
	for i := len(m)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
}

// advance moves the first cursor on and drops it at its end.
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
