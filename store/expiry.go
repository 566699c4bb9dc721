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
	var items []Item
	for _, r := range m.due(now, max) {
		items = append(items, r.item())
	}
	return items
}

// due is Due of records.
func (m *ShardedMap) due(now int64, max int) []record {
	var due []record
	for _, s := range m.shards {
		due = append(due, s.due(now, max)...)
	}
	slices.SortFunc(due, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.deadline(), b.deadline()), strings.Compare(a.key(), b.key()))
	})
	return due[:min(len(due), max)]
}
