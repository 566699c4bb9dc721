package kv

import (
	"iter"
	"time"
)

// Consistency is the guarantee of a read. Its text is its name in the API.
type Consistency string

// Levels of consistency; see 'Life of a read' in ARCHITECTURE.md.
const (
	// Linearizable is the level of reads that see every write that was acknowledged before
	// they began, on any node.
	Linearizable Consistency = "linearizable"
	// LeaderLocal is the level of reads that see all entries that the leader has applied.
	// The leader does not confirm that it still is the leader: after another node was
	// elected, it may not know that yet. Other nodes ask the leader for its applied index.
	LeaderLocal Consistency = "leader"
	// Stale is the level of reads that see the entries that this node has applied, at once
	// and without the network.
	Stale Consistency = "stale"
)

// ReadOptions are the guarantees of a read. The zero value is Linearizable.
type ReadOptions struct {
	Level Consistency
	// MaxStale is the maximum age of the state that a stale read sees; 0 means no limit.
	// The age is the time since the newest message of the leader whose commit index this
	// node has applied. The message's time on the network is not counted. If the state is
	// older, or this node leads, the read is a linearizable one.
	MaxStale time.Duration
	// MinRevision makes the read wait until this node has applied that revision.
	MinRevision uint64
}

// ReadResult is the outcome of a Get.
type ReadResult struct {
	Item  Item // the zero Item if Found is false
	Found bool
	// Revision is a revision of the store at which the key was as in Item, at least
	// Item.ModRevision. A read with it as MinRevision, on any node, sees a state that is
	// not older.
	Revision uint64
}

// View shows all keys as they were at one revision. It does not change, and delays no
// writer. While it is held, values that are replaced remain in memory.
type View interface {
	// Revision is the one that the view shows.
	Revision() uint64
	// Range yields the keys that begin with prefix, from start on, in byte order. It
	// may be called more than once, and from any goroutine.
	Range(prefix, start string) iter.Seq[Item]
}
