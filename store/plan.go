package store

import (
	"fmt"
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
	over     *overlay // this write's changes are its last
	start    mark     // of over, when the plan began
	evicted  []record
	expired  []record
	freed    int  // bytes of the keys that make room, which are part of its record
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

// put plans a new value. A key that has expired is removed by it and made again.
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

// clearAll plans the end of all keys.
func (p *plan) clearAll() error {
	if p.start.changes > 0 {
		return errAlone // what has expired is to be told of, and only data knows that
	}
	p.clear = true
	for r := range p.s.due(record{}, p.now) {
		p.expired = append(p.expired, r)
	}
	return nil
}

// remove plans the end of a key.
func (p *plan) remove(key string) {
	p.over.add(change{key: key, hash: hashOf(key)}, p.raw(key))
}

// free plans the end of a key to make room.
func (p *plan) free(r record) {
	p.freed += len(r.key())
	p.remove(r.key())
}

// within says whether the store is within its limits with this plan.
func (p *plan) within() bool {
	o := p.s.opts
	return p.s.entries+p.over.entries <= o.MaxEntries && (o.MaxBytes == 0 || p.s.bytes+p.over.bytes <= o.MaxBytes)
}

// fits is within for a plan that makes the store grow; any other one fits.
func (p *plan) fits() bool {
	return p.within() || (p.over.entries <= p.start.entries && p.over.bytes <= p.start.bytes)
}

// makeRoom removes keys until the store is within its limits with this plan:
// expired ones first, then victims of the policy. Nothing is removed for a plan
// that would not fit even alone.
func (p *plan) makeRoom() error {
	if p.fits() {
		return nil
	}
	if !p.fitsAlone() {
		return p.full()
	}
	// enough bounds how much one write removes, as its record must fit into the log. The
	// next writes remove the rest.
	enough := func() bool {
		much := len(p.expired)+len(p.evicted) >= maxBatchChanges || p.freed >= maxFreed
		return p.within() || (much && p.fits())
	}
	if p.expireDue(enough); enough() {
		return nil
	}
	policy := p.s.opts.EvictionPolicy
	for r := range p.s.data.victims(policy, p.over.last, p.evictsMany(), p.touches) {
		p.evicted = append(p.evicted, r)
		p.free(r)
		if policy == EvictionTTL && r.expires() {
			p.over.last = r
		}
		if enough() {
			return nil
		}
	}
	if !p.fits() {
		return p.full()
	}
	return nil
}

// fitsAlone says whether what the plan puts would be within the limits if there
// were nothing else.
func (p *plan) fitsAlone() bool {
	var count int
	var bytes int64
	for _, c := range p.changes() {
		newest, _ := p.over.find(c.key)
		if c.record.first != nil && newest == c.record {
			count, bytes = count+1, bytes+c.record.dataSize()
		}
	}
	o := p.s.opts
	return count <= o.MaxEntries && (o.MaxBytes == 0 || bytes <= o.MaxBytes)
}

// evictsMany says whether a large share of the store has to go.
func (p *plan) evictsMany() bool {
	o := p.s.opts
	return evictsMany(int64(p.s.entries+p.over.entries-o.MaxEntries), int64(p.s.entries)) ||
		(o.MaxBytes > 0 && evictsMany(p.s.bytes+p.over.bytes-o.MaxBytes, p.s.bytes))
}

// full returns ErrStoreFull of the first key that the plan puts, with the limit
// and the options that change it.
func (p *plan) full() error {
	o := p.s.opts
	err := fmt.Errorf("%w: the limit is %d keys; WithMaxEntries raises it, WithEvictionPolicy makes room", ErrStoreFull, o.MaxEntries)
	if p.s.entries+p.over.entries <= o.MaxEntries {
		err = fmt.Errorf("%w: the limit is %d bytes; WithMaxBytes raises it, WithEvictionPolicy makes room", ErrStoreFull, o.MaxBytes)
	}
	for _, c := range p.changes() {
		if c.record.first != nil {
			return NewKeyError(c.key, err)
		}
	}
	return err
}

// expireDue plans the end of keys that are past their deadline, the oldest
// first, until it is enough.
func (p *plan) expireDue(enough func() bool) {
	for r := range p.s.due(p.over.last, p.now) {
		if enough() {
			return
		}
		p.over.last = r
		if !p.touches(r.key()) {
			p.expired = append(p.expired, r)
			p.free(r)
		}
	}
}

// touches says whether this write, or one before it that is not applied, changes key.
func (p *plan) touches(key string) bool {
	_, ok := p.over.find(key)
	return ok
}
