package watch

import (
	"bytes"
	"strings"
	"sync"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

const (
	// sharedParts is the maximum number of parts of revisions that are kept for other
	// watchers, and sharedBytes that of their bytes, without what users make of them. A larger
	// part is not kept.
	sharedParts = 1024
	sharedBytes = 8 << 20
	// eventBytes is the number of bytes of an event besides its keys, content types and values.
	eventBytes = 256
)

// shared keeps the newest parts of revisions for the other watchers of the same span, so that
// they are read and encoded once for all of them. The parts are copies, so that they keep no
// memory of the store.
type shared struct {
	mu    sync.Mutex // guards the fields below
	parts map[partKey]*part
	order []partKey // of parts, the oldest first
	bytes int
}

// partKey names a part: who wants it, and where it begins.
type partKey struct {
	group    *group
	kinds    kv.EventKinds
	prev     bool
	revision uint64
	order    uint32
}

// part is a part of a revision, or a whole one.
type part struct {
	batch kv.WatchBatch
	order uint32 // of the next part's first change, if the batch is partial
	bytes int
}

// get returns a part, nil if there is none.
func (s *shared) get(k partKey) *part {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts[k]
}

// put keeps a part that was read from a store, unless that is no longer the hub's. It returns
// the part that is kept for the key, nil if none is.
func (s *shared) put(h *Hub, from *mvcc.Store, k partKey, p *part) *part {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.store.Load() != from { // with mu held: the hub clears the parts after it replaces the store
		return nil
	}
	if other := s.parts[k]; other != nil {
		return other
	}
	if s.parts == nil {
		s.parts = make(map[partKey]*part)
	}
	s.parts[k] = p
	s.order = append(s.order, k)
	s.bytes += p.bytes
	for s.bytes > sharedBytes || len(s.order) > sharedParts {
		s.bytes -= s.parts[s.order[0]].bytes
		delete(s.parts, s.order[0])
		s.order = s.order[1:]
	}
	return p
}

// clear forgets all parts.
func (s *shared) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts, s.order, s.bytes = nil, nil, 0
}

// newPart returns a copy of a batch that several watches return, nil if it is too large to be
// kept for them.
func newPart(b kv.WatchBatch, order uint32) *part {
	p := &part{batch: b, order: order, bytes: bytesOf(b.Events)}
	if p.bytes > sharedBytes {
		return nil
	}
	p.batch.Forms = new(kv.BatchForms)
	p.batch.Events = make([]kv.Event, len(b.Events))
	for i, e := range b.Events {
		copyItem(&e.Item)
		if e.Prev != nil {
			prev := *e.Prev
			copyItem(&prev)
			e.Prev = &prev
		}
		p.batch.Events[i] = e
	}
	return p
}

// bytesOf returns the number of bytes that copies of events take.
func bytesOf(events []kv.Event) (n int) {
	for i := range events {
		e := &events[i]
		n += eventBytes + len(e.Item.Key) + len(e.Item.ContentType) + len(e.Item.Value)
		if e.Prev != nil {
			n += len(e.Prev.Key) + len(e.Prev.ContentType) + len(e.Prev.Value)
		}
	}
	return n
}

// copyItem makes an item keep no memory of the store.
func copyItem(it *kv.Item) {
	it.Key, it.ContentType, it.Value = strings.Clone(it.Key), strings.Clone(it.ContentType), bytes.Clone(it.Value)
}
