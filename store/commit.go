package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/kvorum/kvorum/wal"
)

// Bounds of what the committer takes at once, and of what waits for it.
const (
	maxWaiting      = 4096     // writes that wait; a further one blocks its caller
	maxGroupWrites  = 1024     // writes of one append to the log
	maxGroupBytes   = 4 << 20  // where such a group is full
	maxBatchBytes   = 64 << 20 // of one Batch
	maxBatchChanges = 64 << 10
)

// decision is what a write makes of the present state of its keys.
type decision func(p *plan) error

// write is one call that changes something, on its way through the committer.
type write struct {
	decide decision
	done   chan error // one slot
	plan   plan       // set by the committer before done is sent to
}

// plan is what a write will change. Its reads see what the writes before it in
// the same group will change.
type plan struct {
	s        *Store
	now      int64  // nanoseconds since the Unix epoch
	sequence uint64 // of the write, if it changes something
	before   *pending
	own      map[string]*Item // nil Item: deleted
	changes  []Change         // in order
	evicted  []Item
	expired  []Item
	bytes    int64 // of keys and values in changes
	clear    bool  // remove everything instead
}

// pending is what a group has decided and not yet applied.
type pending struct {
	items map[string]*Item // nil Item: deleted
	count int              // keys more than in memory
	bytes int64            // bytes more than in memory
	clear bool             // the last write removes everything; the group ends there
}

// stored returns what there is of key before this write, expired or not; nil if nothing.
func (p *plan) stored(key string) *Item {
	if it, ok := p.before.items[key]; ok {
		return it
	}
	if it, ok := p.s.data.Get(key); ok {
		return &it
	}
	return nil
}

// raw returns what there is of key now, expired or not; nil if nothing.
func (p *plan) raw(key string) *Item {
	if it, ok := p.own[key]; ok {
		return it
	}
	return p.stored(key)
}

// get returns the present Item of key, nil if there is none or it has expired.
func (p *plan) get(key string) *Item {
	if it := p.raw(key); it != nil && !it.expired(p.now) {
		return it
	}
	return nil
}

// put plans a new value. A key that has expired ends here and starts anew.
func (p *plan) put(key string, value []byte, deadline int64) {
	next := Item{
		Key: key, Value: value, Deadline: deadline, Created: p.now, Updated: p.now,
		CreateRevision: p.sequence, ModRevision: p.sequence, Version: 1,
	}
	if old := p.raw(key); old != nil && old.expired(p.now) {
		p.expired = append(p.expired, *old)
	} else if old != nil {
		next.Created, next.CreateRevision, next.Version = old.Created, old.CreateRevision, old.Version+1
	}
	p.change(Change{Item: next}, &next)
}

// remove plans the end of a key.
func (p *plan) remove(key string) {
	p.change(Change{Item: Item{Key: key}, Delete: true}, nil)
}

// expire plans the end of a key that is past its deadline.
func (p *plan) expire(it Item) {
	p.expired = append(p.expired, it)
	p.remove(it.Key)
}

func (p *plan) change(c Change, it *Item) {
	p.own[c.Item.Key] = it
	p.changes = append(p.changes, c)
	p.bytes += int64(len(c.Item.Key) + len(c.Item.Value))
}

// growth returns how many keys and bytes more there are after the plan than in
// memory, the writes before it included.
func (p *plan) growth() (count int, bytes int64) {
	count, bytes = p.before.count, p.before.bytes
	for key, it := range p.own {
		if old := p.stored(key); old != nil {
			count, bytes = count-1, bytes-int64(len(key)+len(old.Value))
		}
		if it != nil {
			count, bytes = count+1, bytes+int64(len(key)+len(it.Value))
		}
	}
	return count, bytes
}

// makeRoom removes keys until the plan fits the store's limits: expired ones
// first, then victims of the policy. A plan that adds nothing needs no room.
func (p *plan) makeRoom() error {
	o := p.s.opts
	for {
		count, bytes := p.growth()
		over := p.s.entries + count - o.MaxEntries
		if o.MaxBytes > 0 && p.s.bytes+bytes > o.MaxBytes {
			over = max(over, 1)
		}
		if over <= 0 || (count <= p.before.count && bytes <= p.before.bytes) {
			return nil
		}
		if p.expireDue(over) {
			continue
		}
		victims := p.s.data.Victims(o.EvictionPolicy, over, p.touches)
		if len(victims) == 0 {
			return ErrStoreFull
		}
		for _, v := range victims {
			p.evicted = append(p.evicted, v)
			p.remove(v.Key)
		}
	}
}

// expireDue plans the end of up to n keys that are past their deadline, and
// says whether there were any.
func (p *plan) expireDue(n int) bool {
	found := false
	for _, it := range p.s.data.Due(p.now, n+len(p.own)+len(p.before.items)) {
		if !p.touches(it.Key) {
			p.expire(it)
			found = true
		}
	}
	return found
}

// touches says whether this write, or one before it in the group, changes key.
func (p *plan) touches(key string) bool {
	_, own := p.own[key]
	_, before := p.before.items[key]
	return own || before
}

// merge adds a decided plan to what the group will change.
func (b *pending) merge(p *plan) {
	b.clear = p.clear
	b.count, b.bytes = p.growth()
	for key, it := range p.own {
		b.items[key] = it
	}
}

