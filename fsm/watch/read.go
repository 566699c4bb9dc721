package watch

import (
	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

// reader reads the changes of a store. The zero value belongs to no store.
type reader struct {
	store   *mvcc.Store
	changes *mvcc.Changes
}

// read returns the changes of the next revision that has some for this watch, or a part of
// them. It may return none, and then all before next have been looked at.
func (w *Watch) read() (kv.WatchBatch, error) {
	s := w.h.store.Load()
	if s == nil {
		return kv.WatchBatch{}, nil
	}
	if s != w.reader.store {
		w.reader = reader{} // also if the batch comes from another watcher
	}
	several := w.group.several.Load()
	if several {
		if p := w.h.shared.get(w.partKey(w.next, w.order)); p != nil {
			return w.returned(p), nil
		}
	}
	if w.reader.store == nil {
		w.reader = reader{s, s.Changes(mvcc.ChangesOptions{
			From: w.next, Order: w.order, Span: w.options.Span, Wants: w.wants, Previous: w.options.PrevItems,
		})}
	} else {
		w.reader.changes.Skip(w.next, w.order)
	}
	changes, err := w.reader.changes.Next()
	if err != nil {
		return kv.WatchBatch{}, err
	}
	b := kv.WatchBatch{Revision: changes.Revision, Events: eventsOf(changes.Changes), Partial: changes.Partial}
	if several && len(b.Events) > 0 {
		if p := w.share(s, b, changes.Order); p != nil {
			return w.returned(p), nil
		}
	}
	return w.returned(&part{batch: b, order: changes.Order}), nil
}

// share keeps a copy of a batch that was read from a store for the other watchers of the span.
// It returns the part that is kept for all of them, nil if none is.
func (w *Watch) share(s *mvcc.Store, b kv.WatchBatch, order uint32) *part {
	p := newPart(b, order)
	if p == nil {
		return nil
	}
	first := uint32(0) // of the part's changes
	if w.partial && b.Revision == w.next {
		first = w.order
	}
	return w.h.shared.put(w.h, s, w.partKey(b.Revision, first), p)
}

// partKey names the part of a revision that the watch wants from an order on.
func (w *Watch) partKey(revision uint64, order uint32) partKey {
	return partKey{w.group, w.options.Kinds, w.options.PrevItems, revision, order}
}

// returned moves the watch behind a part and returns its batch.
func (w *Watch) returned(p *part) kv.WatchBatch {
	if w.partial = p.batch.Partial; w.partial {
		w.next, w.order = p.batch.Revision, p.order
	} else {
		w.next, w.order = max(w.next, p.batch.Revision+1), 0
	}
	return p.batch
}

// wants reports whether the watch returns a change.
func (w *Watch) wants(v *mvcc.Version) bool { return w.options.Kinds.Has(kindOf(v)) }

// eventsOf returns the events of changes.
func eventsOf(changes []mvcc.Change) []kv.Event {
	if len(changes) == 0 {
		return nil
	}
	events := make([]kv.Event, len(changes))
	for i := range changes {
		c := &changes[i]
		events[i] = kv.Event{Kind: kindOf(&c.Version), Item: c.Item}
		if c.Existed {
			events[i].Prev = &c.Previous
		}
	}
	return events
}

// kindOf returns the kind of a version's event. The cause of a deletion is its kind, counted
// from EventDelete.
func kindOf(v *mvcc.Version) kv.EventKind {
	if !v.Deleted {
		return kv.EventPut
	}
	return kv.EventDelete + kv.EventKind(v.Cause)
}
