package store

import (
	"fmt"
	"sync"
	"time"
)

// Bounds of one write.
const (
	maxBatchBytes   = 64 << 20 // of one Batch
	maxBatchChanges = 64 << 10
	maxFreed        = 32 << 20 // of keys that a write removes to make room, unless it needs more
)

// write is one call that changes something, on its way through the committer.
type write struct {
	decide decision
	after  func()         // called by the committer once the write's round is applied; may be nil
	done   sync.WaitGroup // done when the fields below are final
	err    error
	plan   plan
}

// submit hands a write to the committer, waits for its end and calls back for
// the keys that it removed besides its own.
func (s *Store) submit(decide decision) error {
	began := time.Now()
	w := &write{decide: decide}
	err := s.run(w)
	s.counters.writes.observe(time.Since(began))
	if err == nil {
		s.tell(&w.plan)
	}
	return err
}

// run is submit without figures and callbacks. Without a log a round needs no
// company, so the caller is the committer for as long as it takes.
func (s *Store) run(w *write) error {
	if s.log != nil {
		return s.committer.run(w)
	}
	s.deciding.Lock()
	defer s.deciding.Unlock()
	if s.closed.Load() {
		return ErrStoreClosed
	}
	s.decide(&s.alone, w, s.now())
	s.apply(&s.alone)
	s.alone.reset()
	return w.err
}

// tell calls back for the keys that a write has removed besides its own.
func (s *Store) tell(p *plan) {
	if len(p.evicted)+len(p.expired) == 0 {
		return
	}
	s.counters.evictions.Add(uint64(len(p.evicted)))
	s.counters.expirations.Add(uint64(len(p.expired)))
	for _, r := range p.evicted {
		if s.opts.OnEvict != nil {
			s.opts.OnEvict(r.Key(), r.Value())
		}
	}
	for _, r := range p.expired {
		if s.opts.OnExpire != nil {
			s.opts.OnExpire(r.Key(), r.Value())
		}
	}
}

// fail latches the store: no write succeeds any more.
func (s *Store) fail(cause error) error {
	err := fmt.Errorf("%w: %w", ErrStoreFailed, cause)
	if s.failed.CompareAndSwap(nil, &err) {
		s.report(err)
	}
	return *s.failed.Load()
}

// failure returns what latched the store, nil if nothing did.
func (s *Store) failure() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// report tells of a failure outside of any call.
func (s *Store) report(err error) {
	s.opts.Logger.Error("store", "err", err)
	if s.opts.OnError != nil {
		s.background(func() { s.opts.OnError(err) })
	}
}
