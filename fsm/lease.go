package fsm

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/google/btree"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// The state has leases: their ids and their times to live. The keys that are attached to them are
// in the state's data, which keeps an index of them. When a lease runs out is not in the state.
// The leader decides that in its memory, and ends the lease with an entry of the log
// (ExpireLeasesRequest).

const (
	// leaseVersion is the lowest command version that has leases.
	leaseVersion = 4
	// leaseBytes is about the memory of a lease.
	leaseBytes = 128
	// maxExpiredLeases is the maximum number of leases that one ExpireLeasesRequest ends.
	maxExpiredLeases = 1000
	// leaseDegree is the degree of the B-tree of leases.
	leaseDegree = 32
)

// lease is a lease of the state.
type lease struct {
	id  kv.LeaseID
	ttl int64 // in milliseconds
	// granted is the index of the entry that has made it. A lease that ended and one that was
	// made later with its id differ by it.
	granted uint64
}

// hash returns the hash of a lease.
func (l *lease) hash() uint64 {
	var head [1 + 3*8]byte
	head[0] = hashLease
	binary.LittleEndian.PutUint64(head[1:], uint64(l.id))
	binary.LittleEndian.PutUint64(head[9:], uint64(l.ttl))
	binary.LittleEndian.PutUint64(head[17:], l.granted)
	return sum64(head[:], "", nil)
}

// public returns the lease as clients see it.
func (l *lease) public() kv.Lease {
	return kv.Lease{ID: l.id, TTL: time.Duration(l.ttl) * time.Millisecond}
}

// made returns the change that makes the lease.
func (l *lease) made() kv.LeaseChange {
	return kv.LeaseChange{ID: l.id, TTL: l.public().TTL, Granted: l.granted}
}

// leases are the leases of a state, in the order of their ids as numbers without a sign. FSM.mu
// guards them. A clone of the tree is a snapshot of them.
type leases struct {
	order *btree.BTreeG[lease]
	hash  uint64     // the sum, modulo 2^64, of their hashes
	feed  *leaseFeed // nil if nobody follows the leases
}

func newLeases() leases {
	return leases{order: btree.NewG(leaseDegree, func(a, b lease) bool { return uint64(a.id) < uint64(b.id) })}
}

// find returns a lease and whether there is one.
func (s *leases) find(id kv.LeaseID) (lease, bool) { return s.order.Get(lease{id: id}) }

// add adds a lease, which is a new one.
func (s *leases) add(l lease) {
	s.order.ReplaceOrInsert(l)
	s.hash += l.hash()
	s.feed.add(l.made())
}

// remove removes a lease, which exists.
func (s *leases) remove(l lease) {
	s.order.Delete(l)
	s.hash -= l.hash()
	s.feed.add(kv.LeaseChange{ID: l.id, Granted: l.granted, Ended: true})
}

// checkLease returns why the lease of an operation does not allow it.
func (t *tx) checkLease(o *kv.Op) error {
	_, exists := t.state.leases.find(o.Lease)
	switch {
	case o.Kind == kv.OpGrant && exists:
		return fmt.Errorf("%w: %v", kv.ErrLeaseExists, o.Lease)
	case o.Kind == kv.OpGrant && t.state.leases.order.Len() >= t.seams.leaseLimit():
		return fmt.Errorf("%w: there are %d leases, the limit", kv.ErrOverloaded, t.state.leases.order.Len())
	case o.Kind == kv.OpGrant:
		return nil
	case !exists:
		return fmt.Errorf("%w: %v", kv.ErrLeaseNotFound, o.Lease)
	case o.Kind == kv.OpRevoke:
		t.budget.keys -= t.data.LeaseLen(o.Lease)
		return nil
	}
	return t.checkAttach(o)
}

// checkAttach refuses a put after which its lease could have too many keys: as if those that the
// request attaches to any lease were new ones of this lease.
func (t *tx) checkAttach(o *kv.Op) error {
	if before, found := t.data.Get(o.Key); found && before.Lease == o.Lease {
		return nil
	}
	t.budget.attached++
	if n := t.data.LeaseLen(o.Lease); n+t.budget.attached > t.seams.leaseKeyLimit() {
		return fmt.Errorf("%w: the lease %v has %d keys, the limit is %d", kv.ErrKeyLimit, o.Lease, n, t.seams.leaseKeyLimit())
	}
	return nil
}

// grant makes a lease and appends the result.
func (t *tx) grant(dst []byte, o *kv.Op) []byte {
	l := lease{id: o.Lease, ttl: kv.EffectiveLeaseTTL(o.TTL).Milliseconds(), granted: t.index}
	for l.id == 0 {
		l.id = t.newLeaseID()
	}
	t.state.leases.add(l)
	dst, field := wire.OpenField(append(dst, resultLease), 0)
	dst = binary.AppendVarint(dst, int64(l.id))
	return field.Close(binary.AppendUvarint(dst, uint64(l.ttl)))
}

