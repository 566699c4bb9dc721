package kv

import "fmt"

// Quota limits the data of the cluster: the keys that exist, with their values and attributes.
// It does not count the history, which has a limit of its own, Retention.MaxBytes. Deletes,
// touches and all that the leader does by itself are admitted above the quota too. So are
// writes that add no keys, or no bytes, to what is limited. Another one is refused with
// ErrDataLimit if the data would exceed the quota after it.
type Quota struct {
	// MaxKeys is the maximum number of keys. Those whose deadlines have passed count until they
	// are removed.
	MaxKeys int64 `json:"max_keys,omitempty"`
	// MaxBytes is the maximum number of bytes of all keys, values and attributes, without what a
	// key takes in memory beside them. A touch is admitted above it, and may add the bytes of a
	// deadline, at most 10.
	MaxBytes int64 `json:"max_bytes,omitempty"`
}

// IsZero reports whether there is no quota.
func (q Quota) IsZero() bool { return q == Quota{} }

// Admits returns an error of class ErrQuotaTooLow if the quota is below what is stored: so many
// keys, of so many bytes.
func (q Quota) Admits(keys, bytes int64) error {
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
