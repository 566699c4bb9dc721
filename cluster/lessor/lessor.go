package lessor

import (
	"sync"
	"time"

	"github.com/google/btree"

	"github.com/kvorum/kvorum/kv"
)

// degree is that of the B-tree of deadlines.
const degree = 32

// Lessor has the deadlines of leases. All methods are safe for concurrent use. Times are in
// milliseconds of the cluster clock; the caller rounds the present time down for Due, Remaining
// and Renew, and up for what Renew and Grant count from.
type Lessor struct {
	mu     sync.Mutex
	leases map[kv.LeaseID]lease    // guarded by mu
	order  *btree.BTreeG[deadline] // guarded by mu; of all leases
}

// lease is a lease that has not ended.
type lease struct {
	ttl      int64 // in milliseconds
	deadline int64
	granted  uint64 // see kv.LeaseChange
	ending   bool
}

// deadline is when a lease runs out.
type deadline struct {
	at int64
	id kv.LeaseID
}

// New returns a Lessor that knows no lease.
func New() *Lessor {
	return &Lessor{leases: map[kv.LeaseID]lease{}, order: btree.NewG(degree, func(a, b deadline) bool {
		if a.at != b.at {
			return a.at < b.at
		}
		return a.id < b.id
	})}
}

// Apply notes changes of leases, in order. A lease that was granted runs out after its time to
// live and extra, counted from now.
func (l *Lessor) Apply(changes []kv.LeaseChange, now int64, extra time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range changes {
		c := &changes[i]
		before, known := l.leases[c.ID]
		if known {
			l.order.Delete(deadline{before.deadline, c.ID})
			delete(l.leases, c.ID)
		}
		if c.Ended {
			continue
		}
		one := lease{ttl: c.TTL.Milliseconds(), granted: c.Granted}
		one.deadline = now + one.ttl + extra.Milliseconds()
		l.leases[c.ID] = one
		l.order.ReplaceOrInsert(deadline{one.deadline, c.ID})
	}
}

// Answer says what became of a Renew.
type Answer uint8

// Answers.
const (
	Unknown Answer = iota // there is no such lease
	Renewed
	Ending // the lease has run out, and has not ended yet
)

// Renew gives a lease its whole time to live again, counted from `from`, unless it is due at now.
// from is not before now.
func (l *Lessor) Renew(id kv.LeaseID, now, from int64) (ttl time.Duration, answer Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one, known := l.leases[id]
	switch {
	case !known:
		return 0, Unknown
	case one.ending || one.deadline <= now:
		return 0, Ending
	}
	if until := from + one.ttl; until > one.deadline { // a new leader may have given it more
		l.order.Delete(deadline{one.deadline, id})
		one.deadline = until
		l.order.ReplaceOrInsert(deadline{until, id})
		l.leases[id] = one
	}
	return time.Duration(one.ttl) * time.Millisecond, Renewed
}

// Remaining returns what is left of the time of a lease, at least 0, and its time to live. known
// is false if there is no such lease.
func (l *Lessor) Remaining(id kv.LeaseID, now int64) (remaining, ttl time.Duration, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one, known := l.leases[id]
	if !known {
		return 0, 0, false
	}
	left := max(0, one.deadline-now)
	if one.ending {
		left = 0
	}
	const most = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(min(left, most)) * time.Millisecond, time.Duration(one.ttl) * time.Millisecond, true
}

// Due returns leases that are due at now, the earliest first, and the greatest Granted of them.
// From then on they are ending. It stops after most leases, or once they have mostKeys keys
// together, of which keys returns the number.
func (l *Lessor) Due(now int64, most, mostKeys int, keys func(kv.LeaseID) int) (ids []kv.LeaseID, granted uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.order.Ascend(func(d deadline) bool {
		if d.at > now || len(ids) == most || mostKeys <= 0 {
			return false
		}
		one := l.leases[d.id]
		one.ending = true
		l.leases[d.id] = one
		granted = max(granted, one.granted)
		ids = append(ids, d.id)
		mostKeys -= keys(d.id)
		return true
	})
	return ids, granted
}

// Next returns the earliest deadline. ok is false if there is no lease.
func (l *Lessor) Next() (at int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, ok := l.order.Min()
	return d.at, ok
}

// Len returns the number of leases.
func (l *Lessor) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.leases)
}
