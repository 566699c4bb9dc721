package store

import (
	"iter"
	"math"

	"github.com/kvorum/kvorum/internal/omap"
)

// byDeadline is the map's. If lookForTesting is set, it is called as often as the walk
// looks at a shard: once for each shard, and once for each record.
func (s *Store) byDeadline(after omap.Record, until int64) iter.Seq[omap.Record] {
	walk := s.data.ByDeadline(after, until)
	if s.lookForTesting == nil {
		return walk
	}
	return func(yield func(omap.Record) bool) {
		for range s.data.Shards() {
			s.lookForTesting()
		}
		for r := range walk {
			s.lookForTesting()
			if !yield(r) {
				return
			}
		}
	}
}

// due yields the records behind after that are past their deadline at now, as
// byDeadline does. It costs nothing until the first deadline. The committer calls it.
func (s *Store) due(after omap.Record, now int64) iter.Seq[omap.Record] {
	return func(yield func(omap.Record) bool) {
		if now < s.nextDue {
			return
		}
		found := false
		for r := range s.byDeadline(after, now) {
			found = true
			if !yield(r) {
				return
			}
		}
		if !found && after.IsZero() {
			s.nextDue = math.MaxInt64
			if next, ok := s.data.NextDeadline(); ok {
				s.nextDue = next
			}
		}
	}
}

// noteDeadlines keeps nextDue true after changes. The committer calls it.
func (s *Store) noteDeadlines(changes []omap.Change) {
	for _, c := range changes {
		if c.Record().IsZero() {
			continue
		}
		if deadline := c.Record().Deadline(); deadline != 0 {
			s.nextDue = min(s.nextDue, deadline)
		}
	}
}
