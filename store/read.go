package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/kvorum/kvorum/internal/omap"
)

// NoTTL is what TTL returns for a key that does not expire.
const NoTTL time.Duration = -1

// Get returns a copy of key's value. It returns a *KeyError of ErrKeyNotFound or
// ErrKeyExpired, or ErrStoreClosed.
func (s *Store) Get(key string) ([]byte, error) {
	value, err := s.GetShared(key)
	if err != nil {
		return nil, err
	}
	return append(make([]byte, 0, len(value)), value...), nil
}

// GetShared is Get without a copy: the value must not be modified. It stays as
// it is when the key is changed.
func (s *Store) GetShared(key string) ([]byte, error) {
	r, err := s.read(key)
	if err != nil {
		return nil, err
	}
	return r.Value(), nil
}

// GetEntry returns key with its value and metadata; errors are those of Get.
func (s *Store) GetEntry(key string) (*Entry, error) {
	r, err := s.read(key)
	if err != nil {
		return nil, err
	}
	return viewOf(r), nil
}

// Exists says whether there is such a key. It does not count as a read.
func (s *Store) Exists(key string) bool {
	r := s.data.Record(key)
	return !r.IsZero() && !s.expired(r) && !s.closed.Load()
}

// TTL returns how long key still has, NoTTL if it does not expire; errors are
// those of Get. It does not count as a read.
func (s *Store) TTL(key string) (time.Duration, error) {
	r := s.data.Record(key)
	if err := s.check(key, r); err != nil {
		return 0, err
	}
	if !r.Expires() {
		return NoTTL, nil
	}
	return max(time.Nanosecond, time.Duration(r.Deadline()-s.peekNow())), nil // it had not expired at the check
}

// read returns key's record, and counts the read if reads are counted.
func (s *Store) read(key string) (omap.Record, error) {
	r := s.data.Record(key)
	if r.IsZero() || r.Expires() || s.closed.Load() {
		if err := s.check(key, r); err != nil {
			if s.countsReads && !s.closed.Load() {
				s.counters.reads.miss()
			}
			return omap.Record{}, err
		}
	}
	if s.countsReads {
		s.counters.reads.hit()
	}
	if s.tracksAccess {
		touch(r, s.opts.Clock().UnixNano())
	}
	return r, nil
}

// check returns why key, whose record is r, may not be read.
func (s *Store) check(key string, r omap.Record) error {
	if s.closed.Load() {
		return ErrStoreClosed
	}
	if r.IsZero() {
		return NewKeyError(key, ErrKeyNotFound)
	}
	if s.expired(r) {
		nudge(s.expiredSeen)
		return NewKeyError(key, ErrKeyExpired)
	}
	return nil
}

// Keys returns the keys that begin with prefix, in byte order.
func (s *Store) Keys(prefix string) []string {
	var keys []string
	for key := range s.Range(prefix, "") {
		keys = append(keys, key)
	}
	return keys
}

// All yields all keys with their values, in byte order of the keys; see Range.
func (s *Store) All() iter.Seq2[string, []byte] { return s.Range("", "") }

// Range yields the keys that begin with prefix and are at or after start, with
// their values, in byte order of the keys. Each loop shows the store as it is
// when the loop begins, without waiting for writers or making them wait. Values
// must not be modified. A closed store has no keys.
func (s *Store) Range(prefix, start string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		if s.closed.Load() {
			return
		}
		now := s.now()
		for it := range s.data.View().All(prefix, start) {
			if !it.Expired(now) && !yield(it.Key, it.Value) {
				return
			}
		}
	}
}

// walkCheck is the number of keys after which a Walk checks whether it has to end.
const walkCheck = 256

// Walk calls visit for each key that Range yields, until visit returns false. It ends early
// with ErrReadTimeout once ReadTimeout has passed, if one is set, with ctx's
// cause, or with ErrStoreClosed.
func (s *Store) Walk(ctx context.Context, prefix, start string, visit func(key string, value []byte) bool) error {
	if s.closed.Load() {
		return ErrStoreClosed
	}
	if d := s.opts.ReadTimeout; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, fmt.Errorf("%w after %v", ErrReadTimeout, d))
		defer cancel()
	}
	seen := 0
	for key, value := range s.Range(prefix, start) {
		if seen%walkCheck == 0 && ctx.Err() != nil {
			break
		}
		seen++
		if !visit(key, value) {
			return nil
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("walk ended after %d keys: %w", seen, context.Cause(ctx))
	}
	return nil
}

// ErrReadTimeout is returned by a Walk that took longer than ReadTimeout.
var ErrReadTimeout = errors.New("read timed out")

// Len returns the number of keys, those included that have expired and were not removed yet.
func (s *Store) Len() int { return s.data.Len() }

// Size returns the bytes of all keys and values together; see Len.
func (s *Store) Size() int64 { return s.data.Size() }
