package replica

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
)

// Defaults of a Config.
const (
	// DefaultSnapshotBytes is the minimum of bytes of log between two snapshots: 64 MiB.
	DefaultSnapshotBytes = 64 << 20
	// DefaultPendingBytes is the maximum number of bytes of writes that wait or are in flight
	// at one member: 256 MiB.
	DefaultPendingBytes = 256 << 20
	// DefaultCheckpointInterval is the time between two comparisons of the replicas' states.
	DefaultCheckpointInterval = 10 * time.Second
	// DefaultStall and DefaultStallFatal are the defaults of the fields of Timing.
	DefaultStall      = 10 * time.Second
	DefaultStallFatal = time.Minute
	// defaultOpenSegments is the number of the log's files that are kept open.
	defaultOpenSegments = 16
)

// Timing holds the clocks of the consensus protocol.
type Timing struct {
	// Heartbeat is how long a follower waits for its leader before it asks for a pre-vote.
	Heartbeat time.Duration
	// Election is how long a candidate waits for votes; at least Heartbeat.
	Election time.Duration
	// Lease is how long a leader continues to lead without an answer from a majority; at most Heartbeat.
	Lease time.Duration
	// Commit is the time after which raft's leader sends a follower an append even if it has
	// nothing to append; the actual time is one to two times as long. Followers learn sooner
	// what is committed; see package transport. Commit is also the time after which raft
	// repeats an append that has failed, if there is nothing new to append, and after which
	// a follower whose message was lost learns what is committed.
	Commit time.Duration
	// Stall is the time after which a write to the log that does not return makes the
	// node silent, so that another one is elected; 0 means 10 s. StallFatal is the time
	// after which it makes the node stop; 0 means 60 s.
	Stall, StallFatal time.Duration
}

// DefaultTiming suits a local network: a killed leader is replaced in about half a
// second. A pre-vote wins once both survivors of three nodes have timed out. That takes the
// heartbeat timeout and a quarter of it. It takes an election timeout more if only the node
// that timed out first has all entries.
func DefaultTiming() Timing {
	return Timing{
		Heartbeat: 350 * time.Millisecond,
		Election:  350 * time.Millisecond,
		Lease:     250 * time.Millisecond,
		Commit:    150 * time.Millisecond,
	}
}

// WideAreaTiming suits nodes with up to some 100 ms between them, or machines that
// stall now and then. A killed leader is replaced in one to two seconds.
func WideAreaTiming() Timing {
	return Timing{
		Heartbeat: time.Second,
		Election:  time.Second,
		Lease:     750 * time.Millisecond,
		Commit:    400 * time.Millisecond,
	}
}

// WithDefaults returns t with DefaultTiming if it is the zero value, and with the defaults of
// Stall and StallFatal if these are 0.
func (t Timing) WithDefaults() Timing {
	if t == (Timing{}) {
		t = DefaultTiming()
	}
	t.Stall = cmp.Or(t.Stall, DefaultStall)
	t.StallFatal = cmp.Or(t.StallFatal, DefaultStallFatal)
	return t
}

// Validate returns a *kv.ValidationError for a field out of range, and for a lease that is
// longer than followers wait.
func (t Timing) Validate() error {
	const least = 5 * time.Millisecond // raft's own
	switch {
	case t.Heartbeat < least || t.Election < t.Heartbeat || t.Commit < time.Millisecond:
		return &kv.ValidationError{Field: "timing", Reason: fmt.Sprintf("heartbeat %v, election %v, commit %v: each has a least value, and elections take no less than heartbeats", t.Heartbeat, t.Election, t.Commit)}
	case t.Lease < least || t.Lease > t.Heartbeat:
		return &kv.ValidationError{Field: "timing", Reason: fmt.Sprintf("lease %v is not between %v and the heartbeat timeout %v", t.Lease, least, t.Heartbeat)}
	case t.Stall < 0 || t.StallFatal < t.Stall:
		return &kv.ValidationError{Field: "timing", Reason: fmt.Sprintf("stall %v must not be negative, nor stall-fatal %v less", t.Stall, t.StallFatal)}
	}
	return nil
}

