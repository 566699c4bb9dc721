package store

import (
	"fmt"
	"math"
	"time"

	"github.com/kvorum/kvorum/internal/access"
	"github.com/kvorum/kvorum/internal/omap"
)

// decision plans the changes of a write from the present state of its keys.
type decision func(p *plan) error

// plan is the changes of one write, while it is decided. Its reads see the changes of the
// previous writes. Values are copied when they are planned: the records that a plan holds,
// and shows to callbacks, are the store's own.
type plan struct {
	s        *Store
	now      int64    // nanoseconds since the Unix epoch
	sequence uint64   // of the write, if it changes something
	over     *overlay // this write's changes are its last
	start    mark     // of over, when the plan began
	evicted  []omap.Record
	expired  []omap.Record
	freed    int  // bytes of the keys that are removed to make room: the log's record has them too
	clear    bool // the write removes everything instead
}

// changes returns the plan's changes so far. It may be called until the next plan begins.
func (p *plan) changes() []omap.Change { return p.over.changes[p.start.changes:] }

// raw returns the present record of key, expired or not, the zero record if there is none.
func (p *plan) raw(key string) omap.Record {
	if r, ok := p.over.find(key); ok {
		return r
	}
	return p.s.data.Record(key)
}

// get returns the present record of key, the zero record if there is none or it
// has expired.
func (p *plan) get(key string) omap.Record {
	if r := p.raw(key); !r.IsZero() && !r.Expired(p.now) {
		return r
	}
	return omap.Record{}
}

// put plans a new value. A key that has expired counts as removed, and as made by this
// write.
func (p *plan) put(key string, value []byte, deadline int64) {
	next := omap.Item{
		Key: key, Value: value, Deadline: deadline, Created: p.now, Updated: p.now,
		CreateRevision: p.sequence, ModRevision: p.sequence, Version: 1,
	}
	old := p.raw(key)
	switch {
	case old.IsZero():
	case old.Expired(p.now):
		p.expired = append(p.expired, old)
	default:
		it := old.Item()
		next.Created, next.CreateRevision, next.Version = it.Created, it.CreateRevision, it.Version+1
	}
	r := omap.NewRecord(next)
	p.over.add(omap.Put(r), old)
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
	if p.get(key).IsZero() {
		return NewKeyError(key, ErrKeyNotFound)
	}
	p.remove(key)
	return nil
}

// clearAll plans the end of all keys.
func (p *plan) clearAll() error {
	if p.start.changes > 0 {
		return errAlone // OnExpire is to be told of expired keys, and only data has them in order
	}
	p.clear = true
	for r := range p.s.due(omap.Record{}, p.now) {
		p.expired = append(p.expired, r)
	}
	return nil
}

// remove plans the end of a key.
func (p *plan) remove(key string) {
	p.over.add(omap.Removal(key), p.raw(key))
}

// free plans the end of a key to make room.
func (p *plan) free(r omap.Record) {
	p.freed += len(r.Key())
	p.remove(r.Key())
}

// within says whether the store is within its limits once the plan is applied.
func (p *plan) within() bool {
	o := p.s.opts
	return p.s.entries+p.over.entries <= o.MaxEntries && (o.MaxBytes == 0 || p.s.bytes+p.over.bytes <= o.MaxBytes)
}

// fits says whether the plan may be applied: the store is within its limits then, or does
// not grow.
func (p *plan) fits() bool {
	return p.within() || (p.over.entries <= p.start.entries && p.over.bytes <= p.start.bytes)
}

// makeRoom plans the removal of keys until the store is within its limits: expired ones
// first, then victims of the policy. Nothing is removed for a plan that would not fit into
// an empty store.
func (p *plan) makeRoom() error {
	if p.fits() {
		return nil
	}
	if !p.fitsAlone() {
		return p.full()
	}
	// enough also limits how much one write removes, because its record must fit into the
	// log. The next writes remove the rest.
	enough := func() bool {
		much := len(p.expired)+len(p.evicted) >= maxBatchChanges || p.freed >= maxFreed
		return p.within() || (much && p.fits())
	}
	if p.expireDue(enough); enough() {
		return nil
	}
	policy := p.s.opts.EvictionPolicy
	for r := range p.s.victims(policy, p.over.last, p.evictsMany(), p.touches) {
		p.evicted = append(p.evicted, r)
		p.free(r)
		if policy == EvictionTTL && r.Expires() {
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
		newest, _ := p.over.find(c.Key())
		if !c.Record().IsZero() && newest == c.Record() {
			count, bytes = count+1, bytes+c.Record().Size()
		}
	}
	o := p.s.opts
	return count <= o.MaxEntries && (o.MaxBytes == 0 || bytes <= o.MaxBytes)
}

// evictsMany says whether a large share of the store has to be removed, or whether it has so few
// keys that a sample, in which a key may come twice, would not be cheaper.
func (p *plan) evictsMany() bool {
	o := p.s.opts
	return p.s.entries <= access.Sample || evictsMany(int64(p.s.entries+p.over.entries-o.MaxEntries), int64(p.s.entries)) ||
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
		if !c.Record().IsZero() {
			return NewKeyError(c.Key(), err)
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
		if !p.touches(r.Key()) {
			p.expired = append(p.expired, r)
			p.free(r)
		}
	}
}

// touches says whether this write, or a previous one that is not applied, changes key.
func (p *plan) touches(key string) bool {
	_, ok := p.over.find(key)
	return ok
}
