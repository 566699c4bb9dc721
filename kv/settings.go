package kv

import (
	"cmp"
	"fmt"
	"time"
)

// Settings are settings of the whole cluster. They are replicated, so all members have the
// same. A number that is 0 is not set: the default applies.
type Settings struct {
	// History says how much history the leader keeps before it compacts.
	History Retention `json:"history"`
	// MaxKeyBytes and MaxValueBytes are limits of requests, see Limits. The default is the
	// configuration of each node. MaxValueBytes can't be set above that of a member that
	// answers, because its memory is divided for values of that length. A member that does not
	// answer then takes such values all the same, and the leader logs it later.
	MaxKeyBytes   int `json:"max_key_bytes,omitempty"`
	MaxValueBytes int `json:"max_value_bytes,omitempty"`
	// MaxRequestOps is another one. The default is the constant MaxRequestOps.
	MaxRequestOps int `json:"max_request_ops,omitempty"`
	// Idempotency says which answers to requests with an IdempotencyKey are kept.
	Idempotency Idempotency `json:"idempotency,omitzero"`
	// Quota limits the data. By default there is none.
	Quota Quota `json:"quota,omitzero"`
}

// Idempotency says which answers to requests with an IdempotencyKey are kept: those of the last
// Window. No answer is dropped earlier. A request with a new key is refused with ErrOverloaded
// while MaxKeys or MaxBytes are reached.
type Idempotency struct {
	// Window is how long an answer is kept after its request was carried out, by the cluster
	// clock, in nanoseconds.
	Window time.Duration `json:"window,omitempty"`
	// MaxKeys is the maximum number of answers that are kept.
	MaxKeys int64 `json:"max_keys,omitempty"`
	// MaxBytes is the maximum memory of them, of which each counts IdempotencyKeyBytes beside
	// its key and itself. The last one may exceed it.
	MaxBytes int64 `json:"max_bytes,omitempty"`
}

// Limits of an Idempotency, and its defaults. Each replica decides by the defaults where nothing is
// set: to change them takes a new command version. An answer to a put, with a key of 36 bytes, takes
// about 150 bytes: the default memory is that of 750 such requests per second.
const (
	DefaultIdempotencyWindow = 10 * time.Minute
	DefaultIdempotencyKeys   = 1_000_000
	DefaultIdempotencyBytes  = 64 << 20 // 64 MiB

	// MinIdempotencyWindow is the minimum of Idempotency.Window: a client's wait before it
	// sends a request again must fit.
	MinIdempotencyWindow = time.Second
	// IdempotencyKeyBytes is about the number of bytes that a kept answer takes in memory beside
	// its key and itself. Each replica decides by it: to change it takes a new command version.
	IdempotencyKeyBytes = 100
)

// WithDefaults returns what applies, with the defaults where nothing is set.
func (i Idempotency) WithDefaults() Idempotency {
	return Idempotency{
		Window:   cmp.Or(i.Window, DefaultIdempotencyWindow),
		MaxKeys:  cmp.Or(i.MaxKeys, DefaultIdempotencyKeys),
		MaxBytes: cmp.Or(i.MaxBytes, DefaultIdempotencyBytes),
	}
}

// Retention says how much history is kept: as much as all of its limits allow.
type Retention struct {
	// MaxAge is the maximum age of a revision that can be read, in nanoseconds.
	MaxAge time.Duration `json:"max_age"`
	// MaxRevisions is the maximum number of revisions that can be read.
	MaxRevisions uint64 `json:"max_revisions"`
	// MaxBytes is the maximum memory of superseded versions.
	MaxBytes int64 `json:"max_bytes"`
}

// Limits of a Retention, and its defaults.
const (
	DefaultHistoryAge   = 10 * time.Minute
	DefaultHistoryBytes = 256 << 20 // 256 MiB

	// MinHistoryAge is the minimum of Retention.MaxAge: the time that a reader of pages, or
	// a watcher that reconnects, needs.
	MinHistoryAge = time.Second
	// MinHistoryBytes is the minimum of Retention.MaxBytes.
	MinHistoryBytes = 1 << 20 // 1 MiB
)

// WithDefaults returns the retention with its defaults of age and bytes where they are not
// set. The number of revisions is unlimited by default.
func (r Retention) WithDefaults() Retention {
	if r.MaxAge == 0 {
		r.MaxAge = DefaultHistoryAge
	}
	if r.MaxBytes == 0 {
		r.MaxBytes = DefaultHistoryBytes
	}
	return r
}

// Limits returns the limits of requests: those that are set, and otherwise those of node.
func (s Settings) Limits(node Limits) Limits {
	if s.MaxKeyBytes != 0 {
		node.MaxKeyBytes = s.MaxKeyBytes
	}
	if s.MaxValueBytes != 0 {
		node.MaxValueBytes = s.MaxValueBytes
	}
	if s.MaxRequestOps != 0 {
		node.MaxRequestOps = s.MaxRequestOps
	}
	return node
}

// Validate returns a *ValidationError if a setting is out of range.
func (s Settings) Validate() error {
	for _, bound := range []struct {
		field       string
		value       int64
		least, most int64
	}{
		{"history.max_age", int64(s.History.MaxAge), int64(MinHistoryAge), int64(100 * 365 * 24 * time.Hour)},
		{"history.max_bytes", s.History.MaxBytes, MinHistoryBytes, 1 << 50},
		{"max_key_bytes", int64(s.MaxKeyBytes), 1, LimitMaxKeyBytes},
		{"max_value_bytes", int64(s.MaxValueBytes), 1, LimitMaxValueBytes},
		{"max_request_ops", int64(s.MaxRequestOps), 1, LimitMaxRequestOps},
		{"idempotency.window", int64(s.Idempotency.Window), int64(MinIdempotencyWindow), int64(100 * 365 * 24 * time.Hour)},
		{"idempotency.max_keys", s.Idempotency.MaxKeys, 1, 1 << 30},
		{"idempotency.max_bytes", s.Idempotency.MaxBytes, 1, 1 << 50},
		{"quota.max_keys", s.Quota.MaxKeys, 1, 1 << 40},
		{"quota.max_bytes", s.Quota.MaxBytes, 1, 1 << 50},
	} {
		if bound.value != 0 && (bound.value < bound.least || bound.value > bound.most) {
			return &ValidationError{
				Field:  bound.field,
				Reason: fmt.Sprintf("is %d, the limits are %d and %d, and 0 is the default", bound.value, bound.least, bound.most),
			}
		}
	}
	return s.Quota.validate()
}
