package store

import (
	"fmt"
	"time"
)

// Batch collects changes that are made as one: all or none of them, in one
// record of the log, and no reader sees part of them. It belongs to the
// function that Store.Batch calls, and to one goroutine.
type Batch struct {
	s     *Store
	steps []decision
	bytes int
	sets  int
	dels  int
	err   error // the first that a call returned
}

// Batch calls fill with an empty Batch and then makes its changes, in order. If
// fill, or any call of the Batch, returns an error, or fill panics, nothing is
// changed. Errors are fill's, the Batch's first, and those of Set and Delete; a
// Delete of a key that does not exist fails the whole batch. A nil fill is a
// *ValidationError.
func (s *Store) Batch(fill func(b *Batch) error) error {
	if fill == nil {
		return NewValidationError("fill", "must not be nil")
	}
	if s.closed.Load() {
		return ErrStoreClosed
	}
	b := &Batch{s: s}
	if err := fill(b); err != nil {
		return err
	}
	if b.err != nil || len(b.steps) == 0 {
		return b.err
	}
	err := s.submit(func(p *plan) error {
		for _, step := range b.steps {
			if err := step(p); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.counters.sets.Add(uint64(b.sets))
		s.counters.deletes.Add(uint64(b.dels))
	}
	return err
}

// Set adds setting key to value; errors are those of Store.Set that need no look
// at the store, and ErrBatchTooLarge. After an error the batch will not be made,
// whether fill returns it or not. The value must not be modified before
// Store.Batch returns.
func (b *Batch) Set(key string, value []byte) error { return b.SetWithTTL(key, value, 0) }

// SetWithTTL adds setting key to value, to expire after ttl; see Set.
func (b *Batch) SetWithTTL(key string, value []byte, ttl time.Duration) error {
	if err := b.s.validate(key, value, ttl); err != nil {
		return b.fail(err)
	}
	b.sets++
	return b.add(len(key)+len(value), func(p *plan) error { return p.set(key, value, ttl) })
}

// Delete adds the removal of key, which must exist when the batch is made.
func (b *Batch) Delete(key string) {
	b.dels++
	_ = b.add(len(key), func(p *plan) error { return p.delete(key) }) // Store.Batch returns it
}

func (b *Batch) add(bytes int, step decision) error {
	if len(b.steps) == maxBatchChanges || b.bytes+bytes > maxBatchBytes {
		return b.fail(fmt.Errorf("%w: the limits are %d changes of %d bytes", ErrBatchTooLarge, maxBatchChanges, maxBatchBytes))
	}
	b.steps = append(b.steps, step)
	b.bytes += bytes
	return nil
}

// fail remembers the first error and returns err.
func (b *Batch) fail(err error) error {
	if b.err == nil {
		b.err = err
	}
	return err
}
