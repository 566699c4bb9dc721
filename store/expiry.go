package store

import (
	"cmp"
	"slices"
	"strings"
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

// Due returns up to max Items whose deadline is at or before now, in the order
// of deadline and key, without removing them. It costs by the number of shards
// and of Items that are due.
func (m *ShardedMap) Due(now int64, max int) []Item {
	var due []Item
	for _, s := range m.shards {
		for _, r := range s.due(now, max) {
			due = append(due, r.item())
		}
	}
	slices.SortFunc(due, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Deadline, b.Deadline), strings.Compare(a.Key, b.Key))
	})
	return due[:min(len(due), max)]
}