// submit hands a write to the committer and waits for its end.
func (s *Store) submit(decide decision) error {
	began := time.Now()
	w := &write{decide: decide, done: make(chan error, 1)}
	select {
	case s.writes <- w:
	case <-s.stop:
		return ErrStoreClosed
	}
	var err error
	select {
	case err = <-w.done:
	case <-s.committed: // the committer has ended, and with it everything it took
		select {
		case err = <-w.done:
		default:
			err = ErrStoreClosed
		}
	}
	s.counters.writes.Add(1)
	s.counters.writeNanos.Add(int64(time.Since(began)))
	if err == nil {
		s.tell(&w.plan)
	}
	return err
}

// tell calls back for what a write has removed besides its own keys.
func (s *Store) tell(p *plan) {
	for _, it := range p.evicted {
		s.counters.evictions.Add(1)
		if s.opts.OnEvict != nil {
			s.opts.OnEvict(it.Key, it.Value)
		}
	}
	for _, it := range p.expired {
		s.counters.expirations.Add(1)
		if s.opts.OnExpire != nil {
			s.opts.OnExpire(it.Key, it.Value)
		}
	}
}

// commitLoop is the committer: it alone decides writes, appends them to the log
// and applies them, so that memory is in the log's order, conditions see every
// write before them, and writes that wait share a sync.
func (s *Store) commitLoop() {
	defer close(s.committed)
	for {
		select {
		case w := <-s.writes:
			s.commit(s.gather(w))
		case f := <-s.freeze:
			f <- frozen{view: s.data.View(), sequence: s.sequence, clock: s.now()}
		case <-s.stop:
			return
		}
	}
}

// gather takes what waits, up to the bounds of a group.
func (s *Store) gather(first *write) []*write {
	group := []*write{first}
	for len(group) < maxGroupWrites {
		select {
		case w := <-s.writes:
			group = append(group, w)
		default:
			return group
		}
	}
	return group
}

// commit decides a group's writes in order, makes them durable as the options
// say, applies them and tells their callers.
func (s *Store) commit(group []*write) {
	for len(group) > 0 {
		before := &pending{items: make(map[string]*Item)}
		var decided []*write
		var bytes int64
		n := 0
		for ; n < len(group) && bytes < maxGroupBytes && !before.clear; n++ {
			w := group[n]
			err := s.decide(w, before, s.sequence+uint64(len(decided))+1)
			if err != nil || (len(w.plan.changes) == 0 && !w.plan.clear) {
				w.done <- err
				continue
			}
			before.merge(&w.plan)
			decided = append(decided, w)
			bytes += w.plan.bytes
		}
		if len(decided) > 0 {
			s.finish(decided, before)
		}
		group = group[n:]
	}
}

// decide plans one write.
func (s *Store) decide(w *write, before *pending, sequence uint64) error {
	if err := s.failure(); err != nil {
		return err
	}
	w.plan = plan{s: s, now: s.now(), sequence: sequence, before: before, own: make(map[string]*Item)}
	if err := w.decide(&w.plan); err != nil {
		return err
	}
	return w.plan.makeRoom()
}

// finish appends the decided writes to the log, applies them and tells their callers.
func (s *Store) finish(decided []*write, all *pending) {
	if s.log != nil {
		frames := make([]wal.Frame, len(decided))
		for i, w := range decided {
			frames[i] = frameOf(&w.plan)
		}
		if err := s.log.Append(s.sequence+1, frames); err != nil {
			if !errors.Is(err, wal.ErrPayloadTooLarge) { // which changes nothing
				err = s.fail(fmt.Errorf("write to the log: %w", err))
			}
			for _, w := range decided {
				w.done <- err
			}
			return
		}
	}
	s.sequence += uint64(len(decided))
	s.entries += all.count
	s.bytes += all.bytes
	for _, w := range decided {
		if w.plan.clear {
			s.data.Clear()
			s.garbage.Add(int64(s.entries))
			s.entries, s.bytes = 0, 0
		}
		s.data.Apply(w.plan.changes)
		s.noteGarbage(w.plan.changes)
		w.done <- nil
	}
}

// frameOf returns the record of a plan for the log: one for a single change, a
// batch for several.
func frameOf(p *plan) wal.Frame {
	if p.clear {
		return wal.Frame{Type: wal.RecordTypeClear}
	}
	records := make([]*wal.Record, len(p.changes))
	for i, c := range p.changes {
		records[i] = &wal.Record{
			Type: wal.RecordTypePut, Key: []byte(c.Item.Key), Value: c.Item.Value,
			ExpiresAt: c.Item.Deadline, Sequence: c.Item.ModRevision, Timestamp: p.now,
		}
		if c.Delete {
			records[i].Type = wal.RecordTypeDelete
		}
	}
	if len(records) == 1 {
		return wal.Frame{Type: records[0].Type, Payload: records[0].Encode()}
	}
	return wal.Frame{Type: wal.RecordTypeBatch, Payload: wal.EncodeBatch(records)}
}

// fail latches the store: no write succeeds any more.
func (s *Store) fail(cause error) error {
	err := fmt.Errorf("%w: %w", ErrStoreFailed, cause)
	if s.failed.CompareAndSwap(nil, &err) {
		s.report(err)
	}
	return *s.failed.Load()
}

// failure returns what latched the store, nil if nothing did.
func (s *Store) failure() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// report tells of a failure outside of any call.
func (s *Store) report(err error) {
	s.opts.Logger.Error("store", "err", err)
	if s.opts.OnError != nil {
		s.background(func() { s.opts.OnError(err) })
	}
}
