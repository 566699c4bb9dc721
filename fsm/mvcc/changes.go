package mvcc

import "github.com/kvorum/kvorum/kv"

const (
	// changesScanned is the number of changes after which Changes.Next returns, at the end of
	// a revision, although it found none in its span.
	changesScanned = 4096
	// batchChanges is the maximum number of changes of a Batch.
	batchChanges = kv.MaxWatchEvents
	// batchBytes is the number of bytes of keys, values and previous values after which a
	// Batch has no further change.
	batchBytes = kv.MaxWatchBytes
)

// Change is one change of a key.
type Change struct {
	Version
	// Previous is the item before the change's revision, if there was one and
	// ChangesOptions asks for it.
	Previous kv.Item
	Existed  bool // whether there was a Previous
}

// bytes returns the number of bytes of the keys and values of a change.
func (c *Change) bytes() int {
	return len(c.Item.Key) + len(c.Item.Value) + len(c.Previous.Key) + len(c.Previous.Value)
}

// Batch has changes of one revision: all that are wanted, or a part of them.
type Batch struct {
	// Revision is that of the changes. If there are none, it is one up to which there are
	// no more.
	Revision uint64
	// Changes are in the order in which they were made. Their items alias the store's
	// memory, and stay valid. There are at most batchChanges,
	// which have at most batchBytes of keys and values besides the last one.
	Changes []Change
	// More says that the store has later changes, which may be wanted.
	More bool
	// Partial says that the revision has more changes that are wanted, and the next Batch
	// has the first of them, whose order is Order.
	Partial bool
	Order   uint32
}

// ChangesOptions say what Changes returns.
type ChangesOptions struct {
	From     uint64 // the revision of the first changes
	Order    uint32 // changes of From before this one are left out
	Span     kv.Span
	Wants    func(*Version) bool // whether a change in Span is returned; nil means all are
	Previous bool                // whether to find Change.Previous
}

// Changes returns the changes of keys in the order in which they were made. It has no buffer,
// and keeps nothing in memory: the history may be compacted before it is read, and Next says
// so. It belongs to one goroutine.
type Changes struct {
	s        *Store
	options  ChangesOptions
	next     uint64 // the revision of the next changes
	order    uint32 // of the first of them
	position uint64 // of the first of them in the log
	placed   bool   // position is known

	checkedForTesting func() // if it is set, Next calls it after its first look at the compact revision
}

// Changes returns the changes in a span from a revision on.
func (s *Store) Changes(options ChangesOptions) *Changes {
	return &Changes{s: s, options: options, next: options.From, order: options.Order}
}

// Skip leaves out changes before a revision, and those of it before an order.
func (c *Changes) Skip(revision uint64, order uint32) {
	if revision > c.next || revision == c.next && order > c.order {
		c.next, c.order, c.placed = revision, order, false
	}
}

// Next returns the changes of the next revision that has any that are wanted, or the next
// part of them. If there are none yet, it returns a Batch without changes. It does so too
// after several thousand changes that are not wanted, and then Batch.More is true. The error
// is a *kv.CompactedError if changes that were not returned yet are compacted.
func (c *Changes) Next() (Batch, error) {
	newest := c.s.revision.Load() // before the end of the log, which is published first
	if c.next > newest {
		return Batch{Revision: newest}, nil
	}
	from, order := c.next, c.order
	if err := c.check(from); err != nil {
		return Batch{}, err
	}
	if c.checkedForTesting != nil {
		c.checkedForTesting()
	}
	if !c.placed {
		c.position, c.placed = c.s.log.search(&c.s.keys.arena, from, order), true
	}
	b := c.scan(newest)
	if err := c.check(from); err != nil { // what was read may be incomplete
		c.next, c.order, c.placed = from, order, false
		return Batch{}, err
	}
	return b, nil
}

// check returns an error if changes of a revision are compacted.
func (c *Changes) check(revision uint64) error {
	if oldest := c.s.oldestChange.Load(); revision < oldest {
		return &kv.CompactedError{Revision: revision, CompactRevision: oldest}
	}
	return nil
}

// scan reads the log from position to the end of the next revision with changes that are
// wanted, or to the end of a part of it. If the history is compacted meanwhile, it may read
// too little.
func (c *Changes) scan(newest uint64) (b Batch) {
	s := c.s
	end, pages := s.log.published.Load(), s.log.pages.Load()
	bytes := 0
	for scanned := 0; c.position < end; scanned++ {
		rec := s.keys.arena.at(pages.at(c.position))
		if rec.isZero() {
			return b
		}
		revision := rec.head().revision()
		if revision > newest {
			break
		}
		if revision != b.Revision && b.Revision != 0 && (len(b.Changes) > 0 || scanned >= changesScanned) {
			b.More = true
			c.next, c.order = revision, 0
			return b
		}
		b.Revision = revision
		if change, wanted := c.change(rec); wanted {
			if len(b.Changes) == batchChanges || bytes >= batchBytes {
				b.More, b.Partial, b.Order = true, true, change.Order
				c.next, c.order = revision, change.Order
				return b
			}
			bytes += change.bytes()
			b.Changes = append(b.Changes, change)
		}
		c.position++
	}
	if len(b.Changes) == 0 {
		b.Revision = newest
	}
	c.next, c.order = b.Revision+1, 0
	return b
}

// change returns the change that made rec, and whether it is wanted.
func (c *Changes) change(rec record) (change Change, wanted bool) {
	if !c.options.Span.Contains(rec.key()) {
		return change, false
	}
	change.Version = rec.version()
	if c.options.Wants != nil && !c.options.Wants(&change.Version) {
		return change, false
	}
	if !c.options.Previous {
		return change, true
	}
	for revision := rec.head().revision(); !rec.isZero() && rec.head().revision() == revision; {
		rec = c.s.keys.arena.at(rec.previous())
	}
	change.Previous, change.Existed = rec.item(), rec.exists()
	return change, true
}
