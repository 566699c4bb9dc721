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
	// Revision is that of the state which is read; 0 is the newest one. A read that is not
	// linearizable waits until this node has applied it. Errors are a *CompactedError and a
	// *FutureError.
	Revision uint64
}

// ReadResult is the outcome of a Get.
type ReadResult struct {
	Item  Item // the zero Item if Found is false
	Found bool
	// Revision is ReadOptions.Revision. If that is 0, it is a revision of the store at which
	// the key was as in Item, at least Item.ModRevision, and a read with it as MinRevision,
	// on any node, sees a state that is not older.
	Revision uint64
	// Clock is the cluster clock of the state that was read and the time for which the node has
	// had it, in milliseconds since the Unix epoch together. A key with a Deadline that was
	// found in the newest state expires about Item.Deadline - Clock milliseconds after the read.
	// That may be negative for a moment, and while the cluster has no leader.
	Clock int64
}

// CompactResult is the outcome of a Compact.
type CompactResult struct {
	Revision        uint64 // of the store; a compaction takes none
	CompactRevision uint64 // the oldest one that can be read now
}

// View shows all keys as they were at one revision. It never changes, is safe for concurrent
// use, and delays no writer. While it is open, values that are replaced remain in memory, so
// it must be closed. Its Items stay valid after Close.
type View interface {
	// Revision is the one that the view shows.
	Revision() uint64
	// CompactRevision is the oldest revision that could be read when the view was opened.
	CompactRevision() uint64
	// Clock is that of a ReadResult, when the view was opened. A view of the newest revision
	// shows no key whose deadline the cluster clock of its state has reached; a view of an older
	// one shows history as it was.
	Clock() int64
	// Hidden is the time of the cluster clock, in milliseconds since the Unix epoch, up to which
	// the deadlines of keys that are not shown are. It is 0 if the view shows all keys of its
	// revision.
	Hidden() int64
	// Get returns the Item of a key, and whether there is one.
	Get(key string) (Item, bool)
	// Ascend and Descend yield the Items in a span, in byte order of their keys or the other
	// way round. They may be called more than once.
	Ascend(span Span) iter.Seq[Item]
	Descend(span Span) iter.Seq[Item]
	// Count returns the number of keys in a span.
	Count(span Span) int
	// Err returns an error if the view was closed before an iteration, a Get or a Count
	// ended, so that its result was not complete.
	Err() error
	// Close ends iterations that are under way, and returns nil. It is idempotent.
	Close() error
}
