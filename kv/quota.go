package kv

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// Quota limits the data of the cluster: the keys that exist, with their values and attributes.
// It does not count the history, which has a limit of its own, Retention.MaxBytes. Deletes,
// touches and all that the leader does by itself are admitted above the quota too. So are
// writes that add no keys, or no bytes, to what is limited. If the data would exceed the quota
// after another one, keys are evicted, or it is refused with ErrDataLimit.
type Quota struct {
	// MaxKeys is the maximum number of keys. Those whose deadlines have passed count until they
	// are removed.
	MaxKeys int64 `json:"max_keys,omitempty"`
	// MaxBytes is the maximum number of bytes of all keys, values and attributes, without what a
	// key takes in memory beside them. A touch is admitted above it, and may add the bytes of a
	// deadline, at most 10.
	MaxBytes int64 `json:"max_bytes,omitempty"`
	// Eviction says which keys the leader removes so that a write keeps the quota. With
	// EvictionNone the write is refused.
	Eviction Eviction `json:"eviction,omitempty"`
	// ProtectedPrefixes are the prefixes of keys that are never evicted. They are UTF-8.
	ProtectedPrefixes []string `json:"protected_prefixes,omitempty"`
}

// Eviction says which keys are evicted. Its text is its name in the API, but for EvictionNone.
type Eviction string

// Policies of eviction. EvictionLRU and EvictionLFU take the best of a random sample of keys. They
// go by the uses that the leader has seen.
const (
	EvictionNone   Eviction = ""       // no key is
	EvictionLRU    Eviction = "lru"    // the key that was least recently read or written
	EvictionLFU    Eviction = "lfu"    // the key that was least often read
	EvictionRandom Eviction = "random" // any key
	EvictionTTL    Eviction = "ttl"    // the key that expires first; a key without a deadline never
)

// Evictions are all policies, in an order that is part of the log's format.
var Evictions = []Eviction{EvictionNone, EvictionLRU, EvictionLFU, EvictionRandom, EvictionTTL}

// evictionNone is the name of EvictionNone in the API.
const evictionNone = "none"

// String returns the name of a policy in the API.
func (e Eviction) String() string {
	if e == EvictionNone {
		return evictionNone
	}
	return string(e)
}

// EvictionOf returns the policy with a name, and whether there is one.
func EvictionOf(name string) (Eviction, bool) {
	for _, e := range Evictions {
		if e.String() == name {
			return e, true
		}
	}
	return EvictionNone, false
}

// Limits of Quota.ProtectedPrefixes.
const (
	MaxProtectedPrefixes   = 64  // number of prefixes
	MaxProtectedPrefixSize = 256 // bytes of each
)

// IsZero reports whether there is no quota.
func (q Quota) IsZero() bool {
	return q.MaxKeys == 0 && q.MaxBytes == 0 && q.Eviction == EvictionNone && len(q.ProtectedPrefixes) == 0
}

// validate returns a *ValidationError if the settings of a quota contradict each other. It does
// not look at the numbers.
func (q Quota) validate() error {
	if !slices.Contains(Evictions, q.Eviction) {
		return invalidf("quota.eviction", "is %q, and must be one of none, lru, lfu, random and ttl", string(q.Eviction))
	}
	if q.Eviction != EvictionNone && q.MaxKeys == 0 && q.MaxBytes == 0 {
		return invalidf("quota.eviction", "needs quota.max_keys or quota.max_bytes")
	}
	const field = "quota.protected_prefixes"
	if len(q.ProtectedPrefixes) > 0 && q.Eviction == EvictionNone {
		return invalidf(field, "need quota.eviction")
	}
	if n := len(q.ProtectedPrefixes); n > MaxProtectedPrefixes {
		return invalidf(field, "are %d, the limit is %d", n, MaxProtectedPrefixes)
	}
	for _, prefix := range q.ProtectedPrefixes {
		if prefix == "" || len(prefix) > MaxProtectedPrefixSize || !utf8.ValidString(prefix) {
			return invalidf(field, "have %.64q, and each must be UTF-8 of 1 to %d bytes", prefix, MaxProtectedPrefixSize)
		}
	}
	return nil
}

// Admits returns an error of class ErrQuotaTooLow if the quota is below what is stored: so many
// keys, of so many bytes. With eviction it never is: the leader removes what is too much.
func (q Quota) Admits(keys, bytes int64) error {
	if q.Eviction != EvictionNone {
		return nil
	}
	if q.MaxKeys != 0 && keys > q.MaxKeys {
		return fmt.Errorf("%w: quota.max_keys is %d, and there are %d keys", ErrQuotaTooLow, q.MaxKeys, keys)
	}
	if q.MaxBytes != 0 && bytes > q.MaxBytes {
		return fmt.Errorf("%w: quota.max_bytes is %d, and the data has %d bytes", ErrQuotaTooLow, q.MaxBytes, bytes)
	}
	return nil
}

// Fits returns an error of class ErrDataLimit if data of so many keys and bytes exceeds the
// quota once more of each are added. What nothing is added to is not limited.
func (q Quota) Fits(keys, bytes, moreKeys, moreBytes int64) error {
	const help = "delete keys, or raise the quota; see docs/limits.md"
	if q.MaxKeys != 0 && moreKeys > 0 && keys+moreKeys > q.MaxKeys {
		return fmt.Errorf("%w: quota.max_keys is %d, there are %d keys, and this write adds %d: %s", ErrDataLimit, q.MaxKeys, keys, moreKeys, help)
	}
	if q.MaxBytes != 0 && moreBytes > 0 && bytes+moreBytes > q.MaxBytes {
		return fmt.Errorf("%w: quota.max_bytes is %d, the data has %d bytes, and this write adds %d: %s", ErrDataLimit, q.MaxBytes, bytes, moreBytes, help)
	}
	return nil
}
