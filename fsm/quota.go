package fsm

import (
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// The quota in the cluster's settings is kept by the leader, before a batch enters its log: it has
// one batch at a time on its way, so its state is the one before the batch. Replicas apply what is
// in the log, whatever the quota is.

// quotaVersion is the lowest command version that has quotas.
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

// Grows says whether requests alone would be refused. The others may be sent again without them.
func (e *QuotaError) Grows(requests wire.Requests) bool { return e.f.Fits(requests) != nil }

// Quota returns the quota in the settings, and how much of it is used.
func (f *FSM) Quota() kv.QuotaStatus {
	quota := f.state.Load().settings.Load().Quota
	return kv.QuotaStatus{MaxKeys: quota.MaxKeys, MaxBytes: quota.MaxBytes, Keys: int64(f.Len()), Bytes: f.Size()}
}

// Fits returns a *QuotaError if the data would exceed the quota of the settings after requests,
// whose facts must be set. Only operations that write values count, and deletes make no room for
// puts beside them, because their compares may not hold.
func (f *FSM) Fits(requests wire.Requests) error {
	quota := f.state.Load().settings.Load().Quota
	if quota.IsZero() || requests.Puts == 0 {
		return nil
	}
	keys, bytes := int64(f.Len()), f.Size()
	if quota.Fits(keys, bytes, int64(requests.Puts), requests.PutBytes) == nil {
		return nil // even if all keys are new
	}
	moreKeys, moreBytes := int64(requests.Puts), requests.PutBytes
	if g, ok := f.growthOf(requests, growth{values: true}); ok {
		moreKeys, moreBytes = g.keys, g.bytes
	}
	if err := quota.Fits(keys, bytes, moreKeys, moreBytes); err != nil {
		return &QuotaError{err, f}
	}
	return nil
}
