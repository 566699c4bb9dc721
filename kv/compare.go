package kv

import (
	"bytes"
	"cmp"
)

// Compare is a condition on a key, or on each key of a Span. A key that does not exist
// counts as an Item whose numbers are 0; a condition on its value never holds. A Span in
// which no key exists counts as a key that does not exist.
type Compare struct {
	Span     Span
	Target   Target
	Relation Relation
	Number   int64  // what the target is compared with, except for TargetValue
	Value    []byte // what TargetValue is compared with; must not be modified
}

// Target is the part of an Item that a Compare looks at.
type Target byte

// Targets. Their values are part of the log's format.
const (
	TargetValue          Target = 1 // in byte order
	TargetVersion        Target = 2
	TargetCreateRevision Target = 3
	TargetModRevision    Target = 4
	TargetLease          Target = 5
)

// Relation is the relation that a Compare asks for: that of the target to Number or Value.
type Relation byte

// Relations. Their values are part of the log's format.
const (
	Equal    Relation = 1
	NotEqual Relation = 2
	Greater  Relation = 3
	Less     Relation = 4
)

// Absent returns the condition that key does not exist.
func Absent(key string) Compare {
	return Compare{Span: One(key), Target: TargetVersion, Relation: Equal}
}

// Present returns the condition that key exists.
func Present(key string) Compare {
	return Compare{Span: One(key), Target: TargetVersion, Relation: Greater}
}

// ModRevision returns the condition that the last change of key took revision. A key that
// does not exist has revision 0.
func ModRevision(key string, revision uint64) Compare {
	return Compare{Span: One(key), Target: TargetModRevision, Relation: Equal, Number: int64(revision)}
}

// Holds reports whether the condition holds for one key of its Span. The Item of a key that
// does not exist is nil.
func (c *Compare) Holds(it *Item) bool {
	if c.Target == TargetValue {
		return it != nil && c.Relation.holds(bytes.Compare(it.Value, c.Value))
	}
	return c.Relation.holds(cmp.Compare(c.Target.number(it), c.Number))
}

// number returns the number that t means.
func (t Target) number(it *Item) int64 {
	if it == nil {
		return 0
	}
	switch t {
	case TargetVersion:
		return int64(it.Version)
	case TargetCreateRevision:
		return int64(it.CreateRevision)
	case TargetModRevision:
		return int64(it.ModRevision)
	default:
		return int64(it.Lease)
	}
}

// holds reports whether r is a relation of things that compare to order, as cmp.Compare
// returns it.
func (r Relation) holds(order int) bool {
	switch r {
	case Equal:
		return order == 0
	case NotEqual:
		return order != 0
	case Greater:
		return order > 0
	default:
		return order < 0
	}
}
