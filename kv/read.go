package kv

import (
	"iter"
	"time"
)

// Consistency is what a read promises. Its text is the name in the API.
type Consistency string

// Read levels (architecture: life of a read).
const (
	// Linearizable reads see every write that was acknowledged before they began, on any node.
	Linearizable Consistency = "linearizable"
	// LeaderLocal reads see what the node that takes itself for the leader has
	// applied, without asking the others: a leader that was replaced may not know
	// that yet. Other nodes ask the leader for its index.
	LeaderLocal Consistency = "leader"
	// Stale reads see what this node has applied, at once and without the network.
	Stale Consistency = "stale"
)

// ReadOptions say what a read promises. The zero value is Linearizable.
type ReadOptions struct {
	Level Consistency
	// MaxStale bounds how old what a stale read sees may be, by the newest message
	// of the leader's that this node has caught up with; where that is too long ago,
	// or where this node leads, the read is a linearizable one. The time that the message
	// was on its way is not counted. 0 is no bound.
	MaxStale time.Duration
	// MinRevision makes the read wait until this node has applied that revision.
	MinRevision uint64
}

// ReadResult is the outcome of a Get.
type ReadResult struct {
	Item  Item // zero where Found is false
	Found bool
	// Revision is one at which the key was as answered, not less than Item.ModRevision. A
	// read with it as MinRevision, on any node, sees nothing older.
	Revision uint64
}

// View is all keys as they were at one revision. It does not change, and stops no
// writer. While it is held, it keeps every value that is replaced in memory.
type View interface {
	// Revision is the one that the view shows.
	Revision() uint64
	// Range yields the keys that begin with prefix, from start on, in byte order. It
	// may be called more than once, and from any goroutine.
	Range(prefix, start string) iter.Seq[Item]
}
