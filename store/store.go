package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/wal"
)

// Store is a key-value store in memory, with time to live, eviction and
// optional persistence. All methods are safe for concurrent use. Reads look at
// memory alone and never wait for a write to the disk.
type Store struct {
	opts     *Options
	data     *omap.Map
	log      *wal.WAL      // nil without one
	lock     *dirlock.Lock // nil without a data directory
	counters counters

	countsReads  bool
	tracksAccess bool // for the eviction policy

	committer *committer    // nil without a log
	closed    atomic.Bool   // set before stop is closed
	stop      chan struct{} // closed when Close begins
	committed chan struct{} // closed when the committer has ended
	sealed    chan struct{} // closed when no snapshot may begin any more
	workers   sync.WaitGroup
	callbacks sync.WaitGroup // of background

	// deciding makes its holder the committer of a store without a log.
	deciding sync.Mutex
	alone    round // guarded by deciding; empty between two writes

	// The fields below belong to the committer.
	sequence uint64  // of the newest write that is applied
	decided  uint64  // of the newest one that is decided
	entries  int     // keys in data
	bytes    int64   // of keys and values in data
	over     overlay // of the changes that are decided and not applied
	clearing bool    // a Clear is decided and not applied
	nextDue  int64   // Invariant: nextDue <= every deadline in data

	growth growth // since the last snapshot

	failed atomic.Pointer[error] // the cause for which no write succeeds any more
	clock  atomic.Int64          // the latest time that a decision was made by; never goes back
	saving chan struct{}         // a lock with one slot: one snapshot at a time
	saved  uint64                // belongs to the holder of saving: sequence of the newest snapshot
	floor  floor                 // likewise: of the data directory

	expiredSeen chan struct{} // one slot: a read met a key past its deadline

	closeOnce sync.Once
	closeErr  error

	lookForTesting func() // if it is set, called for each look at a shard's deadlines
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
	o.fillIn()
	s := &Store{
		opts: o, data: omap.New(o.ShardCount),
		countsReads: o.CountReads, tracksAccess: o.EvictionPolicy == EvictionLRU || o.EvictionPolicy == EvictionLFU,
		stop: make(chan struct{}), committed: make(chan struct{}), sealed: make(chan struct{}), saving: make(chan struct{}, 1),
		growth: growth{changed: make(chan struct{}, 1)}, expiredSeen: make(chan struct{}, 1),
	}
	if o.PersistenceMode != PersistenceNone {
		if err := s.openData(); err != nil {
			return nil, errors.Join(err, s.closeData())
		}
	}
	if o.Clock == nil {
		o.Clock = steadyClock(s.clock.Load())
	}
	s.decided, s.entries, s.bytes = s.sequence, s.data.Len(), s.data.Size()
	s.compactIfDue() // of the log as it was
	if s.log != nil {
		s.committer = newCommitter(s)
		go func() {
			defer close(s.committed)
			s.committer.loop(s.stop)
		}()
	} else {
		close(s.committed)
	}
	s.startWorkers()
	return s, nil
}

// Set sets key to a copy of value, without a deadline. Errors are those of SetWithTTL.
func (s *Store) Set(key string, value []byte) error { return s.SetWithTTL(key, value, 0) }

// SetWithTTL sets key to a copy of value, which expires after ttl; 0 is never. It
// returns a *KeyError of ErrEmptyKey, ErrKeyTooLarge, ErrNilValue,
// ErrValueTooLarge, ErrInvalidTTL or ErrStoreFull, or ErrStoreFailed or
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
		if !p.get(key).IsZero() {
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
		r := p.get(key)
		if r.IsZero() {
			return NewKeyError(key, ErrKeyNotFound)
		}
		if string(r.Value()) != string(old) {
			return nil
		}
		set = true
		p.put(key, next, r.Deadline())
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
// ErrOverflow in a *KeyError, and what Set does: ErrValueTooLarge where the sum's
// digits are more than MaxValueSize.
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
		r := p.get(key)
		if r.IsZero() {
			return NewKeyError(key, ErrKeyNotFound)
		}
		return p.set(key, r.Value(), ttl)
	})
}

// Persist takes key's deadline away; errors are those of Get.
func (s *Store) Persist(key string) error {
	return s.submit(func(p *plan) error {
		r := p.get(key)
		if r.IsZero() {
			return NewKeyError(key, ErrKeyNotFound)
		}
		if r.Expires() {
			p.put(key, r.Value(), 0)
		}
		return nil
	})
}

// Clear removes all keys as one step. Nothing is evicted or expires by it, but
// keys that had expired before are reported to OnExpire.
func (s *Store) Clear() error { return s.submit((*plan).clearAll) }

// validate checks what is to be stored.
func (s *Store) validate(key string, value []byte, ttl time.Duration) error {
	if err := s.validateKey(key); err != nil {
		return err
	}
	if err := s.validateValue(key, value); err != nil {
		return err
	}
	if ttl < 0 {
		return NewKeyError(key, ErrInvalidTTL)
	}
	return nil
}

func (s *Store) validateValue(key string, value []byte) error {
	switch {
	case value == nil:
		return NewKeyError(key, ErrNilValue)
	case len(value) > s.opts.MaxValueSize:
		return NewKeyError(key, fmt.Errorf("%w: %d bytes, the limit is %d; WithMaxValueSize raises it", ErrValueTooLarge, len(value), s.opts.MaxValueSize))
	}
	return nil
}

func (s *Store) validateKey(key string) error {
	switch {
	case s.closed.Load():
		return ErrStoreClosed
	case key == "":
		return NewKeyError(key, ErrEmptyKey)
	case len(key) > s.opts.MaxKeySize:
		return NewKeyError(key, fmt.Errorf("%w: %d bytes, the limit is %d; WithMaxKeySize raises it", ErrKeyTooLarge, len(key), s.opts.MaxKeySize))
	}
	return nil
}
