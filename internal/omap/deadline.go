package omap

import (
	"container/heap"
	"iter"
)

// NextDeadline returns the earliest deadline of all keys, false if none has one. Its cost
// grows with the number of shards.
func (m *Map) NextDeadline() (int64, bool) {
	var next int64
	for _, s := range m.shards {
		if r, ok := s.soonest(); ok && (next == 0 || r.Deadline() < next) {
			next = r.Deadline()
		}
	}
	return next, next != 0
}

// ByDeadline yields the Records whose deadline is at or before until, in the order of
// deadline and key. It begins behind the Record after, which need not be in the Map any
// more; the zero Record means the beginning. Its cost grows with the number of shards and of
// Records yielded. No lock is held while it yields: a Record that was removed since the loop
// began may be yielded, and one that was added may be omitted.
func (m *Map) ByDeadline(after Record, until int64) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		var due schedule
		for _, s := range m.shards {
			if r, ok := s.expiresAfter(after); ok && r.Deadline() <= until {
				due = append(due, scheduled{r, s})
			}
		}
		heap.Init(&due)
		for len(due) > 0 {
			first := &due[0]
			if !yield(first.Record) {
				return
			}
			var ok bool
			if first.Record, ok = first.shard.expiresAfter(first.Record); ok && first.Deadline() <= until {
				heap.Fix(&due, 0)
			} else {
				heap.Pop(&due)
			}
		}
	}
}

// scheduled is the record of a shard that expires next.
type scheduled struct {
	Record
	shard *Shard
}

// schedule is a heap of one record of each shard; the first expires first.
type schedule []scheduled

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return deadlineOrder.compare(s[i].Record, s[j].Record) < 0 }
func (s schedule) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(any)          { panic("omap: a schedule never grows") }

func (s *schedule) Pop() any {
	last := len(*s) - 1
	(*s)[last] = scheduled{}
	*s = (*s)[:last]
	return nil
}

// soonest returns the record that expires first.
func (s *Shard) soonest() (Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiring.first()
}

// expiresAfter returns the record that expires next after r, the first one after the zero
// record. r need not be in the shard.
func (s *Shard) expiresAfter(r Record) (Record, bool) {
	if r.IsZero() {
		return s.soonest()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiring.after(r)
}
