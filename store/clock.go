package store

import (
	"time"

	"github.com/kvorum/kvorum/internal/omap"
)

// steadyClock returns a clock that begins at the present, or at floor if that is
// later, and continues by the time that passes: setting the wall clock while it runs
// moves no deadline.
func steadyClock(floor int64) func() time.Time {
	began := time.Now()
	base := time.Unix(0, max(began.UnixNano(), floor))
	return func() time.Time { return base.Add(time.Since(began)) }
}

// The store's clock is that of its options, but never less than the time of a decision:
// no write is decided at an earlier time than a previous one, and a key
// that was found expired is never found again, even if the clock of the options
// goes back. A read that finds a key which has not expired makes no such decision, so it
// leaves the clock as it is: readers share no word of memory that any of them writes.

// now returns the store's clock, in nanoseconds since the Unix epoch. Later calls return
// no less.
func (s *Store) now() int64 { return s.clockAtLeast(s.opts.Clock().UnixNano()) }

// clockAtLeast returns the later of the store's clock and now, and makes it the
// store's clock.
func (s *Store) clockAtLeast(now int64) int64 {
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

// peekNow returns the store's clock, which may be less at the next call. A decision
// that must stay true at all later times is made by now or expired instead.
func (s *Store) peekNow() int64 { return max(s.opts.Clock().UnixNano(), s.clock.Load()) }

// expired says whether r's deadline has been reached. Once it has, it always has.
func (s *Store) expired(r omap.Record) bool {
	if !r.Expires() {
		return false
	}
	if r.Expired(s.clock.Load()) {
		return true
	}
	now := s.opts.Clock().UnixNano()
	if !r.Expired(now) {
		return false
	}
	s.clockAtLeast(now)
	return true
}
