package mvcc

// Settle reclaims all memory that can be reclaimed now.
func (s *Store) Settle() {
	for s.step() {
	}
	s.reclaimer.running.Wait()
}

// HoldReclaimer keeps the store from reclaiming memory by itself, so that a test makes the
// steps.
func (s *Store) HoldReclaimer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reclaimer.active = true
}

// Step makes one step of reclaiming and reports whether there may be more work.
func (s *Store) Step() bool { return s.step() }

// SetCheckedForTesting makes Next call f after its first look at the compact revision, as if
// another goroutine did something then.
func (c *Changes) SetCheckedForTesting(f func()) { c.checkedForTesting = f }
