package cluster

import (
	"iter"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/store"
)

// Condition guards a write; see fsm.Condition.
type Condition = fsm.Condition

// Kinds of Condition.
const (
	CondNone     = fsm.CondNone
	CondAbsent   = fsm.CondAbsent
	CondPresent  = fsm.CondPresent
	CondRevision = fsm.CondRevision
)

// WriteResult is the definite outcome of a Put or Delete.
type WriteResult struct {
	// Created says that a put made the key rather than replaced its value.
	Created bool
	// Found says, for a delete, that there was such a key.
	Found bool
	// ConditionFailed says that the condition did not hold and nothing changed.
	ConditionFailed bool
	// Revision is the revision the write took, or the store's where it took none.
	Revision uint64
	// Current is the key's modify revision after the command, 0 if it is absent.
	Current uint64
}

// Listing is a frozen, ordered view of keys at one revision. It costs nothing
// to hold but the memory of what has changed since.
type Listing struct {
	// Revision is the store's revision that the view shows.
	Revision uint64
	all      func(prefix, start string) iter.Seq[store.Item]
}

// NewListing returns a Listing that shows what all yields; all must yield keys
// in byte order, at or after start and beginning with prefix, and the same at
// every call.
func NewListing(revision uint64, all func(prefix, start string) iter.Seq[store.Item]) *Listing {
	return &Listing{Revision: revision, all: all}
}

// All yields the keys that begin with prefix, from start on, in byte order.
func (l *Listing) All(prefix, start string) iter.Seq[store.Item] { return l.all(prefix, start) }
