package replica

import (
	"context"
	"io"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Machine is a state machine as a replica needs it. It makes and understands the
// requests that the replica carries. The response to an entry of the log, a []byte, has
// the responses to its requests, one after the other, each with its length before it.
// Raft calls the methods of raft.FSM as that says. All other methods may be called from any
// goroutine.
type Machine interface {
	raft.BatchingFSM
	room.State

	// AppendEntry appends a log entry to dst and returns it: the clock in nanoseconds
	// since the Unix epoch, and count requests, which are parts one after the other. A
	// reader must understand version.
	AppendEntry(dst []byte, clock int64, version byte, count int, parts ...[]byte) []byte
	// Await says that somebody waits for the responses to an entry, that very slice, until
	// done is called. The response to another entry may be empty.
	Await(entry []byte) (done func())
	// Check returns the facts about count requests of another node's clients. data has these
	// requests and nothing else; the sender says that they need version. Check returns an
	// error if a client can't have sent them, and one of class kv.ErrUnsupported if this node
	// does not understand them.
	Check(version byte, count int, data []byte) (wire.Requests, error)
	// ClockRequest, RetireRequest and CheckpointRequest return the requests that a leader
	// itself makes: to set the clock, to remove a member for good, and to note a state hash.
	ClockRequest() wire.Requests
	RetireRequest(id string) wire.Requests
	CheckpointRequest() wire.Requests
	// HistoryRequest returns the one that begins the history, CompactRequest the one that
	// gives it up before a revision, and CompactAllRequest the one that gives all of it up.
	HistoryRequest() wire.Requests
	CompactRequest(revision uint64) wire.Requests
	CompactAllRequest() wire.Requests
	// MakeRoom decides whether requests of clients keep the quota in the settings. Count is 0 if
	// they do as they are. Otherwise it returns the request that evicts keys. If done is set,
	// they keep it behind that one, in the same entry. If not, MakeRoom is called again once that
	// request alone is applied. The error is a propose.PartialRefusal of class kv.ErrDataLimit.
	MakeRoom(requests wire.Requests) (evict wire.Requests, done bool, err error)
	// Shrink returns the request that evicts some of the keys by which the data exceeds the quota;
	// Count is 0 if there are none.
	Shrink() wire.Requests
	// NotesReads reports whether reads of keys are noted, to choose which keys are evicted. TakeReads
	// returns a sample of those on this replica since its last call, empty if there were none, and
	// NoteReads notes the sample of another replica.
	NotesReads() bool
	TakeReads() []byte
	NoteReads(sample []byte) error
	// Answered reports whether requests, in an entry at a time of the cluster clock, would repeat
	// answers that are kept, and carry nothing out.
	Answered(requests wire.Requests, clock int64) bool
	// ExpireRequest returns the one that removes a bounded number of the keys whose deadlines
	// the clock has reached.
	ExpireRequest() wire.Requests
	// ExpireLeasesRequest returns the one that ends leases, with their keys: if its entry is of
	// the given term, and only leases that were granted by an entry up to granted.
	ExpireLeasesRequest(term, granted uint64, ids []kv.LeaseID) wire.Requests

	// AppliedIndex returns the index of the newest entry whose whole effect reads see.
	AppliedIndex() uint64
	// WaitApplied returns nil once AppliedIndex is at least index. Otherwise it returns the
	// context's error at the context's end, and another error on Close.
	WaitApplied(ctx context.Context, index uint64) error
	// Clock returns the greatest clock of an applied entry.
	Clock() int64
	// NextDeadline returns the earliest deadline of a key, in milliseconds of the clock since
	// the Unix epoch, 0 if no key has one. Sooner returns a channel for one receiver, which
	// receives once it has become earlier.
	NextDeadline() int64
	Sooner() <-chan struct{}
	// FollowLeases returns a feed that begins with all leases, and ends the one before it.
	FollowLeases() kv.LeaseFeed
	// LeaseLen returns about the number of keys that are attached to a lease.
	LeaseLen(id kv.LeaseID) int
	// WrittenSince returns the highest command version of the applied entries at and above
	// index, at least 1.
	WrittenSince(index uint64) byte
	// Revision returns the revision of the newest change. WaitRevision waits for a revision,
	// as WaitApplied does for an index.
	Revision() uint64
	WaitRevision(ctx context.Context, revision uint64) error
	// History reports whether superseded versions are kept, and CompactRevision returns the
	// oldest revision that can be read.
	History() bool
	CompactRevision() uint64
	// Settings returns the settings of the cluster.
	Settings() kv.Settings
	// Checkpoints returns the newest ones, in ascending order of their indexes.
	Checkpoints() []kv.Checkpoint
	// Retired reports whether a member was removed for good, as far as that is remembered.
	// RetiredCount is the number of such members that are.
	Retired(id string) bool
	RetiredCount() int

	// SnapshotItems returns the number of keys of a snapshot, and of the revisions before its
	// newest that can be read. It reads the beginning of the snapshot.
	SnapshotItems(r io.Reader) (keys, revisions uint64, err error)
	// LetGo removes all keys from memory. A Restore must follow.
	LetGo()
	// Close makes an Apply that has stopped at an error return, and refuses all others.
	Close() error
}
