package store

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/wal"
)

// NoTTL is what TTL returns for a key that does not expire.
const NoTTL time.Duration = -1

// Store is a key-value store in memory, with time to live, eviction and
// optional persistence. All methods are safe for concurrent use. Reads look at
// memory alone and never wait for a write to the disk.
type Store struct {
	opts     *Options
	data     *ShardedMap
	log      *wal.WAL      // nil without one
	lock     *dirlock.Lock // nil without a data directory
	counters counters

	writes    chan *write
	freeze    chan chan frozen
	stop      chan struct{} // closed when Close begins
	committed chan struct{} // closed when the committer has ended
	sealed    chan struct{} // closed when no snapshot may begin any more
	workers   sync.WaitGroup
	callbacks sync.WaitGroup // of background

	// The fields below belong to the committer.
	sequence uint64 // of the newest write
	entries  int    // keys in data
	bytes    int64  // of keys and values in data

	failed  atomic.Pointer[error] // what latched the store
	clock   atomic.Int64          // the greatest time seen; never goes back
	garbage atomic.Int64          // changes since the last snapshot
	saving  chan struct{}         // a lock with one slot: one snapshot at a time
	saved   uint64                // belongs to the holder of saving: sequence of the newest snapshot

	compaction  chan struct{} // one slot: a snapshot is due early
	expiredSeen chan struct{} // one slot: a read met a key past its deadline

	closeOnce sync.Once
	closeErr  error
}

// New opens a store. Without options it lives in memory alone. With a data
// directory it first reads what is there: the newest snapshot and the log
// behind it. It returns a *ValidationError in its chain for a wrong option,
// ErrDataDirInUse, a *wal.CorruptionError for a damaged file (naming file and
// offset; nothing is changed then), or a *wal.VersionError for a newer format.
func New(opts ...Option) (*Store, error) {
	o := DefaultOptions()
	o.Apply(opts...)
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("invalid options: %w", err)
	}
	if o.PersistenceMode == persistenceUnset {
		o.PersistenceMode = PersistenceNone
		if o.DataDir != "" {
			o.PersistenceMode = PersistenceFull
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.FS == nil {
		o.FS = wal.OS()
	}
	s := &Store{
		opts: o, data: NewShardedMap(o.ShardCount),
		writes: make(chan *write, maxWaiting), freeze: make(chan chan frozen),
		stop: make(chan struct{}), committed: make(chan struct{}), sealed: make(chan struct{}), saving: make(chan struct{}, 1),
		compaction: make(chan struct{}, 1), expiredSeen: make(chan struct{}, 1),
	}
	if o.PersistenceMode != PersistenceNone {
		if err := s.openData(); err != nil {
			return nil, errors.Join(err, s.closeData())
		}
	}
	s.entries, s.bytes = s.data.Len(), s.data.Size()
	go s.commitLoop()
	s.startWorkers()
	return s, nil
}

// now returns the store's clock, in nanoseconds since the Unix epoch: that of
// the options, but never less than before, so that no key comes back to life.
func (s *Store) now() int64 {
	now := s.opts.Clock().UnixNano()
	for {
		seen := s.clock.Load()
		if now <= seen {
			return seen
		}
		if s.clock.CompareAndSwap(seen, now) {
			return now
		}
	}
}

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
	it, err := s.read(key)
	return it.Value, err
}

// GetEntry returns key with what is known about it; errors are those of Get.
func (s *Store) GetEntry(key string) (*Entry, error) {
	it, err := s.read(key)
	if err != nil {
		return nil, err
	}
	last, count := s.data.Accessed(key)
	return newEntry(it, last, count), nil
}

// Exists says whether there is such a key. It does not count as a read.
func (s *Store) Exists(key string) bool {
	it, ok := s.data.Get(key)
	return ok && !it.expired(s.now()) && !s.isClosed()
}

// TTL returns how long key still has, NoTTL if it does not expire; errors are
// those of Get. It does not count as a read.
func (s *Store) TTL(key string) (time.Duration, error) {
	it, err := s.peek(key)
	if err != nil {
		return 0, err
	}
	if it.Deadline == 0 {
		return NoTTL, nil
	}
	return time.Duration(it.Deadline - s.now()), nil
}

// read returns key's Item and counts the read.
func (s *Store) read(key string) (Item, error) {
	it, err := s.peek(key)
	s.counters.gets.Add(1)
	if err == nil {
		s.counters.hits.Add(1)
		if p := s.opts.EvictionPolicy; p == EvictionLRU || p == EvictionLFU {
			s.data.Touch(key, s.now())
		}
	}
	return it, err
}

// peek returns key's Item.
func (s *Store) peek(key string) (Item, error) {
	if s.isClosed() {
		return Item{}, ErrStoreClosed
	}
	it, ok := s.data.Get(key)
	if !ok {
		return Item{}, NewKeyError(key, ErrKeyNotFound)
	}
	if it.Deadline != 0 && it.expired(s.now()) {
		nudge(s.expiredSeen)
		return Item{}, NewKeyError(key, ErrKeyExpired)
	}
	return it, nil
}

func (s *Store) isClosed() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// Set sets key to a copy of value, without a deadline. Errors are those of SetWithTTL.
func (s *Store) Set(key string, value []byte) error { return s.SetWithTTL(key, value, 0) }

