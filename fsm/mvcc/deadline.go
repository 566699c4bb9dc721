package mvcc

import (
	"sync/atomic"

	"github.com/google/btree"

	"github.com/kvorum/kvorum/kv"
)

// expiryDegree is the degree of the B-tree of deadlines: a node has up to 63 of them, 1 KiB.
const expiryDegree = 32

// expiry is a key that exists and has a deadline.
type expiry struct {
	deadline int64
	slot     uint32 // of the key
}

// deadlines is the index of the keys that exist and have a deadline, in order of the
// deadlines, and in byte order of the keys where these are equal. Its nodes have no pointers
// beside those to their children. All but next belong to the writer.
type deadlines struct {
	order *btree.BTreeG[expiry]
	next  atomic.Int64 // the first deadline after the newest entry, 0 for none
}

// init makes d an empty index of keys.
func (d *deadlines) init(k *keys) {
	d.order = btree.NewG(expiryDegree, func(a, b expiry) bool {
		if a.deadline != b.deadline {
			return a.deadline < b.deadline
		}
		return a.slot != b.slot && k.key(a.slot) < k.key(b.slot)
	})
}

// change replaces the deadline of a key by another one; 0 is none. The key's slot has a
// version.
func (d *deadlines) change(slot uint32, before, after int64) {
	if before == after {
		return
	}
	if before != 0 {
		d.order.Delete(expiry{before, slot})
	}
	if after != 0 {
		d.order.ReplaceOrInsert(expiry{after, slot})
	}
}

// first returns the first deadline, 0 if there is none.
func (d *deadlines) first() int64 {
	if d.order.Len() == 0 {
		return 0
	}
	one, _ := d.order.Min()
	return one.deadline
}

// publish lets NextDeadline return the first deadline.
func (d *deadlines) publish() { d.next.Store(d.first()) }

// bytes returns about the memory of the index: its nodes are two thirds full.
func (d *deadlines) bytes() int64 { return int64(d.order.Len()) * 24 }

// NextDeadline returns the earliest deadline of a key in the newest state, whether or not the
// clock has reached it, in milliseconds of the cluster clock. It returns 0 if no key has one.
func (s *Store) NextDeadline() int64 { return s.deadlines.next.Load() }

// Expiring returns the number of keys that have a deadline. It waits for the present Tx.
func (s *Store) Expiring() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deadlines.order.Len()
}

// Due reports whether the clock has reached the deadline of a key.
func (t *Tx) Due() bool {
	first := t.s.deadlines.first()
	return first != 0 && first <= t.clock
}

// DueKeys appends to keys up to most keys whose deadlines the clock has reached, in order of
// the deadlines, and in byte order of the keys where these are equal. The keys alias the
// store's memory.
func (t *Tx) DueKeys(keys []string, most int) []string {
	t.s.deadlines.order.Ascend(func(one expiry) bool {
		if one.deadline > t.clock || most == 0 {
			return false
		}
		most--
		keys = append(keys, t.s.keys.key(one.slot))
		return true
	})
	return keys
}

// Expire deletes a key whose deadline the clock has reached, and returns its item and whether
// there was one. Otherwise it is Delete.
func (t *Tx) Expire(key string, cause uint8) (previous kv.Item, existed bool) {
	return t.remove(key, cause, true)
}

// expired reports whether a clock has reached the deadline of a version. It is false of a
// deletion.
func (r record) expired(clock int64) bool {
	h := r.head()
	if !h.has(flagDeadline) {
		return false
	}
	var it kv.Item
	r.readItem(h, &it)
	return it.Deadline <= clock
}

// existsAt reports whether the key of a version exists after it while the clock is at most
// clock; 0 is before all deadlines.
func (r record) existsAt(clock int64) bool { return r.exists() && (clock == 0 || !r.expired(clock)) }
