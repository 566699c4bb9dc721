package fsm

import (
	"fmt"
	"math"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// The quota in the cluster's settings is kept by the leader, before a batch enters its log: it has
// one batch at a time on its way, so its state is the one before the batch. Replicas apply what is
// in the log, whatever the quota is.

// quotaVersion is the lowest command version that has quotas, and eviction.
const quotaVersion = 4

// QuotaError is returned for requests after which the data would exceed the quota. It is of class
// kv.ErrDataLimit.
type QuotaError struct {
	err error
	f   *FSM
}

// Error implements error.
func (e *QuotaError) Error() string { return e.err.Error() }

// Unwrap returns the error with its class.
func (e *QuotaError) Unwrap() error { return e.err }

// Grows says whether requests add to what the quota limits. The others may be sent again without
// them.
func (e *QuotaError) Grows(requests wire.Requests) bool {
	quota := e.f.state.Load().settings.Load().Quota
	added := e.f.added(requests, false) // as in a batch: alone they may be less
	const full = math.MaxInt64 / 2
	return quota.Fits(full, full, added.keys, added.bytes) != nil
}

// Quota returns the quota in the settings, how much of it is used, and how many keys were evicted.
func (f *FSM) Quota() kv.QuotaStatus {
	quota := f.state.Load().settings.Load().Quota
	return kv.QuotaStatus{
		MaxKeys: quota.MaxKeys, MaxBytes: quota.MaxBytes, Eviction: quota.Eviction.String(),
		Keys: int64(f.Len()), Bytes: f.Size(), Evicted: f.evicted.Load(),
	}
}

// added returns by how much the operations of requests that write values make the data longer at
// most, whichever of the requests are refused when they are applied. alone says that there is one.
// Deletes make no room for puts beside them, because their compares may not hold.
func (f *FSM) added(requests wire.Requests, alone bool) growth {
	if g, ok := f.growthOf(requests, growth{values: true, alone: alone}); ok {
		return g
	}
	return growth{keys: int64(requests.Puts), bytes: requests.PutBytes}
}

// MakeRoom decides whether requests, whose facts must be set, keep the quota of the settings. Count
// is 0 if they do as they are. Otherwise it returns the request of the leader's own that evicts keys.
// If done is set, they keep it behind that request. If it is not, more keys must be evicted than one
// request can, and MakeRoom is to be called again once it is applied. While the data exceeds the
// quota, which has become lower, requests must not make it longer. The error is a *QuotaError.
func (f *FSM) MakeRoom(requests wire.Requests) (evict wire.Requests, done bool, err error) {
	quota := f.state.Load().settings.Load().Quota
	if quota.IsZero() || requests.Puts == 0 {
		return evict, true, nil
	}
	keys, bytes := int64(f.Len()), f.Size()
	if quota.Fits(keys, bytes, int64(requests.Puts), requests.PutBytes) == nil {
		return evict, true, nil // even if all keys are new
	}
	more := f.added(requests, requests.Count == 1)
	full := quota.Fits(keys, bytes, more.keys, more.bytes)
	if full == nil {
		return evict, true, nil
	}
	if quota.Eviction != kv.EvictionNone && quota.Fits(0, 0, more.keys, more.bytes) == nil {
		var needed need
		if quota.MaxKeys != 0 && more.keys > 0 {
			needed.keys = keys + more.keys - max(keys, quota.MaxKeys)
		}
		if quota.MaxBytes != 0 && more.bytes > 0 {
			needed.bytes = bytes + more.bytes - max(bytes, quota.MaxBytes)
		}
		if evict, done = f.evictions(&quota, needed, more.lengths, false); evict.Count > 0 {
			return evict, done, nil
		}
		full = fmt.Errorf("%w; there are not enough keys that quota.eviction, %s, and quota.protected_prefixes allow to evict", full, quota.Eviction)
	}
	return wire.Requests{}, false, &QuotaError{full, f}
}
