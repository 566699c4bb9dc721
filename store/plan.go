package store

import (
	"math"
	"time"
)

// decision is what a write makes of the present state of its keys.
type decision func(p *plan) error

// plan is what one write will change. Its reads see what the writes before it
// will change. Values are copied when they are planned: what a plan holds, and
// shows to callbacks, is the store's own.
type plan struct {
	s        *Store
	now      int64    // nanoseconds since the Unix epoch
	sequence uint64   // of the write, if it changes something
	over     *overlay // of the round; this write's changes are its last
	start    mark     // of over, when the plan began
	evicted  []record
	expired  []record
	clear    bool // remove everything instead
}

// changes returns what the plan has changed so far, as long as no later one began.
func (p *plan) changes() []change { return p.over.changes[p.start.changes:] }

// raw returns what there is of key now, expired or not; the zero record if nothing.
func (p *plan) raw(key string) record {
	if r, ok := p.over.find(key); ok {
		return r
	}
	return p.s.data.get(key)
}

// get returns the present record of key, the zero record if there is none or it
// has expired.
func (p *plan) get(key string) record {
	if r := p.raw(key); r.first != nil && !r.expired(p.now) {
		return r
	}
	return record{}
}

// put plans a new value. A key that has expired ends here and starts anew.
func (p *plan) put(key string, value []byte, deadline int64) {
	next := Item{
		Key: key, Value: value, Deadline: deadline, Created: p.now, Updated: p.now,
		CreateRevision: p.sequence, ModRevision: p.sequence, Version: 1,
	}
	old := p.raw(key)
	switch {
	case old.first == nil:
	case old.expired(p.now):
		p.expired = append(p.expired, old)
	default:
		it := old.item()
		next.Created, next.CreateRevision, next.Version = it.Created, it.CreateRevision, it.Version+1
	}
	r := newRecord(next)
	p.over.add(change{key: r.key(), hash: hashOf(key), record: r}, old)
}

// set plans a new value that expires after ttl, 0 for never.
func (p *plan) set(key string, value []byte, ttl time.Duration) error {
	var deadline int64
	if ttl > 0 {
		if int64(ttl) > math.MaxInt64-p.now {
			return NewKeyError(key, ErrInvalidTTL)
		}
		deadline = p.now + int64(ttl)
	}
	p.put(key, value, deadline)
	return nil
}

// delete plans the end of a key that must exist.
func (p *plan) delete(key string) error {
	if p.get(key).first == nil {
		return NewKeyError(key, ErrKeyNotFound)
	}
	p.remove(key)
	return nil
}

// remove plans the end of a key.
func (p *plan) remove(key string) {
	p.over.add(change{key: key, hash: hashOf(key)}, p.raw(key))
}

// makeRoom removes keys until the plan fits the store's limits: expired ones
// first, then victims of the policy. A plan that adds nothing needs no room.
func (p *plan) makeRoom() error {
	o, over := p.s.opts, p.over
	for {
		excess := p.s.entries + over.count - o.MaxEntries
		if o.MaxBytes > 0 && p.s.bytes+over.bytes > o.MaxBytes {
			excess = max(excess, 1)
		}
		if excess <= 0 || (over.count <= p.start.count && over.bytes <= p.start.bytes) {
			return nil
		}
		if p.expireDue(excess) {
			continue
		}
		victims := p.s.data.victims(o.EvictionPolicy, excess, p.touches)
		if len(victims) == 0 {
			return ErrStoreFull
		}
		for _, v := range victims {
			p.evicted = append(p.evicted, v)
			p.remove(v.key())
		}
	}
}

// expireDue plans the end of up to n keys that are past their deadline, and
// says whether there were any.
func (p *plan) expireDue(n int) bool {
	found := false
	for _, r := range p.s.data.due(p.now, n+len(p.over.changes)) {
		if n > 0 && !p.touches(r.key()) {
			p.expired = append(p.expired, r)
			p.remove(r.key())
			n, found = n-1, true
		}
	}
	return found
}

// touches says whether this write, or one before it in the round, changes key.
func (p *plan) touches(key string) bool {
	_, ok := p.over.find(key)
	return ok
}
