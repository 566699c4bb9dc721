package store

import (
	"container/heap"
	"iter"
	"math"
)

// NextDeadline returns the nearest deadline of all keys, false if none has one.
// It costs by the number of shards.
func (m *ShardedMap) NextDeadline() (int64, bool) {
	var next int64
	for _, s := range m.shards {
		if r, ok := s.soonest(); ok && (next == 0 || r.deadline() < next) {
			next = r.deadline()
		}
	}
	return next, next != 0
}

// byDeadline yields the records whose deadline is at or before until, in the
// order of deadline and key, from behind the record after, the zero record for
// all. It costs by the number of shards and of records yielded. No lock is held
// while it yields: a record that was removed since the loop began may come, one
// that was added may not.
func (m *ShardedMap) byDeadline(after record, until int64) iter.Seq[record] {
	return func(yield func(record) bool) {
		var due schedule
		for _, s := range m.shards {
			if r, ok := m.next(s, after); ok && r.deadline() <= until {
				due = append(due, scheduled{r, s})
			}
		}
		heap.Init(&due)
		for len(due) > 0 {
			first := &due[0]
			if !yield(first.record) {
				return
			}
			var ok bool
			if first.record, ok = m.next(first.shard, first.record); ok && first.deadline() <= until {
				heap.Fix(&due, 0)
			} else {
				heap.Pop(&due)
			}
		}
	}
}

// next returns the record of a shard that expires next after r, the first one
// after the zero record.
func (m *ShardedMap) next(s *Shard, r record) (record, bool) {
	if m.visitForTesting != nil {
		m.visitForTesting()
	}
	if r.first == nil {
		return s.soonest()
	}
	return s.after(r)
}

// scheduled is the record of a shard that expires next.
type scheduled struct {
	record
	shard *Shard
}

// schedule is a heap of one record of each shard; the first expires first.
type schedule []scheduled

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return deadlineOrder.compare(s[i].record, s[j].record) < 0 }
func (s schedule) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(any)          { panic("store: a schedule never grows") }

func (s *schedule) Pop() any {
	last := len(*s) - 1
	(*s)[last] = scheduled{}
	*s = (*s)[:last]
	return nil
}

// soonest returns the record that expires first.
func (s *Shard) soonest() (record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiring.first()
}

// after returns the record that expires next after r, which need not be there any more.
func (s *Shard) after(r record) (record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiring.after(r)
}

// due yields the records behind after that are past their deadline at now, as
// byDeadline does. It costs nothing before the first deadline. The committer calls it.
func (s *Store) due(after record, now int64) iter.Seq[record] {
	return func(yield func(record) bool) {
		if now < s.nextDue {
			return
		}
		found := false
		for r := range s.data.byDeadline(after, now) {
			found = true
			if !yield(r) {
				return
			}
		}
		if !found && after.first == nil {
			s.nextDue = math.MaxInt64
			if next, ok := s.data.NextDeadline(); ok {
				s.nextDue = next
			}
		}
	}
}

// noteDeadlines keeps nextDue true after changes. The committer calls it.
func (s *Store) noteDeadlines(changes []change) {
	for _, c := range changes {
		if c.record.first == nil {
			continue
		}
		if deadline := c.record.deadline(); deadline != 0 {
			s.nextDue = min(s.nextDue, deadline)
		}
	}
}