// Config configures Open. Identity, DataDir, Machine, Peers, Fatal, Announced and Version are
// required. The zero value of any other field is its default.
type Config struct {
	// Identity is the identity of this member. It belongs to a cluster, and is durable.
	Identity nodeid.Identity
	// DataDir is the directory with log, term and vote, and snapshots. FS is the filesystem
	// below it; nil is the operating system's.
	DataDir string
	FS      wal.FS
	// Machine is the state machine, without a state. Close closes it.
	Machine Machine
	// Peers carries messages between the members. Its owner passes the members' requests to
	// Handle, and closes it when Close says so.
	Peers *transport.Transport
	// Fatal receives the reason if this member must stop, and says whether its node must.
	Fatal *Fatal
	// Announced returns the highest command version that a node has announced to understand,
	// 0 for none, and whether the node itself has told this one. VersionsChanged must be
	// called after a change.
	Announced func(raft.ServerID) (version uint8, firsthand bool)
	// Version is the highest command version that Machine understands.
	Version uint8

	// NonVoter makes this member one that never votes.
	NonVoter bool
	// MaxKeyBytes is the configured maximum length of a key. Other members are told of it.
	MaxKeyBytes int
	// Limits are the maximum sizes of the parts of a node, from which the need for memory
	// follows.
	Limits room.Limits
	// Memory divides the memory of the process. The zero value refuses nothing.
	Memory room.MemoryPlan
	// MaxDataBytes is the maximum number of bytes of keys and values together; 0 is no maximum.
	MaxDataBytes int64
	// MaxPendingBytes is the maximum number of bytes of writes that wait or are in flight here.
	MaxPendingBytes int64
	// SnapshotBytes is the minimum of bytes of log between two snapshots; they are as many as the
	// newest snapshot has if that is more.
	SnapshotBytes int64
	// BallastBytes is the size of a file that is kept on the disk while there is room, to be
	// removed when the disk is full; 0 is none.
	BallastBytes int64
	// OpenSegments is the number of the log's files that are kept open.
	OpenSegments int
	// CheckpointInterval is the time between two comparisons of the replicas' states, while
	// the cluster is written to.
	CheckpointInterval time.Duration
	// Timing holds the clocks of the consensus protocol.
	Timing Timing
	// Logger receives what operators should know; nil discards it.
	Logger *slog.Logger
	// Loading is told how far Open has come.
	Loading *Loading
	// Seams replace the machine below the replica, for tests; programs leave it zero.
	Seams Seams
}

// withDefaults returns c with every zero field that has a default set to it.
func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = wal.OS()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Loading == nil {
		c.Loading = new(Loading)
	}
	c.MaxPendingBytes = cmp.Or(c.MaxPendingBytes, DefaultPendingBytes)
	c.SnapshotBytes = cmp.Or(c.SnapshotBytes, DefaultSnapshotBytes)
	c.OpenSegments = cmp.Or(c.OpenSegments, defaultOpenSegments)
	c.CheckpointInterval = cmp.Or(c.CheckpointInterval, DefaultCheckpointInterval)
	c.Timing = c.Timing.WithDefaults()
	c.Seams = c.Seams.withDefaults()
	return c
}

// Seams replace what a replica takes from its machine, and the rules by which it decides. The
// tests that replace a rule show that something weaker is caught. A nil field, or a zero one,
// is the real thing; programs leave all of them so.
type Seams struct {
	// OpenStable opens, or makes, the store below term and vote at path. Its
	// writes must be atomic and durable on return. Nil is a bolt file.
	OpenStable func(path string) (raft.StableStore, io.Closer, error)
	// OpenLog changes how the log is opened. Nil changes nothing.
	OpenLog func(*wal.Options)
	// Heap is what the replica asks of the memory of the process. Nil is room.GoHeap.
	Heap room.Heap
	// Clock is the wall clock. Nil is time.Now.
	Clock func() time.Time
	// Elapsed is the monotonic clock: the time since any fixed time of this process. Nil is
	// the time since Open. Timers don't follow it.
	Elapsed func() time.Duration
	// ConfirmLeader replaces what a leader does before a linearizable read to be
	// sure that it leads. Nil is a round of probes.
	ConfirmLeader func(*raft.Raft) error
	// CountAsker replaces the rule by which a leader counts the node that asks it for
	// an index to read at among those that have no later term than the leader; see
	// leaderIndexFor.
	CountAsker func(votes bool, askersTerm, term uint64) bool
	// AllowVersion replaces the rule by which a leader may write commands of a version;
	// see versions.
	AllowVersion func(version uint8) error
	// Committed replaces the commit index that a leader tells its followers. Nil is raft's.
	Committed func(*raft.Raft) uint64
	// Hasty makes this replica, as the leader, apply entries and say that they are committed
	// before its disk has them.
	Hasty bool
	// OwnClock makes this replica, as the leader, advance the cluster clock by its own monotonic
	// clock alone.
	OwnClock bool
	// Rearm replaces what a new leader adds to the times to live of leases, which is an election
	// timeout.
	Rearm func(election time.Duration) time.Duration
	// Patient leaves it to raft to find out that the leader is silent.
	Patient bool
	// StuckTransferLimit replaces the time for which raft may refuse writes for a transfer of
	// leadership; 0 is 10 s.
	StuckTransferLimit time.Duration
	// Started is called with the parts that a test may look into or break, once they run.
	Started func(*raft.Raft, *raftstore.Stores)
}

// withDefaults returns s with every field set that has a default other than zero.
func (s Seams) withDefaults() Seams {
	if s.OpenStable == nil {
		s.OpenStable = raftstore.OpenBolt
	}
	if s.Heap == nil {
		s.Heap = room.GoHeap{}
	}
	if s.Clock == nil {
		s.Clock = time.Now
	}
	if s.Elapsed == nil {
		opened := time.Now()
		s.Elapsed = func() time.Duration { return time.Since(opened) }
	}
	if s.CountAsker == nil {
		s.CountAsker = countAsker
	}
	if s.Rearm == nil {
		s.Rearm = func(election time.Duration) time.Duration { return election }
	}
	s.StuckTransferLimit = cmp.Or(s.StuckTransferLimit, defaultStuckTransferLimit)
	return s
}
