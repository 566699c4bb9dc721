package httpapi_test

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	shapes "github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// fakeLease is a lease of a fakeNode. Its clock stands still, as that of the node.
type fakeLease struct {
	ttl  time.Duration
	left time.Duration // until it is kept alive
}

// leaseText returns the id of a lease as calls of a fakeNode have it.
func leaseText(id kv.LeaseID) string { return shapes.FormatLease(id) }

// grant makes a lease; mu is held. The ids that it chooses begin at 1.
func (n *fakeNode) grant(o *kv.Op) (kv.Result, error) {
	id := o.Lease
	if id == 0 {
		id = kv.LeaseID(len(n.leases) + 1)
	}
	if _, exists := n.leases[id]; exists {
		return kv.Result{}, kv.ErrLeaseExists
	}
	if n.leases == nil {
		n.leases = make(map[kv.LeaseID]fakeLease)
	}
	ttl := kv.EffectiveLeaseTTL(o.TTL)
	n.leases[id] = fakeLease{ttl, ttl - 500*time.Millisecond}
	return kv.Result{Lease: id, TTL: ttl}, nil
}

// revoke ends a lease; mu is held.
func (tx *fakeTx) revoke(o *kv.Op) (kv.Result, error) {
	if _, exists := tx.node.leases[o.Lease]; !exists {
		return kv.Result{}, kv.ErrLeaseNotFound
	}
	delete(tx.node.leases, o.Lease)
	keys := tx.node.keysOf(o.Lease)
	for _, key := range keys {
		tx.changed = true
		delete(tx.items, key)
	}
	return kv.Result{Deleted: len(keys)}, nil
}

// keysOf returns the keys of a lease in order; mu is held.
func (n *fakeNode) keysOf(id kv.LeaseID) (keys []string) {
	for _, it := range sorted(n.items, kv.All()) {
		if it.Lease == id {
			keys = append(keys, it.Key)
		}
	}
	return keys
}

func (n *fakeNode) KeepAlive(ctx context.Context, id kv.LeaseID) (time.Duration, error) {
	if err := n.begin(ctx, "keep alive", leaseText(id)); err != nil {
		return 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l, exists := n.leases[id]
	if exists {
		n.leases[id] = fakeLease{l.ttl, l.ttl}
	}
	return l.ttl, nil
}

func (n *fakeNode) TimeToLive(ctx context.Context, id kv.LeaseID, withKeys bool) (kv.LeaseStatus, error) {
	if err := n.begin(ctx, "time to live", leaseText(id)); err != nil {
		return kv.LeaseStatus{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l, exists := n.leases[id]
	if !exists {
		return kv.LeaseStatus{}, kv.ErrLeaseNotFound
	}
	status := kv.LeaseStatus{Lease: kv.Lease{ID: id, TTL: l.ttl}, Remaining: l.left}
	if withKeys {
		status.Keys = n.keysOf(id)
	}
	return status, nil
}

func (n *fakeNode) Leases(ctx context.Context, after kv.LeaseID, limit int) (kv.LeaseList, error) {
	if err := n.begin(ctx, "leases", leaseText(after)); err != nil {
		return kv.LeaseList{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var list kv.LeaseList
	ids := slices.SortedFunc(maps.Keys(n.leases), func(a, b kv.LeaseID) int { return cmp.Compare(uint64(a), uint64(b)) })
	for _, id := range ids {
		switch {
		case uint64(id) <= uint64(after):
		case limit > 0 && len(list.Leases) == limit:
			list.More = true
		default:
			list.Leases = append(list.Leases, kv.Lease{ID: id, TTL: n.leases[id].ttl})
		}
	}
	return list, nil
}