// newLeaseID returns a positive id that no lease has, or 0. It depends on the entry and on the
// number of ids that the entry has taken, so that all replicas choose the same. The clock makes
// it differ from those of a history that was lost, in which an entry had the same index.
func (t *tx) newLeaseID() kv.LeaseID {
	t.idsTaken++
	var seed [1 + 3*8]byte
	seed[0] = hashLeaseID
	binary.LittleEndian.PutUint64(seed[1:], t.index)
	binary.LittleEndian.PutUint64(seed[9:], uint64(t.clock))
	binary.LittleEndian.PutUint64(seed[17:], t.idsTaken)
	id := kv.LeaseID(sum64(seed[:], "", nil) & math.MaxInt64)
	if _, taken := t.state.leases.find(id); taken {
		return 0
	}
	return id
}

// revoke ends a lease, which exists, and appends the result.
func (t *tx) revoke(dst []byte, o *kv.Op) []byte {
	l, _ := t.state.leases.find(o.Lease)
	deleted := t.endLease(l, causeDelete)
	dst, field := wire.OpenField(append(dst, resultDelete), 0)
	dst = appendNumber(append(dst, 0), deleted)
	return field.Close(append(dst, 0)) // no items
}

// endLease removes a lease and the keys that are attached to it, in order. Keys that have expired
// already are removed as such. It returns the number of the others.
func (t *tx) endLease(l lease, cause uint8) (deleted int) {
	t.keys = t.data.LeaseKeys(t.keys[:0], l.id)
	for _, key := range t.keys {
		if previous, existed := t.data.Delete(key, cause); existed {
			t.removed(&previous, cause)
			deleted++
		} else {
			t.expire(key)
		}
	}
	t.state.leases.remove(l)
	return deleted
}

// ExpireLeasesRequest returns the request that ends leases because they have run out, with the
// keys that are attached to them. Ids behind the first maxExpiredLeases are left out. It has an
// effect only in an entry of the given term, and on leases that were granted by an entry up to
// granted. So a request that its leader has written too late ends no lease that was kept alive,
// or made, since. It takes a revision if there are keys.
func ExpireLeasesRequest(term, granted uint64, ids []kv.LeaseID) wire.Requests {
	ids = ids[:min(len(ids), maxExpiredLeases)]
	value := binary.AppendUvarint(binary.AppendUvarint(nil, term), granted)
	for _, id := range ids {
		value = binary.BigEndian.AppendUint64(value, uint64(id))
	}
	return internalRequest(tagExpireLeases, kv.Op{Value: value})
}

// decodeExpireLeases checks the list of leases in an operation's value.
func decodeExpireLeases(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	o.Value = r.Rest()
	r = wire.NewReader(o.Value)
	r.Uvarint()
	r.Uvarint()
	if r.Err() == nil && (r.Len()%8 != 0 || r.Len() > 8*maxExpiredLeases) {
		r.Malformed("list of leases has a wrong length")
	}
	for r.Len() > 0 && r.Err() == nil {
		r.Uint64()
	}
	return r
}

// expireLeases ends leases that have run out.
func (t *tx) expireLeases(o *kv.Op) {
	r := wire.NewReader(o.Value)
	term, granted := r.Uvarint(), r.Uvarint()
	if term != t.term {
		return
	}
	for r.Len() > 0 {
		if l, exists := t.state.leases.find(kv.LeaseID(r.Uint64())); exists && l.granted <= granted {
			t.endLease(l, causeExpire)
		}
	}
}

// LeaseKeys returns the keys that are attached to a lease, in byte order, and whether there is
// such a lease. The keys alias the state's memory.
func (f *FSM) LeaseKeys(id kv.LeaseID) (keys []string, found bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state.Load()
	if _, found = s.leases.find(id); !found {
		return nil, false
	}
	return s.data.LeaseKeys(id), true
}

// LeaseLen returns about the number of keys that are attached to a lease.
func (f *FSM) LeaseLen(id kv.LeaseID) int { return f.state.Load().data.LeaseLen(id) }

// Leases returns up to limit leases behind after, in the order of their ids as numbers without a
// sign.
func (f *FSM) Leases(after kv.LeaseID, limit int) kv.LeaseList {
	f.mu.Lock()
	order := f.state.Load().leases.order.Clone()
	f.mu.Unlock()
	list := kv.LeaseList{}
	order.AscendGreaterOrEqual(lease{id: after}, func(l lease) bool {
		if l.id == after {
			return true
		}
		if list.More = len(list.Leases) == limit; list.More {
			return false
		}
		list.Leases = append(list.Leases, l.public())
		return true
	})
	return list
}

// LeaseCount returns the number of leases.
func (f *FSM) LeaseCount() int { return int(f.state.Load().leaseCount.Load()) }

// countLeases makes it known how many leases there are.
func (s *state) countLeases() { s.leaseCount.Store(int64(s.leases.order.Len())) }

// leaseLimit and leaseKeyLimit are the limits of leases, or shorter ones for tests.
func (s *Seams) leaseLimit() int    { return cmp.Or(s.MaxLeases, kv.MaxLeases) }
func (s *Seams) leaseKeyLimit() int { return cmp.Or(s.MaxLeaseKeys, kv.MaxLeaseKeys) }