// SetWithTTL sets key to a copy of value, which expires after ttl; 0 is never. It
// returns a *KeyError of ErrEmptyKey, ErrKeyTooLarge, ErrNilValue,
// ErrValueTooLarge or ErrInvalidTTL, or ErrStoreFull, ErrStoreFailed or
// ErrStoreClosed; nothing has changed then, except that after ErrStoreFailed
// the write may be there when the store is opened again.
func (s *Store) SetWithTTL(key string, value []byte, ttl time.Duration) error {
	if err := s.validate(key, value, ttl); err != nil {
		return err
	}
	err := s.submit(func(p *plan) error { return p.set(key, value, ttl) })
	if err == nil {
		s.counters.sets.Add(1)
	}
	return err
}

// SetNX sets key as SetWithTTL does, if there is no such key, and says whether it did.
func (s *Store) SetNX(key string, value []byte, ttl time.Duration) (bool, error) {
	if err := s.validate(key, value, ttl); err != nil {
		return false, err
	}
	set := false
	err := s.submit(func(p *plan) error {
		if p.get(key) != nil {
			return nil
		}
		set = true
		return p.set(key, value, ttl)
	})
	return s.didSet(set, err)
}

// CompareAndSwap sets key to next, if its value is old, and says whether it did;
// the deadline stays. Errors are those of Get and Set.
func (s *Store) CompareAndSwap(key string, old, next []byte) (bool, error) {
	if err := s.validate(key, next, 0); err != nil {
		return false, err
	}
	set := false
	err := s.submit(func(p *plan) error {
		it := p.get(key)
		if it == nil {
			return NewKeyError(key, ErrKeyNotFound)
		}
		if string(it.Value) != string(old) {
			return nil
		}
		set = true
		p.put(key, next, it.Deadline)
		return nil
	})
	return s.didSet(set, err)
}

func (s *Store) didSet(set bool, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	if set {
		s.counters.sets.Add(1)
	}
	return set, nil
}

// Incr adds delta to the decimal integer that key holds, 0 if there is no such
// key, and returns the sum; the deadline stays. It returns ErrNotInteger or
// ErrOverflow in a *KeyError, and what Set does.
func (s *Store) Incr(key string, delta int64) (int64, error) {
	if err := s.validateKey(key); err != nil {
		return 0, err
	}
	var sum int64
	err := s.submit(func(p *plan) (err error) {
		sum, err = p.incr(key, delta)
		return err
	})
	if err != nil {
		return 0, err
	}
	s.counters.sets.Add(1)
	return sum, nil
}

// Delete removes key. It returns a *KeyError of ErrKeyNotFound, ErrStoreFailed
// or ErrStoreClosed.
func (s *Store) Delete(key string) error {
	err := s.submit(func(p *plan) error { return p.delete(key) })
	if err == nil {
		s.counters.deletes.Add(1)
	}
	return err
}

// Expire gives key a time to live from now on, which must not be 0; errors are
// those of Get and SetWithTTL.
func (s *Store) Expire(key string, ttl time.Duration) error {
	if ttl <= 0 {
		return NewKeyError(key, ErrInvalidTTL)
	}
	return s.submit(func(p *plan) error {
		it := p.get(key)
		if it == nil {
			return NewKeyError(key, ErrKeyNotFound)
		}
		return p.set(key, it.Value, ttl)
	})
}

// Persist takes key's deadline away; errors are those of Get.
func (s *Store) Persist(key string) error {
	return s.submit(func(p *plan) error {
		it := p.get(key)
		if it == nil {
			return NewKeyError(key, ErrKeyNotFound)
		}
		if it.Deadline != 0 {
			p.put(key, it.Value, 0)
		}
		return nil
	})
}

// Clear removes all keys as one step. Nothing is evicted or expires by it.
func (s *Store) Clear() error {
	return s.submit(func(p *plan) error {
		p.clear = true
		return nil
	})
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
		if s.isClosed() {
			return
		}
		now := s.now()
		for it := range s.data.View().All(prefix, start) {
			if !it.expired(now) && !yield(it.Key, it.Value) {
				return
			}
		}
	}
}

// Len returns the number of keys, those included that have expired and were not removed yet.
func (s *Store) Len() int { return s.data.Len() }

// Size returns the bytes of all keys and values together; see Len.
func (s *Store) Size() int64 { return s.data.Size() }

// validate checks what is to be stored.
func (s *Store) validate(key string, value []byte, ttl time.Duration) error {
	if err := s.validateKey(key); err != nil {
		return err
	}
	switch {
	case value == nil:
		return NewKeyError(key, ErrNilValue)
	case len(value) > s.opts.MaxValueSize:
		return NewKeyError(key, fmt.Errorf("%w: %d bytes, the limit is %d", ErrValueTooLarge, len(value), s.opts.MaxValueSize))
	case ttl < 0:
		return NewKeyError(key, ErrInvalidTTL)
	}
	return nil
}

func (s *Store) validateKey(key string) error {
	switch {
	case s.isClosed():
		return ErrStoreClosed
	case key == "":
		return NewKeyError(key, ErrEmptyKey)
	case len(key) > s.opts.MaxKeySize:
		return NewKeyError(key, fmt.Errorf("%w: %d bytes, the limit is %d", ErrKeyTooLarge, len(key), s.opts.MaxKeySize))
	}
	return nil
}

// set plans a new value that expires after ttl, 0 for never.
func (p *plan) set(key string, value []byte, ttl time.Duration) error {
	var deadline int64
	if ttl > 0 {
		if int64(ttl) > math.MaxInt64-p.now {
			return NewKeyError(key, ErrInvalidTTL)
		}
		deadline = p.now + int64(ttl)
	}
	p.put(key, value, deadline)
	return nil
}

// delete plans the end of a key that must exist.
func (p *plan) delete(key string) error {
	if p.get(key) == nil {
		return NewKeyError(key, ErrKeyNotFound)
	}
	p.remove(key)
	return nil
}
