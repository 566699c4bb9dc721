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
}

// Batch calls fill with an empty Batch and then makes its changes, in order. If
// fill returns an error, or panics, nothing is changed. Errors are fill's,
// ErrBatchTooLarge, and those of Set and Delete; a Delete of a key that does not
// exist fails the whole batch.
func (s *Store) Batch(fill func(b *Batch) error) error {
	b := &Batch{s: s}
	if err := fill(b); err != nil {
		return err
	}
	if len(b.steps) == 0 {
		return nil
	}
	if b.bytes > maxBatchBytes || len(b.steps) > maxBatchChanges {
		return fmt.Errorf("%w: %d changes of %d bytes, the limits are %d and %d",
			ErrBatchTooLarge, len(b.steps), b.bytes, maxBatchChanges, maxBatchBytes)
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
// at the store. The value must not be modified before Store.Batch returns.
func (b *Batch) Set(key string, value []byte) error { return b.SetWithTTL(key, value, 0) }

// SetWithTTL adds setting key to value, to expire after ttl; see Set.
func (b *Batch) SetWithTTL(key string, value []byte, ttl time.Duration) error {
	if err := b.s.validate(key, value, ttl); err != nil {
		return err
	}
	b.add(len(key)+len(value), func(p *plan) error { return p.set(key, value, ttl) })
	b.sets++
	return nil
}

// Delete adds the removal of key, which must exist when the batch is made.
func (b *Batch) Delete(key string) {
	b.add(len(key), func(p *plan) error { return p.delete(key) })
	b.dels++
}

func (b *Batch) add(bytes int, step decision) {
	b.steps = append(b.steps, step)
	b.bytes += bytes
}
